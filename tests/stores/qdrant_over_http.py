"""What Qdrant's client says over HTTP, answered by its own local mode, with the faults that a server or what is before it can have.

It shows that requests and replies survive the way there and back: paths, the key, every bit of a vector, sizes, times. Whether a server of
Qdrant answers them like that it cannot show.
"""

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from qdrant_client import QdrantClient, models

KEY = "sesame-0815"
MOST_BYTES = 32 * 2**20
"""What a server takes as one request, unless it is told otherwise (`service.max_request_size_mb` of its configuration)."""
_POINTS = re.compile(r"/collections/([^/]+)/points(/query|/count)?")
_COLLECTION = re.compile(r"/collections/([^/]+)(/exists)?")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body of a reply go out one by one
    server: "QdrantOverHttp"

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def _answer(self) -> None:
        size = int(self.headers.get("content-length") or 0)
        assert size <= MOST_BYTES
        body = json.loads(self.rfile.read(size) or b"null")
        self.server.asked.append((self.command, urlsplit(self.path).path, body))
        if self.server.hangs.is_set():
            self.server.released.wait(30)
            self.close_connection = True
        elif self.server.status != 200:
            self.server.refused += 1
            self._reply(self.server.status, b"upstream connect error", "text/plain")
        elif self.headers.get("api-key") != KEY:
            self._reply(401, b"Invalid API key or JWT", "text/plain")
        else:
            self._found(body)

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def _found(self, body: Any) -> None:
        with self.server.alone:
            try:
                result = self.server.result(self.command, urlsplit(self.path).path, body)
            except ValueError as error:
                missing = str(error).endswith("not found")
                said = "Not found: Collection `x` doesn't exist!" if missing else f"Bad request: {error}"
                self._reply(404 if missing else 400, json.dumps({"status": {"error": said}, "time": 0.0}).encode())
                return
        self._reply(200, json.dumps({"result": result, "status": "ok", "time": 0.0}).encode())

    def _reply(self, status: int, data: bytes, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


class QdrantOverHttp(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.local = QdrantClient(":memory:")
        self.alone = threading.Lock()
        self.asked: list[tuple[str, str, Any]] = []
        self.status = 200
        self.refused = 0
        self.hangs = threading.Event()
        self.released = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def result(self, method: str, path: str, body: Any) -> Any:
        if path == "/collections":
            return {"collections": [{"name": found.name} for found in self.local.get_collections().collections]}
        if match := _COLLECTION.fullmatch(path):
            return self._of_collection(method, match[1], body, exists=bool(match[2]))
        match = _POINTS.fullmatch(path)
        assert match is not None, path
        return self._of_points(method, match[1], match[2], body)

    def _of_collection(self, method: str, name: str, body: Any, *, exists: bool) -> Any:
        if exists:
            return {"exists": self.local.collection_exists(name)}
        if method == "PUT":
            wanted = models.CreateCollection.model_validate(body)
            return self.local.create_collection(name, vectors_config=wanted.vectors, hnsw_config=wanted.hnsw_config)
        return self.local.get_collection(name).model_dump(mode="json")

    def _of_points(self, method: str, name: str, what: str | None, body: Any) -> Any:
        if method == "PUT":
            self.local.upsert(name, models.PointsBatch.model_validate(body).batch)
            return {"operation_id": 1, "status": "completed"}
        if what == "/count":
            return {"count": self.local.count(name).count}
        if what == "/query":
            within = models.Filter.model_validate(body["filter"]) if body.get("filter") else None
            found = self.local.query_points(
                name, query=body["query"]["nearest"], query_filter=within, limit=body["limit"], with_payload=False
            )
            return {"points": [{"id": point.id, "version": 0, "score": _single(point.score)} for point in found.points]}
        records = self.local.retrieve(name, ids=body["ids"], with_payload=False, with_vectors=True)
        return [{"id": record.id, "vector": [_single(number) for number in record.vector]} for record in records]


def _single(number: float) -> float:
    """With as few digits as tell a float32 from its neighbours, as programs in Rust write it."""
    return float(str(np.float32(number)))


@contextmanager
def qdrant_over_http(port: int = 0) -> Iterator[QdrantOverHttp]:
    with QdrantOverHttp(port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()
            server.local.close()
