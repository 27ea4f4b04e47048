"""`rag-service serve` as a process of its own: ready, asked, following activations, and stopped by a signal."""

import json
import re
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from queue import Empty, Queue
from subprocess import Popen, TimeoutExpired
from typing import Any

import pytest

from rag_service.catalog import Catalog

HOLIDAYS = "How many days of paid holiday does an employee have?"


class Served:
    """A running server, its address, and what it has said so far."""

    def __init__(self, process: "Popen[str]") -> None:
        self.process = process
        self.said: list[str] = []
        self._lines: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.url = re.findall(r"at (http://\S+)", self.wait_for(r"^ready: "))[0]

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.put(line)
        self._lines.put("")

    def wait_for(self, pattern: str, within_s: float = 30.0) -> str:
        """The first line not seen yet that matches."""
        deadline_s = time.monotonic() + within_s
        while True:
            try:
                line = self._lines.get(timeout=max(deadline_s - time.monotonic(), 0.01))
            except Empty:
                raise AssertionError(f"no line like {pattern!r} in time; said: {self.said}") from None
            assert line, f"the server ended: {self.said}"
            self.said.append(line)
            if re.search(pattern, line):
                return line

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as response:
            return json.loads(response.read())

    def ask(self, question: str) -> Any:
        body = json.dumps({"question": question}).encode()
        request = urllib.request.Request(self.url + "/ask", body, {"content-type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())

    def stop(self, number: int) -> int:
        """Sends the signal and gives the exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=10)


def listening(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


@pytest.fixture
def serve(start: Callable[..., "Popen[str]"]) -> Callable[..., Served]:
    return lambda root, **environ: Served(start("serve", "--name", "handbook", "--port", "0", "--indexes", root, environ=environ))


def test_a_server_answers_follows_an_activation_and_ends_with_0_on_sigterm(
    serve: Callable[..., Served], own_indexes: Path, build: Callable[..., Any], cli: Callable[..., Any], tmp_path: Path
) -> None:
    served = serve(own_indexes, RAG_GENERATOR="llamacpp:somewhere.gguf")
    assert any("generator is set to 'llamacpp:somewhere.gguf'" in line and "'extractive'" in line for line in served.said)
    assert served.get("/health/ready")["ready"] is True
    before = served.ask(HOLIDAYS)
    assert before["status"] == "answered"
    assert before["trace"]["release"]["id"] == Catalog(own_indexes).active_id("handbook")

    (tmp_path / "pets").mkdir()
    (tmp_path / "pets" / "pets.md").write_text("# Pets\n\nDogs may come to the office on Fridays.\n")
    version = build(own_indexes, tmp_path / "pets").manifest.version
    assert served.ask(HOLIDAYS)["trace"]["index"]["version"] != version  # built is not active
    assert cli("index", "activate", version, "--name", "handbook", "--indexes", own_indexes).code == 0
    activated_s = time.monotonic()
    while served.ask("When may dogs come?")["trace"]["index"]["version"] != version:
        assert time.monotonic() - activated_s < 5
        time.sleep(0.02)
    assert "Fridays" in served.ask("When may dogs come to the office?")["answer"]

    assert served.stop(signal.SIGTERM) == 0
    assert not any("Traceback" in line for line in served.said)


def test_ctrl_c_ends_a_server_with_0_and_frees_its_port(serve: Callable[..., Served], own_indexes: Path) -> None:
    served = serve(own_indexes)
    port = int(served.url.rpartition(":")[2])
    assert served.stop(signal.SIGINT) == 0
    with socket.create_server(("127.0.0.1", port)):
        pass


@pytest.mark.parametrize("later_s", [0.0, 0.03, 0.06, 0.1, 0.2])
def test_a_server_told_to_stop_while_it_opens_its_release_stops(
    start: Callable[..., "Popen[str]"], own_indexes: Path, later_s: float
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = free.getsockname()
    process = start("serve", "--name", "handbook", "--port", address[1], "--indexes", own_indexes)
    listens_by_s = time.monotonic() + 30
    while not listening(address):
        assert time.monotonic() < listens_by_s
        time.sleep(0.005)
    with suppress(TimeoutExpired):
        process.wait(later_s)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=10)
    assert process.returncode in {0, -signal.SIGTERM}, err  # the signal itself in the moment before the server handles it
    assert "Traceback" not in err


def test_a_port_in_use_is_an_error_that_says_what_to_do(command: Callable[..., Any], served_indexes: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        outcome = command("serve", "--name", "handbook", "--port", port, "--indexes", served_indexes)
    assert outcome.code == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in outcome.err
    assert "--port" in outcome.err


@pytest.mark.parametrize("host", ["192.0.2.1", "x" * 80])
def test_a_host_that_is_none_is_an_error_that_says_what_to_do(cli: Callable[..., Any], served_indexes: Path, host: str) -> None:
    outcome = cli("serve", "--name", "handbook", "--host", host, "--port", "0", "--indexes", served_indexes, RAG_ALLOW_OPEN="true")
    assert outcome.code == 1
    assert f"cannot listen on {host}:0: " in outcome.err
    assert "Unknown error" not in outcome.err
    assert "--host" in outcome.err


@pytest.mark.parametrize("port", ["-1", "65536", "http"])
def test_a_port_that_is_none_is_exit_code_2(cli: Callable[..., Any], served_indexes: Path, port: str) -> None:
    assert cli("serve", "--name", "handbook", "--port", port, "--indexes", served_indexes).code == 2


def test_a_server_of_a_damaged_index_ends_with_the_error(command: Callable[..., Any], own_indexes: Path) -> None:
    [version] = Catalog(own_indexes).versions("handbook")
    vectors = Catalog(own_indexes).version_folder("handbook", version) / "vectors.faiss"
    data = bytearray(vectors.read_bytes())
    data[100] ^= 4
    vectors.write_bytes(data)
    outcome = command("serve", "--name", "handbook", "--port", "0", "--indexes", own_indexes)
    assert outcome.code == 1
    assert f"{version}/vectors.faiss is damaged" in outcome.err
    assert "ready" not in outcome.err
