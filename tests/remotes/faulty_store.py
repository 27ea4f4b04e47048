"""S3 on the loopback interface: moto's server, and a proxy before it that breaks connections as it is told."""

import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

KEY_ID = "AKIACANARYCANARY0001"
SECRET = "canary/Secret+that/nothing+may/ever+repeat"


@dataclass
class Faults:
    """What befalls the connections from now on. `of` says which requests count: a part of their first line."""

    of: str = ""
    fails: int = 0
    """So many requests are answered with 503."""
    flips: int = 0
    """In so many replies the last byte is another."""
    cuts: int = 0
    """So many replies end in the middle."""
    bytes_first: int | None = None
    """Of replies, so many get through in all, and then nothing: neither bytes nor an end."""
    refuses: bool = False
    """Connections are closed at once."""
    before: Callable[[str], None] = lambda _: None
    """Called with the first line of each request."""


@dataclass
class Proxy:
    """`faults` may be replaced at any time; `lines` are the first lines of all requests so far."""

    upstream: int
    port: int = 0
    faults: Faults = field(default_factory=Faults)
    lines: list[str] = field(default_factory=list)
    replied_bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def requests(self, method: str, part: str = "") -> int:
        return sum(line.startswith(f"{method} ") and part in line for line in self.lines)

    def accept(self, listener: socket.socket) -> None:
        while not self._over.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def end(self) -> None:
        self._over.set()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            client.settimeout(60)
            head = client.recv(65536)
            line = head.partition(b"\r\n")[0].decode("latin-1")
            faults = self.faults
            if faults.refuses or not line:
                return
            with self._lock:
                self.lines.append(line)
                counts = faults.of in line
                failing, flipping, cutting = (counts and left > 0 for left in (faults.fails, faults.flips, faults.cuts))
                faults.fails -= failing
                faults.flips -= flipping and not failing
                faults.cuts -= cutting and not failing
            faults.before(line)
            if failing:
                client.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with socket.create_connection(("127.0.0.1", self.upstream), timeout=60) as server:
                server.sendall(head)
                threading.Thread(target=_pump, args=(client, server), daemon=True).start()
                self._reply(server, client, flipping=flipping, cutting=cutting)
                client.shutdown(socket.SHUT_RDWR)  # closing alone says nothing while the other thread reads

    def _reply(self, server: socket.socket, client: socket.socket, *, flipping: bool, cutting: bool) -> None:
        """One reply: moto's server closes the connection behind it."""
        whole = b""
        while piece := server.recv(65536):
            if flipping or cutting:
                whole += piece
            else:
                self._send(client, piece)
        if cutting:
            body = whole.index(b"\r\n\r\n") + 4
            self._send(client, whole[: body + (len(whole) - body) // 2])
        elif flipping:
            self._send(client, whole[:-1] + bytes([whole[-1] ^ 1]))

    def _send(self, client: socket.socket, data: bytes) -> None:
        left = self.faults.bytes_first
        if left is not None:
            data, self.faults.bytes_first = data[:left], max(left - len(data), 0)
        client.sendall(data)
        self.replied_bytes += len(data)
        if left is not None and self.faults.bytes_first == 0:
            self._over.wait(60)
            raise OSError


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)


@contextmanager
def s3_server(folder: Path, **environ: str) -> Iterator[int]:
    """moto's server in a process of its own; its port."""
    log = folder / "moto.log"
    with log.open("wb") as file:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env={**os.environ, **environ})
    try:
        for _ in range(600):
            if found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text("utf-8", "replace")):
                yield int(found[1])
                return
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
        raise AssertionError(log.read_text("utf-8", "replace"))
    finally:
        process.kill()
        process.wait(timeout=30)


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        proxy = Proxy(port, listener.getsockname()[1])
        threading.Thread(target=proxy.accept, args=(listener,), daemon=True).start()
        yield proxy
        proxy.end()


_SIGNED = {"Authorization": "AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"}
"""moto's server asks who it is for objects, and believes it."""


def put(port: int, path: str, data: bytes = b"") -> None:
    """An object, or with a path of one part a bucket, past all checks."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/{path}", data=data, method="PUT", headers={**_SIGNED, "Content-Type": "application/octet-stream"}
    )
    with urllib.request.urlopen(request, timeout=30):
        pass


def get(port: int, path: str) -> bytes:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/{path}", headers=_SIGNED)
    with urllib.request.urlopen(request, timeout=30) as reply:
        data: bytes = reply.read()
    return data


def environment(endpoint: str) -> dict[str, str]:
    """What a process needs to find the store, and nothing else of this machine."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_CONFIG_FILE": "/nonexistent",
        "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }
