"""Pushing and pulling: what can be served on a machine that held nothing, what is sent, and what a killed command leaves."""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rag_service.catalog import Catalog
from rag_service.cli.transfer import _follow
from rag_service.errors import RemoteFailed
from rag_service.manifest import BUILD_FILE, MANIFEST_FILE
from tests.doubles import HOLIDAYS
from tests.remotes.faulty_store import Proxy, environment, get

Cli = Callable[..., Any]


@pytest.fixture
def push(cli: Cli, own_indexes: Path, store: Proxy, url: str) -> Cli:  # noqa: ARG001 - the store comes first
    def run(what: str = "handbook", *arguments: object) -> Any:
        return cli("index", "push", what, url, *arguments, "--indexes", own_indexes)

    return run


@pytest.fixture
def pull(cli: Cli, elsewhere: Path, store: Proxy, url: str) -> Cli:  # noqa: ARG001
    def run(what: str = "handbook", *arguments: object) -> Any:
        return cli("index", "pull", what, url, *arguments, "--indexes", elsewhere)

    return run


@pytest.fixture
def version(own_indexes: Path) -> str:
    return Catalog(own_indexes).versions("handbook")[-1]


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_was_pushed_is_served_on_a_machine_that_held_nothing(
    push: Cli, pull: Cli, cli: Cli, own_indexes: Path, elsewhere: Path, version: str
) -> None:
    release = Catalog(own_indexes).active_id("handbook")
    assert push("handbook", "--activate").code == 0
    outcome = pull("handbook", "--activate")
    assert outcome.code == 0, outcome.err
    here, there = Catalog(own_indexes), Catalog(elsewhere)
    assert there.active_id("handbook") == release
    assert files_of(here.version_folder("handbook", version)) == files_of(there.version_folder("handbook", version))
    assert not there.encoders_folder().is_symlink()
    answers = [json.loads(cli("ask", HOLIDAYS, "--name", "handbook", "--json", "--indexes", root).out) for root in (own_indexes, elsewhere)]
    assert "28 days" in answers[1]["answer"]
    assert answers[0]["answer"] == answers[1]["answer"]
    assert answers[0]["trace"]["release"] == answers[1]["trace"]["release"]
    assert there.history("handbook").transitions[-1].why.startswith("pulled from s3://")


def test_a_file_that_is_there_is_not_sent_again_by_any_version(
    push: Cli, build: Callable[..., Any], own_indexes: Path, store: Proxy, handbook: Path, tmp_path: Path
) -> None:
    first = push()
    assert re.search(r"(\d+) files sent", first.out)
    sent = store.requests("PUT", "/files/")
    assert "0 files sent, 0 B" in push().out
    assert store.requests("PUT", "/files/") == sent
    more = tmp_path / "more"
    more.mkdir()
    for path in handbook.glob("*.md"):
        (more / path.name).write_bytes(path.read_bytes())
    other = build(own_indexes, more).manifest.version
    outcome = push(f"handbook@{other}")
    assert "2 were there" in outcome.out  # model and tokenizer, which are most of the bytes
    assert store.requests("PUT", "/model.onnx") == 0


def test_a_version_alone_is_activated_with_a_release_of_its_own(push: Cli, pull: Cli, elsewhere: Path, version: str) -> None:
    assert push(f"handbook@{version}").code == 0
    outcome = pull(f"handbook@{version}")
    assert f"rag-service index activate {version} --name handbook" in outcome.out
    assert Catalog(elsewhere).served_id("handbook") is None  # pulling serves nothing by itself
    assert pull(f"handbook@{version}", "--activate").code == 0
    assert Catalog(elsewhere).release("handbook", Catalog(elsewhere).active_id("handbook")).index.version == version


def test_a_store_that_does_not_say_what_is_served_names_what_it_holds(push: Cli, pull: Cli, version: str) -> None:
    assert push().code == 0
    outcome = pull()
    assert outcome.code == 1
    assert "does not say which release of 'handbook' is served" in outcome.err
    assert version in outcome.err


def test_a_release_that_fails_a_check_is_neither_sent_nor_served(push: Cli, own_indexes: Path, store: Proxy) -> None:
    Catalog(own_indexes).canaries_path("handbook").write_text('{"question": "Who won the match?", "documents": ["match.md"]}\n')
    outcome = push("handbook", "--activate")
    assert outcome.code == 1
    assert "the check `questions` failed" in outcome.err
    assert store.requests("PUT") == 0


def test_what_is_damaged_here_is_not_sent(push: Cli, own_indexes: Path, store: Proxy, version: str) -> None:
    path = Catalog(own_indexes).version_folder("handbook", version) / "vectors.faiss"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert "vectors.faiss is damaged" in push().err
    assert store.requests("PUT") == 0


def test_a_push_that_was_killed_is_never_seen_and_goes_on(
    push: Cli, pull: Cli, start: Cli, own_indexes: Path, store: Proxy, url: str, version: str, s3_port: int, bucket: str
) -> None:
    store.faults.before = lambda line: time.sleep(60) if line.startswith("PUT") and store.requests("PUT", "/files/") > 9 else None
    process = start("index", "push", f"handbook@{version}", url, "--indexes", own_indexes, environ=environment(store.url))
    until(lambda: store.requests("PUT", "/files/") > 9)
    process.kill()
    process.wait(timeout=30)
    store.faults.before = lambda _: None
    assert f"holds no handbook/versions/{version}.json" in pull(f"handbook@{version}").err
    outcome = push(f"handbook@{version}")
    assert int(re.findall(r"(\d+) were there", outcome.out)[0]) >= 3
    assert json.loads(get(s3_port, f"{bucket}/shelf/handbook/versions/{version}.json"))["schema"] == "rag.index/v2"
    assert pull(f"handbook@{version}").code == 0


def test_a_pull_that_was_killed_leaves_nothing_to_serve_and_goes_on(
    push: Cli, pull: Cli, start: Cli, elsewhere: Path, own_indexes: Path, store: Proxy, url: str, version: str
) -> None:
    assert push(f"handbook@{version}").code == 0
    store.replied_bytes = 0
    store.faults.bytes_first = 14 * 2**20
    process = start("index", "pull", f"handbook@{version}", url, "--indexes", elsewhere, environ=environment(store.url))
    until(lambda: store.faults.bytes_first == 0)
    process.kill()
    process.wait(timeout=30)
    assert Catalog(elsewhere).encoders() == []
    store.faults.bytes_first, store.replied_bytes = None, 0
    assert pull(f"handbook@{version}").code == 0
    whole = sum(path.stat().st_size for path in Path(own_indexes / "encoders").resolve().glob("*/model.onnx"))
    assert store.replied_bytes < whole - 9 * 2**20  # of 14 MiB that had come, two pieces at least were kept
    assert files_of(Catalog(elsewhere).version_folder("handbook", version)).keys() >= {MANIFEST_FILE, BUILD_FILE}
    assert not Catalog(elsewhere).pulling_folder("handbook").exists()
    assert not Catalog(elsewhere).pulling_folder("encoders").exists()


def test_two_who_push_the_same_version_at_once_leave_it_whole(start: Cli, pull: Cli, own_indexes: Path, store: Proxy, url: str) -> None:
    """F26."""
    at_once = [
        start("index", "push", "handbook", url, "--activate", "--indexes", own_indexes, environ=environment(store.url)) for _ in range(2)
    ]
    for process in at_once:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert pull("handbook", "--activate").code == 0


def test_an_encoder_travels_alone(cli: Cli, own_indexes: Path, elsewhere: Path, store: Proxy, url: str) -> None:  # noqa: ARG001
    [folder] = [folder for folder in Catalog(own_indexes).encoders() if (folder / "model.onnx").stat().st_size < 50 * 2**20][:1]
    assert cli("encoder", "push", folder.name, url, "--indexes", own_indexes).code == 0
    outcome = cli("encoder", "pull", folder.name, url, "--indexes", elsewhere)
    assert outcome.code == 0, outcome.err
    assert files_of(folder) == files_of(Catalog(elsewhere).encoder_folder(folder.name))
    assert "there already" in cli("encoder", "pull", folder.name, url, "--indexes", elsewhere).out


def test_who_watches_serves_what_the_store_says_and_outlives_its_absence(
    push: Cli, cli: Cli, start: Cli, own_indexes: Path, elsewhere: Path, store: Proxy, url: str
) -> None:
    assert push("handbook", "--activate").code == 0
    first = Catalog(own_indexes).active_id("handbook")
    watch = ("index", "pull", "handbook", url, "--activate", "--watch", "--every", 1, "--indexes", elsewhere)
    process = start(*watch, environ={**environment(store.url), "RAG_REMOTE_TIMEOUT_S": "5"})
    until(lambda: Catalog(elsewhere).served_id("handbook") == first)
    store.faults.refuses = True
    assert cli("index", "activate", "--name", "handbook", "--indexes", own_indexes, RAG_TOP_K="4").code == 0
    second = Catalog(own_indexes).active_id("handbook")
    time.sleep(2)
    assert process.poll() is None
    assert Catalog(elsewhere).active_id("handbook") == first
    store.faults.refuses = False
    assert push("handbook", "--activate").code == 0
    until(lambda: Catalog(elsewhere).served_id("handbook") == second)


def test_who_rolls_back_here_is_not_overruled_until_the_store_names_another() -> None:
    named, taken, pauses = iter(["a", "a", "b", "b"]), list[str](), list[float]()

    def served() -> str:
        try:
            return next(named)
        except StopIteration:
            raise KeyboardInterrupt from None

    with pytest.raises(KeyboardInterrupt):
        _follow(served, taken.append, every_s=10, pause=pauses.append)
    assert taken == ["a", "b"]
    assert all(9 <= pause <= 11 for pause in pauses)


def test_a_store_that_stays_away_is_asked_less_and_less_often() -> None:
    pauses: list[float] = []

    def away() -> str:
        if len(pauses) == 12:
            raise KeyboardInterrupt
        raise RemoteFailed("away")

    with pytest.raises(KeyboardInterrupt):
        _follow(away, lambda _: None, every_s=10, pause=pauses.append)
    assert pauses[0] < pauses[2] < pauses[4]
    assert max(pauses) <= 660


def until(reached: Callable[[], bool], *, within_s: float = 40) -> None:
    over = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < over, "it did not come to that"
        time.sleep(0.05)
