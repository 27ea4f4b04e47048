"""How the calls to llama.cpp go wrong, against a small server on a real socket in its place."""

import http.server
import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from rag_service.cancellation import Cancellation
from rag_service.errors import Cancelled, DeadlineExceeded, GeneratorFailed, StorageFailed
from rag_service.generators.llama_run import Run
from rag_service.generators.llama_server import LlamaServer, open_server

needs_engine = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")


def event(**fields: object) -> bytes:
    return b"data: " + json.dumps(fields).encode() + b"\n\n"


END = event(content="", stop_type="eos", tokens_evaluated=12, tokens_predicted=3)
DONE = event(content=" Paris ", stop=False) + END
Answer = Callable[[str, dict[str, object]], tuple[int, bytes | Iterable[bytes]]]


class Door(socketserver.ThreadingUnixStreamServer):
    """Answers every request with what `answer` makes of its path and body: a status and the bytes of the reply, at once or in parts."""

    daemon_threads = True
    answer: Answer

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers that hang up are part of the game."""


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Door

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, reply = self.server.answer(self.path, body)
        self.send_response(status)
        self.end_headers()
        for part in [reply] if isinstance(reply, bytes) else reply:
            self.wfile.write(part)

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def serving(answer: Answer) -> Iterator[LlamaServer]:
    with TemporaryDirectory() as folder:
        path = Path(folder, "s.sock")
        with Door(str(path), _Handler) as door:
            door.answer = answer
            thread = threading.Thread(target=door.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield LlamaServer(object(), path)
            finally:
                door.shutdown()
                thread.join()


def complete(
    server: LlamaServer,
    *,
    deadline_s: float | None = None,
    cancellation: Cancellation | None = None,
    write: Callable[[str], None] | None = None,
) -> Run:
    return server.complete([1, 2], max_tokens=5, temperature=0.0, seed=0, deadline_s=deadline_s, cancellation=cancellation, write=write)


def test_a_run_asks_for_an_empty_cache_and_returns_what_the_engine_counted() -> None:
    asked: list[dict[str, object]] = []

    def answer(path: str, body: dict[str, object]) -> tuple[int, bytes]:
        asked.append({"path": path, **body})
        return HTTPStatus.OK, DONE

    with serving(answer) as server:
        assert complete(server) == Run(text=" Paris ", finish_reason="stop", prompt_tokens=12, completion_tokens=3)
    assert asked[0]["path"] == "/completion"
    assert asked[0]["prompt"] == [1, 2]
    assert asked[0]["cache_prompt"] is False


def test_a_lone_surrogate_is_sent_as_a_question_mark() -> None:
    asked: list[object] = []

    def answer(_: str, body: dict[str, object]) -> tuple[int, bytes]:
        asked.append(body["content"])
        return HTTPStatus.OK, b'{"tokens": [7]}'

    with serving(answer) as server:
        assert server.tokenize("a\ud800b", special=False) == [7]
    assert asked == ["a?b"]


def test_a_refusal_is_told_in_the_engines_words() -> None:
    reply = b'{"error": {"code": 400, "message": "Prompt contains invalid tokens"}}'
    with serving(lambda *_: (400, reply)) as server, pytest.raises(GeneratorFailed, match=r"HTTP 400.*invalid tokens") as caught:
        complete(server)
    assert caught.value.stage == "generate"


@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"{nope",
        b"[]",
        b"{}",
        b"\xff",
        b"data: {nope\n\n",
        b"data: []\n\n",
        b"data: \xff\n\n",
        b"data: " + b"x" * 2_000_000,
        event(content="cut off"),
        DONE[:-5],
    ],
)
def test_a_reply_that_makes_no_sense_is_a_failure(reply: bytes) -> None:
    with serving(lambda *_: (HTTPStatus.OK, reply)) as server, pytest.raises(GeneratorFailed):
        complete(server)


def test_an_engine_that_is_gone_is_a_failure() -> None:
    with pytest.raises(GeneratorFailed, match="FileNotFoundError"):
        complete(LlamaServer(object(), Path("there is no such socket")))


def test_waiting_for_ones_turn_counts_towards_the_deadline() -> None:
    entered, leave = threading.Event(), threading.Event()

    def answer(*_: object) -> tuple[int, bytes]:
        entered.set()
        leave.wait(10)
        return HTTPStatus.OK, DONE

    with serving(answer) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(complete, server)
        assert entered.wait(10)
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="before the model was free"):
            complete(server, deadline_s=began + 0.1)
        assert time.monotonic() - began < 5
        leave.set()
        assert first.result(10).text == " Paris "


def test_a_run_beyond_the_deadline_is_given_up_and_the_turn_passed_on() -> None:
    leave = threading.Event()

    def answer(*_: object) -> tuple[int, bytes]:
        leave.wait(10)
        return HTTPStatus.OK, DONE

    with serving(answer) as server:
        with pytest.raises(DeadlineExceeded, match="stopped at the deadline"):
            complete(server, deadline_s=time.monotonic() + 0.1)
        leave.set()
        assert complete(server, deadline_s=time.monotonic() + 10).text == " Paris "


def test_a_run_that_tells_its_text_and_one_that_does_not_give_the_same() -> None:
    parts = [event(content=" Pa"), event(content=""), b": still here\n\n", event(content="ris "), END]
    pieces: list[str] = []
    with serving(lambda *_: (HTTPStatus.OK, parts)) as server:
        told = complete(server, write=pieces.append)
        assert told == complete(server) == Run(text=" Paris ", finish_reason="stop", prompt_tokens=12, completion_tokens=3)
    assert pieces == [" Pa", "ris "]


def test_bytes_that_are_not_utf8_become_replacement_characters() -> None:
    with serving(lambda *_: (HTTPStatus.OK, DONE.replace(b"Paris", b"Par\xc3is"))) as server:
        assert complete(server).text == " Par\ufffdis "


def test_an_error_in_the_middle_of_a_run_is_told_in_the_engines_words() -> None:
    parts = [event(content=" Pa"), event(error={"code": 500, "message": "context shift failed"})]
    with serving(lambda *_: (HTTPStatus.OK, parts)) as server, pytest.raises(GeneratorFailed, match="context shift failed"):
        complete(server)


@pytest.mark.parametrize("dripped", [event(content="a"), b" "], ids=["pieces", "bytes of one line"])
def test_text_that_keeps_coming_does_not_put_the_deadline_off(dripped: bytes) -> None:
    left = threading.Event()

    def drip() -> Iterator[bytes]:
        try:
            while not left.wait(0.02):
                yield dripped
        finally:
            left.set()

    with serving(lambda *_: (HTTPStatus.OK, drip())) as server:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="stopped at the deadline"):
            complete(server, deadline_s=began + 0.3)
        assert time.monotonic() - began < 3
    left.set()


def test_an_answer_that_never_ends_is_broken_off() -> None:
    sent: list[int] = []

    def flood() -> Iterator[bytes]:
        for number in range(10_000):
            sent.append(number)
            yield event(content="x" * 10_000)

    with serving(lambda *_: (HTTPStatus.OK, flood())) as server, pytest.raises(GeneratorFailed, match="200,000 characters"):
        complete(server)
    assert len(sent) < 1000


class Refusal(OSError):
    """What a reader of an answer may raise; a failure of the socket to the engine is an `OSError` too."""


def test_what_the_reader_raises_comes_through_and_the_turn_is_passed_on() -> None:
    refusal = Refusal("the client is gone")

    def refuse(_: str) -> None:
        raise refusal

    with serving(lambda *_: (HTTPStatus.OK, DONE)) as server:
        with pytest.raises(Refusal) as caught:
            complete(server, write=refuse)
        assert caught.value is refusal
        assert complete(server, deadline_s=time.monotonic() + 10).text == " Paris "


@pytest.mark.parametrize("first", [b"", event(content="Par")], ids=["reading the prompt", "writing the answer"])
def test_a_cancelled_run_ends_at_once_and_the_turn_is_passed_on(first: bytes) -> None:
    entered, leave = threading.Event(), threading.Event()
    cancellation = Cancellation()

    def slowly() -> Iterator[bytes]:
        yield first
        entered.set()
        leave.wait(10)
        yield DONE

    with serving(lambda *_: (HTTPStatus.OK, slowly())) as server, ThreadPoolExecutor(1) as pool:
        run = pool.submit(complete, server, cancellation=cancellation)
        assert entered.wait(10)
        began = time.monotonic()
        cancellation.cancel()
        with pytest.raises(Cancelled):
            run.result(10)
        assert time.monotonic() - began < 5
        leave.set()
        assert complete(server, deadline_s=time.monotonic() + 10).text.endswith(" Paris ")


def test_a_run_that_waits_for_its_turn_can_be_cancelled_too() -> None:
    entered, leave = threading.Event(), threading.Event()
    cancellation = Cancellation()

    def answer(*_: object) -> tuple[int, bytes]:
        entered.set()
        leave.wait(10)
        return HTTPStatus.OK, DONE

    with serving(answer) as server, ThreadPoolExecutor(2) as pool:
        running = pool.submit(complete, server)
        assert entered.wait(10)
        waiting = pool.submit(complete, server, cancellation=cancellation)
        cancellation.cancel()
        with pytest.raises(Cancelled):
            waiting.result(5)
        assert not running.done()
        leave.set()
        assert running.result(10).text == " Paris "


def test_closing_hangs_up_on_every_call_and_can_be_repeated() -> None:
    entered = threading.Barrier(3)
    leave = threading.Event()

    def answer(*_: object) -> tuple[int, bytes]:
        entered.wait(10)
        leave.wait(10)
        return HTTPStatus.OK, b"{}"

    with serving(answer) as server, ThreadPoolExecutor(2) as pool:
        calls: list[Future[Run] | Future[list[int]]] = [
            pool.submit(complete, server),
            pool.submit(server.tokenize, "text", special=False),
        ]
        entered.wait(10)
        server.close()
        for call in calls:
            with pytest.raises(GeneratorFailed):
                call.result(10)
        leave.set()
        server.close()
        with pytest.raises(GeneratorFailed, match="closed"):
            complete(server)


@needs_engine
@pytest.mark.parametrize("folder_name", ["x" * 120, "absent/folder"])
def test_a_temporary_folder_that_cannot_hold_a_socket_is_said_to_be_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder_name: str
) -> None:
    folder = tmp_path / folder_name
    if "/" not in folder_name:
        folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    model = tmp_path / "model.gguf"
    model.write_bytes(b"GGUF")
    with pytest.raises(StorageFailed, match="temporary folder") as caught:
        open_server(model, context_tokens=128, threads=1).__enter__()
    assert "TMPDIR" in caught.value.hint
