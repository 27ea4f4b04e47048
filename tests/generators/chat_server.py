"""A small provider on a loopback port that speaks OpenAI's chat completions, whole or streamed, well or badly."""

import http.server
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

Usage = dict[str, int]
USAGE: Usage = {"prompt_tokens": 21, "completion_tokens": 5, "total_tokens": 26}


@dataclass
class Scene:
    """What the provider does with the next requests, and what it saw of them."""

    pieces: Iterable[str] = ("In France ", "[1].")
    finish_reason: str = "stop"
    status: int = 200
    first: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """Statuses and headers of the first replies, which say that it went wrong; each is taken off when it has been sent."""
    reply_headers: dict[str, str] = field(default_factory=dict)
    raw: Iterable[bytes] | None = None
    """Sent as it is, in place of a reply that is made of `pieces`."""
    before_piece: Callable[[int], object] = lambda _: None
    """Called with the number of each streamed piece before it is sent."""
    asked: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    """Of each request, names in lower case."""
    sent: int = 0
    """Pieces of streams that have gone out."""
    hung_up: threading.Event = field(default_factory=threading.Event)
    """Set when a client went away in the middle of a stream."""


class _Provider(http.server.ThreadingHTTPServer):
    daemon_threads = True
    scene: Scene


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Provider
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        scene = self.server.scene
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        scene.asked.append({"path": self.path, **body})
        scene.headers.append({name.lower(): value for name, value in self.headers.items()})
        streamed = bool(body.get("stream"))
        status, reply_headers = scene.first.pop(0) if scene.first else (scene.status, scene.reply_headers)
        if scene.raw is not None and status == 200:
            parts = scene.raw
        elif status != 200:
            parts = [json.dumps({"error": {"message": "it went wrong", "type": "server_error"}}).encode()]
        elif streamed:
            parts = _events(scene, with_usage=bool((body.get("stream_options") or {}).get("include_usage")))
        else:
            parts = [json.dumps(_completion(scene)).encode()]
        self.send_response(status)
        self.send_header("Content-Type", "text/event-stream" if streamed and status == 200 else "application/json")
        for name, value in reply_headers.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for part in parts:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
                scene.sent += 1
            self.wfile.write(b"0\r\n\r\n")
        except OSError:
            scene.hung_up.set()
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


def event(content: str, finish_reason: str | None = None) -> bytes:
    return delta({"role": "assistant", "content": content}, finish_reason)


def delta(said: dict[str, Any], finish_reason: str | None = None) -> bytes:
    """An event of a stream, whatever is said in it."""
    choice = {"index": 0, "delta": said, "finish_reason": finish_reason}
    return _data({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "tiny-2026", "choices": [choice]})


def _events(scene: Scene, *, with_usage: bool) -> Iterator[bytes]:
    for number, piece in enumerate(scene.pieces):
        scene.before_piece(number)
        yield event(piece)
    yield event("", scene.finish_reason)
    if with_usage:
        yield _data({"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "tiny-2026", "choices": [], "usage": USAGE})
    yield b"data: [DONE]\n\n"


def _data(value: object) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def _completion(scene: Scene) -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(scene.pieces)}
    choice = {"index": 0, "message": message, "finish_reason": scene.finish_reason}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "tiny-2026", "choices": [choice], "usage": USAGE}


def completion_of(message: dict[str, Any], finish_reason: str = "stop") -> bytes:
    """A whole reply, whatever its message is."""
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return json.dumps({"id": "c1", "object": "chat.completion", "created": 1, "model": "tiny-2026", "choices": [choice]}).encode()


@contextmanager
def providing(scene: Scene) -> Iterator[str]:
    """Yields the base URL."""
    with _Provider(("127.0.0.1", 0), _Handler) as provider:
        provider.scene = scene
        thread = threading.Thread(target=provider.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{provider.server_port}/v1"
        finally:
            provider.shutdown()
            thread.join()


def until(holds: Callable[[], bool], *, within_s: float = 10.0) -> bool:
    """Whether it came to hold in time."""
    give_up_s = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > give_up_s:
            return False
        time.sleep(0.01)
    return True
