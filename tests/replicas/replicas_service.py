"""Two replicas behind a real proxy, whose releases, code and processes change while questions go on (`make replicas`).

Not a part of `make test`: pytest collects files of this name only where they are named. Takes about two minutes.
"""

import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag_service.catalog import Catalog
from rag_service.key_file import create_key
from rag_service.settings import load_settings
from rag_service.wiring.releases import make_release
from tests.conftest import PROJECT, copy_of
from tests.generators.chat_server import Scene, providing
from tests.load import Editions, make_editions
from tests.replicas.fleet import Fleet, Kind, fleet

PER_S = 25
SWAPS = 8
KILLS = 3
Say = Callable[[str], None]


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def it(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", flush=True)  # noqa: T201 - the result is what this suite is run for

    return it


@pytest.fixture(scope="module", params=["nginx", "haproxy"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Kind = request.param
    return chosen


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, served_indexes: Path) -> Path:
    return copy_of(served_indexes, tmp_path_factory.mktemp("fleet") / "indexes")


@pytest.fixture(scope="module")
def editions(root: Path, build: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Editions:
    return make_editions(root, build, tmp_path_factory.mktemp("editions") / "pages")


@pytest.fixture(scope="module")
def running(kind: Kind, root: Path, editions: Editions, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:  # noqa: ARG001 - made first
    with fleet(kind, root, tmp_path_factory.mktemp(kind)) as running:
        yield running


def eventually(holds: Callable[[], bool], within_s: float = 20.0) -> None:
    until_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until_s, "it did not happen in time"
        time.sleep(0.05)


def asked(port: int, *, source: str = "127.0.0.1", path: str = "/ask", body: bytes | None = None, **headers: str) -> tuple[int, Any, Any]:
    """Status, headers and body of one question by itself."""
    connection = HTTPConnection("127.0.0.1", port, timeout=30, source_address=(source, 0))
    try:
        sent = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
        connection.request("POST", path, body or json.dumps({"question": "Who wears a yellow badge?"}), sent)
        response = connection.getresponse()
        return response.status, response.headers, json.loads(response.read())
    finally:
        connection.close()


def test_another_release_is_served_by_all_replicas_without_an_error_or_a_mixture(
    running: Fleet, root: Path, editions: Editions, kind: Kind, say: Say
) -> None:
    catalog, followed_s = Catalog(root), []
    with running.under_load(editions, PER_S) as load:
        for number in range(1, SWAPS + 1):
            target = editions.releases[number % len(editions.releases)]
            catalog.activate("handbook", target)
            switched_s = time.monotonic()
            eventually(lambda: {replica.release() for replica in running.replicas} == {target.id})  # noqa: B023 - called at once
            followed_s.append(time.monotonic() - switched_s)
            time.sleep(0.8)
    say(
        f"{kind}, releases: {SWAPS} activations, {load.asked} questions, {len(load.errors)} errors, none of two releases; "
        f"both replicas followed within {max(followed_s) * 1000:.0f} ms; slowest answer {load.slowest_s * 1000:.0f} ms"
    )
    assert load.errors == []
    assert set(load.answers) == editions.served
    assert load.asked > 100
    assert min(replica.answered() for replica in running.replicas) > load.asked / 10, "one of them did hardly anything"


def test_new_code_is_rolled_out_and_back_without_an_error(
    running: Fleet, root: Path, editions: Editions, tmp_path: Path, kind: Kind, say: Say
) -> None:
    shutil.copytree(PROJECT / "rag_service", tmp_path / "rag_service", ignore=shutil.ignore_patterns("__pycache__"))
    with (tmp_path / "rag_service" / "citations.py").open("a") as changed:
        changed.write("# other code, which answers the same\n")
    served = Catalog(root).active_id("handbook")
    version = Catalog(root).release("handbook", served).index.version
    with running.under_load(editions, PER_S) as load:
        time.sleep(1)
        for replica in running.replicas:
            replica.restart(PYTHONPATH=str(tmp_path))
        new = {replica.release() for replica in running.replicas}
        time.sleep(1)
        for replica in running.replicas:
            replica.restart()
        time.sleep(1)
    say(f"{kind}, code: 4 restarts, {load.asked} questions, {len(load.errors)} errors; slowest answer {load.slowest_s * 1000:.0f} ms")
    assert load.errors == []
    assert len(new) == 1
    assert new != {served}, "the code is a part of the release"
    assert set(load.answers) == {(served, version), (new.pop(), version)}
    assert {replica.release() for replica in running.replicas} == {served}


def test_a_replica_that_is_killed_costs_no_answer_and_comes_back(running: Fleet, editions: Editions, kind: Kind, say: Say) -> None:
    """haproxy 2.6 may close the connection of a client whose question met the replica that was killed: docs/replicas.md says so."""
    killed = running.replicas[0]
    with running.under_load(editions, PER_S) as load:
        for _ in range(KILLS):
            time.sleep(0.7)
            assert killed.end(signal.SIGKILL) == -signal.SIGKILL
            time.sleep(0.7)
            killed.start()
        eventually(lambda: killed.answered() > 0)
    say(f"{kind}, kills: {KILLS}, {load.asked} questions, {len(load.errors)} errors; slowest answer {load.slowest_s * 1000:.0f} ms")
    if kind == "haproxy":
        assert len(load.errors) <= 2 * KILLS
        assert [error for error in load.errors if not error.startswith(("RemoteDisconnected", "ConnectionReset"))] == []
    else:
        assert load.errors == []


def test_a_replica_that_stands_still_delays_what_it_holds_and_the_other_answers_the_rest(
    running: Fleet, editions: Editions, kind: Kind, say: Say
) -> None:
    still, other = running.replicas
    with running.under_load(editions, PER_S) as load:
        time.sleep(1)
        still.process.send_signal(signal.SIGSTOP)
        before = other.answered()
        time.sleep(3)
        meanwhile = other.answered() - before
        still.process.send_signal(signal.SIGCONT)
        time.sleep(1)
    say(
        f"{kind}, standing still for 3 s: {load.asked} questions, {len(load.errors)} errors, {meanwhile:.0f} answered meanwhile; "
        f"slowest answer {load.slowest_s * 1000:.0f} ms"
    )
    assert load.errors == []
    assert meanwhile > PER_S
    assert load.slowest_s < 8


def test_ids_of_the_caller_reach_the_service_and_come_back(running: Fleet) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    status, headers, reply = asked(running.port, x_request_id="from-the-caller:1", traceparent=f"00-{trace}-b7ad6b7169203331-01")
    assert (status, headers["x-request-id"], reply["request_id"]) == (200, "from-the-caller:1", "from-the-caller:1")
    assert (headers["x-trace-id"], reply["trace_id"]) == (trace, trace)
    given = {asked(running.port)[2]["request_id"] for _ in range(3)}
    assert None not in given
    assert len(given) == 3, "who sends none is given one"


def test_a_body_that_is_too_large_is_refused_by_the_service_in_its_own_words(running: Fleet) -> None:
    status, _, reply = asked(running.port, body=json.dumps({"question": "x" * 1_100_000}).encode())
    assert (status, reply["error"]["code"]) == (413, "payload_too_large")


def test_the_numbers_of_the_service_are_not_shown_to_the_world(running: Fleet) -> None:
    connection = HTTPConnection("127.0.0.1", running.port, timeout=10)
    connection.request("GET", "/metrics")
    response = connection.getresponse()
    assert response.status == 404
    assert b"rag_" not in response.read()
    connection.close()


def test_without_any_replica_there_is_one_kind_of_error_and_answers_come_back_by_themselves(running: Fleet) -> None:
    for replica in running.replicas:
        replica.stop()
    status, headers, reply = asked(running.port)
    assert (status, headers["retry-after"]) == (503, "1")
    assert reply["error"]["code"] == "not_ready"
    assert reply["error"]["retryable"] is True
    for replica in running.replicas:
        replica.start()
    eventually(lambda: asked(running.port)[0] == 200)


def test_wrong_keys_of_one_client_do_not_shut_out_another(kind: Kind, root: Path, tmp_path: Path) -> None:
    _, key = create_key(tmp_path / "keys.json", name="reader", scopes=("ask",))
    with fleet(kind, root, tmp_path, RAG_KEYS=str(tmp_path / "keys.json")) as running:
        wrong = [asked(running.port, source="127.0.0.2", x_api_key="wrong", x_forwarded_for=f"10.0.0.{n}")[0] for n in range(60)]
        assert set(wrong) == {401, 429}, "whatever address it claims"
        assert asked(running.port, source="127.0.0.3", x_api_key="wrong")[0] == 401
        assert asked(running.port, source="127.0.0.2", authorization=f"Bearer {key}")[0] == 200


@pytest.fixture
def slow_model(kind: Kind, tmp_path: Path, served_indexes: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    """Replicas whose model writes a word every 0.2 s."""
    root = copy_of(served_indexes, tmp_path / "indexes")
    monkeypatch.setenv("OPENAI_API_KEY", "a-key")
    words = [f"word{number} " for number in range(10)]
    with providing(Scene(pieces=[*words, "[1]."], before_piece=lambda _: time.sleep(0.2))) as url:
        settings = load_settings({}, indexes=root, generator="openai:small", generator_base_url=url, min_confidence=0)
        version = Catalog(root).versions("handbook")[-1]
        Catalog(root).activate("handbook", make_release(settings, Catalog(root), "handbook", version))
        with fleet(kind, root, tmp_path) as running:
            yield running


def stream(port: int) -> Iterator[tuple[float, str]]:
    """Each line with the time of its arrival. Raises `httpx.TransportError` where the stream breaks off."""
    question = {"question": "Who wears a yellow badge?", "stream": True}
    with httpx.stream("POST", f"http://127.0.0.1:{port}/ask", json=question, timeout=30) as response:
        assert response.status_code == 200
        for line in response.iter_lines():
            yield time.monotonic(), line


def test_streams_come_through_word_by_word_and_a_broken_one_is_seen_to_be_broken(slow_model: Fleet) -> None:
    lines = list(stream(slow_model.port))
    deltas = [when_s for when_s, line in lines if line == "event: delta"]
    assert len(deltas) > 3
    assert deltas[-1] - deltas[0] > 1.0, "they came all at once"
    assert any(line == "event: done" for _, line in lines)

    seen = []

    def cut_short() -> None:
        for _, line in stream(slow_model.port):
            seen.append(line)
            if seen.count("event: delta") == 2:
                for replica in slow_model.replicas:
                    replica.end(signal.SIGKILL)

    with pytest.raises(httpx.TransportError):
        cut_short()
    assert "event: done" not in seen
