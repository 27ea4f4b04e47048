"""How a server stops: as a process of its own, by real signals."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import pytest

PROGRAM = '''
"""What a service is to its server: not ready once it drains, slow on request, with streams that can be told that time is over."""

import asyncio, logging, socket, sys, time

from rag_service.api.connections import ConnectionLimits
from rag_service.api.server import DrainingServer, Ending, serve_until_signal

drain_s, grace_s, starts_s = map(float, sys.argv[1:])
draining, over = False, asyncio.Event()


def say(what):
    print(what, flush=True)


def drain():
    global draining
    draining = True
    say("draining")


def on_grace_over():
    over.set()
    say("grace over")


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        say("starting")
        await asyncio.sleep(starts_s)
        await send({"type": "lifespan.startup.complete"})
        say(f"port {listener.getsockname()[1]}")
        await receive()
        say("closed")
        await send({"type": "lifespan.shutdown.complete"})
        return
    path = scope["path"]
    if path == "/fail":
        server.stop()
    status = 503 if path == "/ready" and draining else 200
    begun = {"type": "http.response.start", "status": status, "headers": [(b"content-type", b"text/plain")]}
    if path == "/stream":
        await send(begun)
        await send({"type": "http.response.body", "body": b"begun ", "more_body": True})
        say("asked")
        await over.wait()
        await send({"type": "http.response.body", "body": b"ended"})
        return
    if path.startswith("/takes/"):
        say("asked")
        await asyncio.sleep(float(path.removeprefix("/takes/")))
    if path == "/thread":
        say("asked")
        await asyncio.to_thread(time.sleep, 60)
    await send(begun)
    await send({"type": "http.response.body", "body": b"ok"})


with socket.create_server(("127.0.0.1", 0)) as listener:
    server = DrainingServer(
        app, ConnectionLimits(100, 10.0), Ending(drain_s=drain_s, grace_s=grace_s), on_stop=drain, on_grace_over=on_grace_over
    )
    serve_until_signal(server, listener)
say("ended")
'''


@dataclass
class Process:
    process: "subprocess.Popen[str]"
    port: int = 0

    def hears(self, what: str) -> str:
        """Reads what it says up to a line that begins with `what`."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(what):
                return line.removeprefix(what).strip()
        raise AssertionError(f"it ended without saying {what}: {self.process.returncode}")

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        self.process.send_signal(number)

    def connect(self) -> HTTPConnection:
        return HTTPConnection("127.0.0.1", self.port, timeout=20)

    def get(self, path: str) -> tuple[int, str]:
        connection = self.connect()
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def ends(self, within_s: float = 20) -> tuple[int, list[str]]:
        """Exit code, and what it still said."""
        out, _ = self.process.communicate(timeout=within_s)
        return self.process.returncode, out.splitlines()


Start = Callable[..., Process]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with ExitStack() as processes:

        def run(*, drain_s: float = 0, grace_s: float = 10, starts_s: float = 0) -> Process:
            process = processes.enter_context(
                subprocess.Popen(
                    [sys.executable, str(program), str(drain_s), str(grace_s), str(starts_s)],
                    stdout=subprocess.PIPE,
                    text=True,
                    cwd=Path(__file__).parents[2],
                    env={"PYTHONPATH": str(Path(__file__).parents[2])},
                )
            )
            processes.callback(process.kill)
            started = Process(process)
            if starts_s == 0:
                started.port = int(started.hears("port "))
            return started

        yield run


class Asking:
    """One request, in a thread."""

    def __init__(self, server: Process, path: str) -> None:
        self.answer: tuple[int, str] | Exception | None = None

        def ask() -> None:
            try:
                self.answer = server.get(path)
            except Exception as error:  # noqa: BLE001 - a test looks at it
                self.answer = error

        self._thread = threading.Thread(target=ask)
        self._thread.start()
        server.hears("asked")

    def result(self) -> tuple[int, str] | Exception | None:
        self._thread.join(20)
        return self.answer


def refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_with_exit_code_0(number: signal.Signals, start: Start) -> None:
    server = start()
    assert server.get("/ready") == (200, "ok")
    server.signal(number)
    assert server.ends() == (0, ["draining", "closed", "ended"])


def test_a_request_under_way_is_answered_and_the_port_is_closed_meanwhile(start: Start) -> None:
    server = start()
    asking = Asking(server, "/takes/1.5")
    server.signal()
    server.hears("draining")
    deadline_s = time.monotonic() + 1
    while not refuses(server.port):
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    assert asking.answer is None
    assert asking.result() == (200, "ok")
    assert server.ends()[0] == 0


def test_while_it_drains_whoever_asks_sees_that_it_is_not_ready(start: Start) -> None:
    server = start(drain_s=1.5)
    kept = server.connect()
    kept.request("GET", "/ready")
    assert kept.getresponse().read() == b"ok"
    server.signal()
    server.hears("draining")
    assert server.get("/ready")[0] == 503
    kept.request("GET", "/ready")  # a connection that is kept alive goes on, and is told to end
    answer: HTTPResponse = kept.getresponse()
    assert (answer.status, answer.getheader("connection")) == (503, "close")
    kept.close()
    assert server.ends() == (0, ["closed", "ended"])
    assert refuses(server.port)


def test_connections_that_are_idle_or_half_a_request_do_not_delay_the_end(start: Start) -> None:
    server = start(grace_s=20)
    idle = server.connect()
    idle.request("GET", "/ready")
    assert idle.getresponse().read() == b"ok"
    with socket.create_connection(("127.0.0.1", server.port)) as half:
        half.sendall(b"GET / HT")
        server.signal()
        assert server.ends(within_s=5)[0] == 0
    idle.close()


def test_a_second_signal_ends_it_at_once(start: Start) -> None:
    server = start(drain_s=30, grace_s=30)
    asking = Asking(server, "/takes/30")
    server.signal()
    server.hears("draining")
    server.signal()
    assert server.ends(within_s=5)[0] == -signal.SIGTERM
    assert isinstance(asking.result(), Exception)


def test_a_request_longer_than_the_grace_is_cut_off_with_an_error_in_the_one_shape(start: Start) -> None:
    server = start(grace_s=1.2)
    asking = Asking(server, "/takes/30")
    server.signal()
    code, said = server.ends(within_s=10)
    answer = asking.result()
    assert isinstance(answer, tuple)
    assert (answer[0], json.loads(answer[1])["error"]["code"]) == (503, "shutting_down")
    assert (code, said) == (0, ["draining", "grace over", "closed", "ended"])


def test_a_stream_is_told_shortly_before_and_can_end_in_its_own_words(start: Start) -> None:
    server = start(grace_s=1.2)
    asking = Asking(server, "/stream")
    server.signal()
    assert asking.result() == (200, "begun ended")
    assert server.ends() == (0, ["draining", "grace over", "closed", "ended"])


def test_a_signal_before_it_has_started_ends_it_without_draining(start: Start) -> None:
    server = start(drain_s=30, starts_s=0.5)
    server.hears("starting")
    server.signal()
    assert server.ends(within_s=10)[0] == 0


def test_who_holds_the_server_can_stop_it_without_a_signal(start: Start) -> None:
    server = start()
    assert server.get("/fail") == (200, "ok")
    assert server.ends() == (0, ["draining", "closed", "ended"])


def test_a_thread_that_goes_on_keeps_the_process_until_a_signal_says_otherwise(start: Start) -> None:
    server = start(grace_s=0.2)
    asking = Asking(server, "/thread")
    server.signal()
    server.hears("closed")
    asking.result()
    time.sleep(0.3)
    assert server.process.poll() is None
    server.signal()
    assert server.ends(within_s=5)[0] == -signal.SIGTERM
