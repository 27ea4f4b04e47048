"""`rag-service keys`: what is printed where, what is kept, and what a wrong call gets."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rag_service.key_file import read_keys
from rag_service.keys import Keyring

Cli = Callable[..., Any]
Start = Callable[..., Any]

SHOWN = re.compile(r"rag_[0-9a-f]{12}_[A-Za-z0-9_-]{43}\n")


def test_a_key_is_printed_once_alone_on_stdout_and_it_works(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("keys", "create", "--name", "frontend", "--indexes", tmp_path)
    assert outcome.code == 0
    assert SHOWN.fullmatch(outcome.out)
    assert outcome.out.strip() not in outcome.err
    assert "not shown again" in outcome.err
    assert "Authorization: Bearer $RAG_KEY" in outcome.err
    caller = Keyring(tmp_path / "keys.json").identify(outcome.out.strip(), 0.0)
    assert (caller.name, caller.scopes, caller.filter, caller.rate_per_minute) == ("frontend", {"ask"}, None, None)


def test_only_the_first_key_is_said_to_close_the_door(cli: Cli, tmp_path: Path) -> None:
    assert "first key" in cli("keys", "create", "--name", "a", "--indexes", tmp_path).err
    assert "first key" not in cli("keys", "create", "--name", "b", "--indexes", tmp_path).err


def test_everything_about_a_key_can_be_chosen(cli: Cli, tmp_path: Path) -> None:
    chosen = ["--scope", "traces", "--scope", "ask", "--filter", "lang=en", "--rate", "120", "--expires-days", "90"]
    outcome = cli("keys", "create", "--name", "frontend", *chosen, "--keys", tmp_path / "mine.json")
    assert outcome.code == 0
    (key,) = read_keys(tmp_path / "mine.json")
    assert key.scopes == ("ask", "traces")
    assert key.filter == {"lang": {"eq": "en"}}
    assert key.rate_per_minute == 120
    assert key.expires_at is not None
    assert abs(key.expires_at - datetime.now(UTC) - timedelta(days=90)) < timedelta(minutes=1)
    assert '{"lang": {"eq": "en"}}' in outcome.err
    assert f"{key.expires_at:%Y-%m-%d}" in outcome.err


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["lang=en"], {"lang": {"eq": "en"}}),
        (["year=2020"], {"year": {"eq": 2020}}),
        (['year="2020"'], {"year": {"eq": "2020"}}),
        (["public=true"], {"public": {"eq": True}}),
        (["team=null"], {"team": {"eq": "null"}}),
        (["note=a=b"], {"note": {"eq": "a=b"}}),
        (["lang="], {"lang": {"eq": ""}}),
        (['{"year": {"gte": 2020}, "source": {"prefix": "hr/"}}'], {"year": {"gte": 2020}, "source": {"prefix": "hr/"}}),
        (["lang=en", '{"year": {"gte": 2020}}'], {"lang": {"eq": "en"}, "year": {"gte": 2020}}),
    ],
    ids=str,
)
def test_a_filter_is_written_as_key_and_value_or_as_json(cli: Cli, tmp_path: Path, given: list[str], kept: object) -> None:
    options = [part for one in given for part in ("--filter", one)]
    assert cli("keys", "create", "--name", "x", *options, "--indexes", tmp_path).code == 0
    assert read_keys(tmp_path / "keys.json")[0].filter == kept


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        (["--filter", "{}"], 1, "no condition"),
        (["--filter", "{"], 1, "not JSON"),
        (["--filter", '{"lang": "en", "lang": "de"}'], 1, "comes twice"),
        (["--filter", "lang=en", "--filter", "lang=de"], 1, "twice"),
        (["--filter", "lang"], 1, "no value"),
        (["--filter", "=en"], 1, "no value"),
        (["--filter", '{"lang": {"like": "e"}}'], 1, "like"),
        (["--filter", '{"year": NaN}'], 1, "year"),
        (["--scope", "everything"], 1, "everything"),
        (["--name", ""], 1, "name"),
        (["--name", "x" * 65], 1, "name"),
        (["--rate", "0"], 2, "rate"),
        (["--rate", "often"], 2, "rate"),
        (["--expires-days", "0"], 2, "expires-days"),
    ],
    ids=str,
)
def test_a_key_that_cannot_be_meant_is_not_made(cli: Cli, tmp_path: Path, wrong: list[str], code: int, said: str) -> None:
    outcome = cli("keys", "create", "--name", "x", *wrong, "--indexes", tmp_path)
    assert (outcome.code, outcome.out) == (code, "")
    assert said in outcome.err
    assert not (tmp_path / "keys.json").exists()


def test_a_key_needs_a_name(cli: Cli, tmp_path: Path) -> None:
    assert cli("keys", "create", "--indexes", tmp_path).code == 2


def test_keys_are_listed_with_their_state_and_without_what_is_needed_to_use_them(cli: Cli, tmp_path: Path) -> None:
    shown = cli("keys", "create", "--name", "front[bold]end", "--filter", "lang=en", "--rate", "1200", "--indexes", tmp_path).out.strip()
    gone = cli("keys", "create", "--name", "gone", "--scope", "admin", "--indexes", tmp_path).out[4:16]
    cli("keys", "revoke", gone, "--indexes", tmp_path)
    outcome = cli("keys", "list", "--indexes", tmp_path)
    first, second = outcome.out.splitlines()[1:]
    for part in (shown[4:16], "front[bold]end", "ask", '{"lang": {"eq": "en"}}', "1,200", "valid"):
        assert part in first
    assert gone in second
    assert "revoked" in second
    listed = cli("keys", "list", "--json", "--indexes", tmp_path).out
    assert [key["state"] for key in json.loads(listed)["keys"]] == ["valid", "revoked"]
    for key in read_keys(tmp_path / "keys.json"):
        assert key.secret_sha256 not in outcome.out + listed
    assert shown[17:] not in outcome.out + listed


def test_no_keys_is_said_with_what_it_means(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("keys", "list", "--indexes", tmp_path)
    assert (outcome.code, outcome.out) == (0, "")
    assert "everybody is let in" in outcome.err
    assert json.loads(cli("keys", "list", "--json", "--indexes", tmp_path).out) == {"keys": []}


def test_a_key_is_revoked_by_its_id_or_by_all_of_it(cli: Cli, tmp_path: Path) -> None:
    by_id = cli("keys", "create", "--name", "a", "--indexes", tmp_path).out.strip()
    whole = cli("keys", "create", "--name", "b", "--indexes", tmp_path).out.strip()
    for given, key_id in ((by_id[4:16], by_id[4:16]), (whole, whole[4:16])):
        outcome = cli("keys", "revoke", given, "--indexes", tmp_path)
        assert outcome.code == 0
        assert key_id in outcome.out
        assert whole[17:] not in outcome.out + outcome.err
    assert all(key.revoked_at for key in read_keys(tmp_path / "keys.json"))


@pytest.mark.parametrize("given", ["0123456789ab", "nonsense", "rag_0123456789ab_short"])
def test_an_unknown_key_cannot_be_revoked(cli: Cli, tmp_path: Path, given: str) -> None:
    cli("keys", "create", "--name", "a", "--indexes", tmp_path)
    outcome = cli("keys", "revoke", given, "--indexes", tmp_path)
    assert outcome.code == 1
    assert "no key with this id" in outcome.err
    assert given not in outcome.err, "it may be a key that was mistyped"


def test_a_damaged_file_is_said_and_left_as_it_is(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text("{")
    for call in (["create", "--name", "x"], ["list"], ["revoke", "0123456789ab"]):
        outcome = cli("keys", *call, "--indexes", tmp_path)
        assert (outcome.code, outcome.out) == (1, "")
        assert "keys.json is damaged" in outcome.err
    assert (tmp_path / "keys.json").read_text() == "{"


def test_the_setting_says_where_the_keys_are(cli: Cli, tmp_path: Path) -> None:
    assert cli("keys", "create", "--name", "a", RAG_KEYS=str(tmp_path / "deep" / "access.json")).code == 0
    assert len(read_keys(tmp_path / "deep" / "access.json")) == 1


def test_two_commands_at_once_lose_no_key(start: Start, tmp_path: Path) -> None:
    running = [start("keys", "create", "--name", str(number), "--indexes", tmp_path) for number in range(2)]
    shown = [process.communicate(timeout=60)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0]
    keyring = Keyring(tmp_path / "keys.json")
    assert sorted(keyring.identify(key.strip(), 0.0).name for key in shown) == ["0", "1"]


@pytest.mark.parametrize("path", [[], ["create"], ["list"], ["revoke"]], ids=" ".join)
def test_every_command_explains_itself(cli: Cli, path: list[str]) -> None:
    outcome = cli("keys", *path, "--help")
    assert outcome.code == 0
    assert "Usage:" in outcome.out
