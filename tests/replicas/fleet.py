"""Two replicas of the service on one machine, and a proxy in front of them that runs the configuration of `deploy/`."""

import json
import os
import re
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from pathlib import Path
from subprocess import PIPE, STDOUT, Popen
from sys import executable
from typing import Any, Literal

import pytest

from tests.conftest import PROJECT
from tests.load import Editions, Load
from tests.processes import ServerProcess

Kind = Literal["nginx", "haproxy"]
START_WITHIN_S = 10.0
DRAIN_S = 2.0
FOUND_AGAIN_S = 2.0
"""Twice the `fail_timeout` of nginx, as `docs/replicas.md` says."""
_NGINX = """
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/rag.conf;
}}
"""


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Replica:
    """`rag-service serve` on a port that stays its own, however often it is started."""

    root: Path
    port: int
    environ: Mapping[str, str]
    server: ServerProcess = field(init=False)
    process: "Popen[str]" = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self, **environ: str) -> None:
        """Returns once it is ready."""
        command = [executable, "-m", "rag_service", "serve", "--name", "handbook", "--port", str(self.port), "--indexes", str(self.root)]
        ours = {"RAG_CACHE_MIB": "0", "RAG_LOG_REQUESTS": "false", "RAG_DRAIN_S": str(DRAIN_S)}
        self.process = Popen(
            command, stdout=PIPE, stderr=PIPE, text=True, cwd=self.root.parent, env={**os.environ, **ours, **self.environ, **environ}
        )
        self.server = ServerProcess(self.process)

    def stop(self) -> None:
        """As whoever rolls out a change does: SIGTERM, and wait for the end."""
        assert self.end(signal.SIGTERM) == 0, self.server.said

    def end(self, number: int) -> int:
        code = self.server.end(number)
        _close(self.process)
        return code

    def restart(self, **environ: str) -> None:
        """And waits until the proxy has found it again."""
        self.stop()
        self.start(**environ)
        time.sleep(FOUND_AGAIN_S)

    def release(self) -> str:
        """What it serves."""
        found: str = got(self.port, "/info")["release"]["id"]
        return found

    def answered(self) -> float:
        """How many answers it has given since it started."""
        metrics = got(self.port, "/metrics")
        return sum(float(count) for count in re.findall(r"^rag_answers_total\{[^}]*\} (\S+)", metrics, re.MULTILINE))


def got(port: int, path: str) -> Any:
    """JSON, or text where it is none."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        body = connection.getresponse().read().decode()
    finally:
        connection.close()
    return json.loads(body) if body.startswith("{") else body


@dataclass(frozen=True)
class Fleet:
    """`port` is the proxy's."""

    port: int
    replicas: tuple[Replica, Replica]

    @contextmanager
    def under_load(self, editions: Editions, per_s: float) -> Iterator[Load]:
        load, stop = Load(self.port, editions.chunks, per_s), threading.Event()
        running = threading.Thread(target=load.run, args=(stop,))
        running.start()
        try:
            yield load
        finally:
            stop.set()
            running.join(timeout=60)
        assert not running.is_alive()
        load.errors.extend(line for one in self.replicas for line in one.server.said if "Traceback" in line or "unexpected error" in line)


@contextmanager
def fleet(kind: Kind, root: Path, folder: Path, **environ: str) -> Iterator[Fleet]:
    """Skips where the proxy is not installed."""
    program = shutil.which(kind)
    if program is None:
        pytest.skip(f"{kind} is not installed")
    ports = free_port(), free_port(), free_port()
    with ExitStack() as running:
        replicas = tuple(Replica(root, port, environ) for port in ports[1:])
        running.callback(lambda: [_end(replica.process) for replica in replicas])
        command = {"nginx": _nginx, "haproxy": _haproxy}[kind](program, folder, ports)
        proxy = running.enter_context(Popen(command, stdout=PIPE, stderr=STDOUT, text=True))
        running.callback(_end, proxy)
        _accepts(ports[0], proxy)
        yield Fleet(ports[0], (replicas[0], replicas[1]))


def _nginx(program: str, folder: Path, ports: tuple[int, int, int]) -> list[str]:
    text = _with_ports(PROJECT / "deploy" / "nginx" / "rag.conf", {"listen 8080": f"listen 127.0.0.1:{ports[0]}"}, ports)
    (folder / "rag.conf").write_text(text.replace("/var/log/nginx/rag.log", f"{folder}/access.log"))
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(_NGINX.format(folder=folder, user=user))
    return [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log"), "-g", "daemon off;"]


def _haproxy(program: str, folder: Path, ports: tuple[int, int, int]) -> list[str]:
    text = _with_ports(PROJECT / "deploy" / "haproxy" / "rag.cfg", {"127.0.0.1:8080": f"127.0.0.1:{ports[0]}"}, ports)
    (folder / "rag.cfg").write_text(text)
    return [program, "-db", "-f", str(folder / "rag.cfg")]


def _with_ports(path: Path, listen: Mapping[str, str], ports: tuple[int, int, int]) -> str:
    text = path.read_text("utf-8")
    for shown, used in {**listen, "127.0.0.1:8001": f"127.0.0.1:{ports[1]}", "127.0.0.1:8002": f"127.0.0.1:{ports[2]}"}.items():
        assert text.count(shown) == 1, shown
        text = text.replace(shown, used)
    return text


def _accepts(port: int, proxy: "Popen[str]") -> None:
    until_s = time.monotonic() + START_WITHIN_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            said = proxy.stdout.read() if proxy.poll() is not None and proxy.stdout else ""
            assert proxy.poll() is None, said
            assert time.monotonic() < until_s, "the proxy does not listen"
            time.sleep(0.05)
        else:
            return


def _end(process: "Popen[str]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGCONT)
        process.terminate()
    try:
        process.wait(timeout=20)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(timeout=20)
        _close(process)


def _close(process: "Popen[str]") -> None:
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
