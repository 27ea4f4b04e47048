"""Keys: what is stored, who is let in, and that nothing which happens to the file opens the door."""

import hashlib
import hmac
import json
import os
import re
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag_service.errors import Conflict, Damaged, InvalidInput, NotFound, RagError, StorageFailed, Unauthorized
from rag_service.filters import parse_filter
from rag_service.key_file import MAX_KEYS, create_key, parts_of, read_keys, revoke_key
from rag_service.keys import OPEN, Keyring

NOW_S = time.time()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "indexes" / "keys.json"


def ring(path: Path) -> Keyring:
    """One that looks at the file each time."""
    return Keyring(path, look_every_s=0.0)


def change(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    edit(content)
    path.write_text(json.dumps(content))


# --- the file


def test_a_key_names_its_id_and_256_random_bits(path: Path) -> None:
    key, shown = create_key(path, name="frontend")
    assert re.fullmatch(rf"rag_{key.id}_[A-Za-z0-9_-]{{43}}", shown)
    assert parts_of(shown) == (key.id, shown[17:])


def test_only_the_hash_of_the_secret_is_stored(path: Path) -> None:
    key, shown = create_key(path, name="frontend")
    secret = shown[17:]
    assert secret not in path.read_text()
    assert key.secret_sha256 == hashlib.sha256(secret.encode()).hexdigest()
    assert secret not in repr(key)


def test_everything_that_was_asked_for_is_read_back(path: Path) -> None:
    ends = datetime(2040, 1, 2, tzinfo=UTC)
    key, _ = create_key(path, name="Ünì 会", scopes=("traces", "ask"), documents={"lang": "en"}, rate_per_minute=120, expires_at=ends)
    assert read_keys(path) == (key,)
    assert key.scopes == ("ask", "traces")
    assert key.filter == {"lang": {"eq": "en"}}
    assert (key.rate_per_minute, key.expires_at, key.revoked_at) == (120, ends, None)
    assert abs((datetime.now(UTC) - key.created_at).total_seconds()) < 60


def test_the_file_and_its_lock_are_for_their_owner_alone_and_the_folder_is_as_usual(path: Path) -> None:
    before = os.umask(0o022)
    try:
        create_key(path, name="first")
        create_key(path, name="second")
        assert os.umask(0o022) == 0o022, "the mask of the process is as it was"
    finally:
        os.umask(before)
    modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in path.parent.iterdir()}
    assert modes == {"keys.json": 0o600, ".keys.json.lock": 0o600}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        ({"name": ""}, "name"),
        ({"name": "   "}, "name"),
        ({"name": "x" * 65}, "name"),
        ({"name": "two\nlines"}, "name"),
        ({"name": "escape \x1b[31m"}, "name"),
        ({"name": "x", "scopes": ()}, "scopes"),
        ({"name": "x", "scopes": ("everything",)}, "scopes"),
        ({"name": "x", "rate_per_minute": 0}, "rate_per_minute"),
        ({"name": "x", "rate_per_minute": 10**9}, "rate_per_minute"),
        ({"name": "x", "documents": {}}, "filter"),
        ({"name": "x", "documents": {"lang": {}}}, "filter.lang"),
        ({"name": "x", "documents": {"lang": {"like": "e"}}}, "filter.lang"),
        ({"name": "x", "expires_at": datetime(2040, 1, 1)}, "expires_at"),  # noqa: DTZ001  # without a time zone on purpose
    ],
)
def test_a_key_that_cannot_be_meant_is_refused_and_nothing_is_written(path: Path, asked: Any, param: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        create_key(path, **asked)
    assert caught.value.param == param
    assert not path.exists()


def test_a_revoked_key_stays_in_the_file_with_the_time(path: Path) -> None:
    key, _ = create_key(path, name="frontend")
    revoked = revoke_key(path, key.id)
    assert revoked.revoked_at is not None
    assert read_keys(path) == (revoked,)
    assert revoke_key(path, key.id) == revoked, "the second time changes nothing"


def test_a_key_that_is_not_there_cannot_be_revoked(path: Path) -> None:
    create_key(path, name="frontend")
    before = path.read_bytes()
    with pytest.raises(NotFound):
        revoke_key(path, "0123456789ab")
    assert path.read_bytes() == before


def test_the_state_of_a_key_is_told(path: Path) -> None:
    ends = datetime.now(UTC) + timedelta(days=1)
    key, _ = create_key(path, name="frontend", expires_at=ends)
    assert key.state(ends - timedelta(seconds=1)) == "valid"
    assert key.state(ends) == "expired"
    assert revoke_key(path, key.id).state(ends) == "revoked"


def test_processes_that_create_keys_at_once_lose_none(path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from rag_service.key_file import create_key\n"
        "for number in range(5): print(create_key(Path(sys.argv[1]), name=f'{sys.argv[2]} {number}')[0].id)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", program, str(path), str(number)], stdout=subprocess.PIPE, text=True) for number in range(4)
    ]
    printed = [identifier for process in processes for identifier in process.communicate(timeout=60)[0].split()]
    assert all(process.returncode == 0 for process in processes)
    assert len(printed) == 20
    assert sorted(key.id for key in read_keys(path)) == sorted(printed)


def test_a_file_that_is_damaged_is_not_written_over(path: Path) -> None:
    create_key(path, name="frontend")
    path.write_text(path.read_text()[:-20])
    before = path.read_bytes()
    for attempt in (lambda: create_key(path, name="another"), lambda: revoke_key(path, "0" * 12)):
        with pytest.raises(Damaged):
            attempt()
    assert path.read_bytes() == before


def test_a_full_file_takes_no_more(path: Path) -> None:
    create_key(path, name="frontend")
    change(path, lambda content: content.update(keys=[{**content["keys"][0], "id": f"{number:012x}"} for number in range(MAX_KEYS)]))
    with pytest.raises(Conflict):
        create_key(path, name="one too many")
    assert len(read_keys(path)) == MAX_KEYS


# --- who is let in


def test_without_a_file_no_key_is_needed(path: Path) -> None:
    keyring = ring(path)
    keyring.load()
    assert not keyring.required
    assert OPEN.scopes == {"ask", "traces", "admin"}
    assert OPEN.filter is None


def test_a_key_is_its_holder(path: Path) -> None:
    create_key(path, name="other")
    key, shown = create_key(path, name="frontend", scopes=("ask", "admin"), documents={"lang": "en"}, rate_per_minute=7)
    keyring = ring(path)
    assert keyring.required
    caller = keyring.identify(shown, NOW_S)
    assert (caller.key_id, caller.name, caller.rate_per_minute) == (key.id, "frontend", 7)
    assert caller.scopes == {"ask", "admin"}
    assert caller.filter == parse_filter({"lang": "en"})


def wrong_keys(path: Path) -> dict[str, str]:
    """Every way of being wrong → a key that is wrong in that way."""
    key, shown = create_key(path, name="valid")
    other, other_shown = create_key(path, name="other")
    revoked, revoked_shown = create_key(path, name="revoked")
    revoke_key(path, revoked.id)
    _, expired_shown = create_key(path, name="expired", expires_at=datetime.fromtimestamp(NOW_S - 1, UTC))
    _, elsewhere = create_key(path.with_name("of another service.json"), name="elsewhere")
    return {
        "unknown id": f"rag_{'0' * 12}_{shown[17:]}",
        "wrong secret": f"rag_{key.id}_{'A' * 43}",
        "secret of another key": f"rag_{other.id}_{shown[17:]}",
        "one character more": shown + "A",
        "one character less": shown[:-1],
        "a newline after it": shown + "\n",
        "in capitals": shown.upper(),
        "the hash": f"rag_{key.id}_{key.secret_sha256[:43]}",
        "revoked": revoked_shown,
        "revoked, wrong secret": revoked_shown[:-43] + other_shown[17:],
        "expired": expired_shown,
        "of another file": elsewhere,
        "empty": "",
        "not a key": "sk-something",
        "no text": "\ud800\x00ÿ",
        "long": "rag_" * 100_000,
    }


def test_every_way_of_being_wrong_is_refused_in_the_same_words_and_by_the_same_comparison(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attacker who can measure time sees one hash and one comparison of 32 bytes with 32 bytes, whatever was wrong."""
    wrong = wrong_keys(path)
    keyring = ring(path)
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def recorded(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    monkeypatch.setattr(hmac, "compare_digest", recorded)
    said = set()
    for presented in wrong.values():
        with pytest.raises(Unauthorized) as caught:
            keyring.identify(presented, NOW_S)
        said.add((caught.value.message, caught.value.hint, caught.value.param))
    assert len(said) == 1
    assert compared == [(32, 32)] * len(wrong)


def test_a_key_ends_at_its_second(path: Path) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    _, shown = create_key(path, name="frontend", expires_at=ends)
    keyring = ring(path)
    assert keyring.identify(shown, ends.timestamp() - 0.001).name == "frontend"
    with pytest.raises(Unauthorized):
        keyring.identify(shown, ends.timestamp())


@settings(max_examples=200)
@given(st.text(max_size=80))
def test_no_text_is_taken_for_a_key(text: str) -> None:
    with pytest.raises(Unauthorized):
        Keyring(Path("/nowhere/keys.json")).identify(text, NOW_S)


# --- the file changes while the service runs


def test_the_first_key_closes_the_door_of_a_running_service(path: Path) -> None:
    keyring = ring(path)
    assert not keyring.required
    create_key(path, name="first")
    assert keyring.required


def test_a_key_is_revoked_within_a_second(path: Path) -> None:
    key, shown = create_key(path, name="frontend")
    keyring = Keyring(path)
    keyring.identify(shown, NOW_S)
    revoke_key(path, key.id)
    until_s = time.monotonic() + 1.0
    refused = False
    while not refused and time.monotonic() < until_s:
        try:
            keyring.identify(shown, NOW_S)
        except Unauthorized:
            refused = True
        time.sleep(0.01)
    assert refused


def test_the_file_is_not_looked_at_for_every_request(path: Path) -> None:
    key, shown = create_key(path, name="frontend")
    keyring = Keyring(path, look_every_s=3600.0)
    keyring.identify(shown, NOW_S)
    revoke_key(path, key.id)
    assert keyring.identify(shown, NOW_S).key_id == key.id


def test_revoking_the_last_key_does_not_open_the_door(path: Path) -> None:
    key, _ = create_key(path, name="only")
    revoke_key(path, key.id)
    assert ring(path).required


def test_a_file_that_vanishes_leaves_the_last_keys_in_force(path: Path) -> None:
    _, shown = create_key(path, name="frontend")
    keyring = ring(path)
    keyring.load()
    for gone in (path.unlink, lambda: path.with_name(".keys.json.lock").unlink(), path.parent.rmdir, lambda: path.parent.write_text("")):
        gone()
        assert keyring.required
        assert keyring.identify(shown, NOW_S).name == "frontend"
        with pytest.raises(Unauthorized):
            keyring.identify(shown[:-1] + "!", NOW_S)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "cut off": lambda path: path.write_text(path.read_text()[:-20]),
    "empty": lambda path: path.write_text(""),
    "no text": lambda path: path.write_bytes(b"\xff\xfe\x00"),
    "another schema": lambda path: change(path, lambda content: content.update(schema="rag.keys/v2")),
    "no schema": lambda path: change(path, lambda content: content.pop("schema") and None),
    "no keys": lambda path: change(path, lambda content: content.update(keys=[])),
    "not an object": lambda path: path.write_text("[]"),
    "unknown field": lambda path: change(path, lambda content: content["keys"][0].update(note="x")),
    "missing field": lambda path: change(path, lambda content: content["keys"][0].pop("filter")),
    "no scope": lambda path: change(path, lambda content: content["keys"][0].update(scopes=[])),
    "a filter that filters nothing": lambda path: change(path, lambda content: content["keys"][0].update(filter={})),
    "a filter that cannot be read": lambda path: change(path, lambda content: content["keys"][0].update(filter={"lang": {"like": 1}})),
    "the same id twice": lambda path: change(path, lambda content: content["keys"].append(content["keys"][0])),
    "a time without zone": lambda path: change(path, lambda content: content["keys"][0].update(expires_at="2040-01-01T00:00:00")),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link to itself": lambda path: (path.unlink(), path.symlink_to(path)),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_cannot_be_used_turns_everybody_away_until_it_is_mended(
    path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    _, shown = create_key(path, name="frontend")
    keyring = ring(path)
    keyring.load()
    whole = path.read_bytes()

    DAMAGES[damage](path)
    for _ in range(3):
        assert keyring.required
        with pytest.raises(StorageFailed) as caught:
            keyring.identify(shown, NOW_S)
        assert caught.value.retry_after_s == 1
        with pytest.raises(StorageFailed):
            keyring.identify(None, NOW_S)
    assert caplog.text.count("nobody is let in") == 1
    assert shown[17:] not in caplog.text

    if path.is_dir():
        path.rmdir()
    path.unlink(missing_ok=True)
    with pytest.raises(StorageFailed):
        keyring.identify(shown, NOW_S)  # that it is gone now does not mend it
    path.write_bytes(whole)
    assert keyring.identify(shown, NOW_S).name == "frontend"
    assert "can be read again" in caplog.text


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_service_does_not_start_on_a_file_that_cannot_be_used(path: Path, damage: str) -> None:
    create_key(path, name="frontend")
    DAMAGES[damage](path)
    with pytest.raises(RagError) as caught:
        ring(path).load()
    assert isinstance(caught.value, Damaged | StorageFailed)
    assert "keys.json" in caught.value.message
    assert caught.value.hint


def test_a_damaged_file_that_appears_closes_a_door_that_was_open(path: Path) -> None:
    keyring = ring(path)
    assert not keyring.required
    path.parent.mkdir()
    path.write_text("{")
    assert keyring.required
    path.unlink()
    assert keyring.required


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_any_more_closes_the_door_and_opens_it_again_without_being_changed(path: Path) -> None:
    _, shown = create_key(path, name="frontend")
    keyring = ring(path)
    keyring.load()
    path.chmod(0)
    with pytest.raises(StorageFailed):
        keyring.identify(shown, NOW_S)
    path.chmod(0o600)
    assert keyring.identify(shown, NOW_S).name == "frontend"


def test_a_change_that_leaves_size_and_time_of_the_file_is_seen(path: Path) -> None:
    _, shown = create_key(path, name="frontend")
    keyring = ring(path)
    keyring.load()
    before = path.stat()
    path.write_text(path.read_text().replace("frontend", "backened"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    assert keyring.identify(shown, NOW_S).name == "backened"
