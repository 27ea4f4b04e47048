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
from urllib.error import HTTPError

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
        self.url = re.findall(r"at (http://[^\s\"]+)", self.wait_for(r'^ready: |"ready at '))[0]

    def _read(self) -> None:
        assert self.process.stderr is not None
        with suppress(ValueError):  # the test is over, and has closed what is read here
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

    def ask(self, question: str, **headers: str) -> Any:
        body = json.dumps({"question": question}).encode()
        request = urllib.request.Request(self.url + "/ask", body, {"content-type": "application/json", **headers})
        with urllib.request.urlopen(request, timeout=30) as response:
            return json.loads(response.read())

    def stop(self, number: int) -> int:
        """Sends the signal and gives the exit code. What it said until its end is then in `said`."""
        self.process.send_signal(number)
        code = self.process.wait(timeout=10)
        while line := self._lines.get(timeout=10):
            self.said.append(line)
        return code


def listening(address: tuple[str, int]) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(address) == 0


@pytest.fixture
def serve(start: Callable[..., "Popen[str]"]) -> Callable[..., Served]:
    def run(root: Path, *options: str, **environ: str) -> Served:
        return Served(start("serve", "--name", "handbook", "--port", "0", "--indexes", root, *options, environ=environ))

    return run


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


NAME_OF_LOOPBACK = "127.1"
"""To the service a name like any other, which may be public; to the system another spelling of 127.0.0.1."""


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "rag.example", NAME_OF_LOOPBACK])
def test_a_public_address_without_keys_is_refused_with_both_ways_out(cli: Callable[..., Any], served_indexes: Path, host: str) -> None:
    outcome = cli("serve", "--name", "handbook", "--host", host, "--port", "0", "--indexes", served_indexes)
    assert (outcome.code, outcome.out) == (2, "")
    assert f"host is {host}, which other machines can reach, and there are no keys" in outcome.err
    assert "rag-service keys create --name NAME" in outcome.err
    assert "RAG_ALLOW_OPEN=true" in outcome.err


def test_a_refusal_ends_the_process_before_anything_listens(command: Callable[..., Any], served_indexes: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    outcome = command("serve", "--name", "handbook", "--host", NAME_OF_LOOPBACK, "--port", port, "--indexes", served_indexes)
    assert outcome.code == 2
    assert "there are no keys" in outcome.err
    assert "ready" not in outcome.err
    assert not listening(("127.0.0.1", port))


def test_who_wants_everybody_in_says_so(serve: Callable[..., Served], served_indexes: Path) -> None:
    served = serve(served_indexes, "--host", NAME_OF_LOOPBACK, RAG_ALLOW_OPEN="true")
    assert served.ask(HOLIDAYS)["status"] == "answered"
    assert served.stop(signal.SIGTERM) == 0


def test_with_keys_a_public_address_is_served_to_who_has_one(
    serve: Callable[..., Served], served_indexes: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    keys = tmp_path / "keys.json"
    made = cli("keys", "create", "--name", "frontend", "--keys", keys, "--indexes", served_indexes)
    assert made.code == 0
    served = serve(served_indexes, "--host", NAME_OF_LOOPBACK, RAG_KEYS=str(keys))
    with pytest.raises(HTTPError) as refused:
        served.ask(HOLIDAYS)
    with refused.value as reply:
        assert (reply.code, json.loads(reply.read())["error"]["code"]) == (401, "unauthorized")
    assert served.ask(HOLIDAYS, authorization=f"Bearer {made.out.strip()}")["status"] == "answered"
    assert served.stop(signal.SIGTERM) == 0
    assert not any(made.out.strip() in line for line in served.said)


def test_a_file_of_keys_that_is_damaged_lets_nobody_in(cli: Callable[..., Any], served_indexes: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text("{")
    outcome = cli("serve", "--name", "handbook", "--port", "0", "--indexes", served_indexes, RAG_KEYS=str(keys))
    assert outcome.code == 1
    assert "keys.json" in outcome.err
    assert "ready" not in outcome.err


SECRET = "quokka"
"""A word that stands in every question of the log tests, and nowhere else."""


def ask_in_every_way(served: Served) -> None:
    """An answer, an abstention and two errors."""
    served.ask(f"{HOLIDAYS} I am a {SECRET}.")
    served.ask(f"Where does a {SECRET} live?")
    served.ask("x")
    for path, body in (("/ask", {"question": f"{SECRET} " * 1000}), (f"/nowhere?q={SECRET}", {"question": SECRET})):
        request = urllib.request.Request(served.url + path, json.dumps(body).encode(), {"content-type": "application/json"})
        with pytest.raises(HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)
        refused.value.close()


def test_a_log_for_programs_is_json_line_by_line_and_holds_no_question(serve: Callable[..., Served], served_indexes: Path) -> None:
    served = serve(served_indexes, RAG_LOG_FORMAT="json", RAG_GENERATOR="llamacpp:somewhere.gguf", RAG_LOG_LEVEL="debug")
    ask_in_every_way(served)
    assert served.stop(signal.SIGTERM) == 0
    events = [json.loads(line) for line in served.said]
    assert all({"time", "level", "logger", "message"} <= event.keys() for event in events)
    assert any(event["level"] == "warning" and "generator is set to" in event["message"] for event in events)
    requests = [event for event in events if "route" in event]
    assert [event["status"] for event in requests if event["method"] == "POST"] == [200, 200, 200, 422, 404]
    assert all(re.fullmatch("[0-9a-f]{32}", event["trace_id"]) for event in requests)
    assert SECRET not in "".join(served.said)


def test_a_log_for_people_holds_no_question_either(serve: Callable[..., Served], served_indexes: Path) -> None:
    served = serve(served_indexes)
    ask_in_every_way(served)
    assert served.stop(signal.SIGTERM) == 0
    assert sum("POST /ask 200" in line for line in served.said) == 3
    assert SECRET not in "".join(served.said)


def test_questions_are_logged_where_that_is_asked_for(serve: Callable[..., Served], served_indexes: Path) -> None:
    served = serve(served_indexes, RAG_LOG_FORMAT="json", RAG_LOG_QUESTIONS="true")
    served.ask(f"Where does a {SECRET} live?")
    assert served.stop(signal.SIGTERM) == 0
    assert any(json.loads(line).get("question") == f"Where does a {SECRET} live?" for line in served.said)


def test_requests_are_not_logged_where_that_is_asked_for(serve: Callable[..., Served], served_indexes: Path) -> None:
    served = serve(served_indexes, RAG_LOG_REQUESTS="false")
    served.ask(HOLIDAYS)
    assert served.stop(signal.SIGTERM) == 0
    assert not any("POST" in line for line in served.said)
