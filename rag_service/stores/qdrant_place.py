"""Where Qdrant is: a server or cluster behind a URL, or a folder of the client's local mode. Its collections, and its errors in our words.

Only this module imports the client. Vectors are compared by their dot product: the collections of Qdrant that compare by cosine change the
last bits of what they are given.
"""

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote, urlsplit

import httpx
from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from rag_service.errors import Damaged, StorageFailed
from rag_service.types import Matrix, Vector

_CONNECT_S = 3.0
_READ_S = 10
"""The longest that sending, or waiting for more of a reply takes. The client rounds up to whole seconds."""
_WRITE_S = 60
_REPLY_S = 20.0
"""The longest that the rest of a reply that has begun may take."""
_LEFT_ALONE_S = 1.0
"""After it could not be reached, for this long nobody waits for another try."""
_SAID_CHARS = 200

_BY_STATUS = {
    401: "check RAG_QDRANT_API_KEY",
    403: "check RAG_QDRANT_API_KEY: it must be allowed to read, and for a build to write",
    429: "it is asked too often; it is tried again with the next request",
}
_AWAY = "is Qdrant running, and can it be reached from here? It is tried again with the next request"
_IN_USE = "one process at a time uses a folder of the local mode; end the other, or run a server of Qdrant"

_OF_LOCAL_MODE = (ValueError, RuntimeError, OSError, EOFError, sqlite3.Error)

_T = TypeVar("_T")


class Absent(Damaged):
    """There is no such collection."""


class QdrantPlace:
    """Opens nothing until something is asked. Safe for several threads; a process that was forked opens its own connections."""

    def __init__(self, url: str, api_key: str | None = None) -> None:
        """`url` is http(s)://host:port, or file:///folder."""
        self._url = url.rstrip("/")
        self._api_key = api_key
        self._folder = Path(unquote(urlsplit(url).path)) if url.startswith("file:") else None
        self._opening = threading.Lock()
        self._client: QdrantClient | None = None
        self._pid = 0
        self._away: tuple[float, str] | None = None
        self._alone = threading.RLock() if self.is_local else nullcontext()  # the local mode is made for one thread

    @property
    def is_local(self) -> bool:
        return self._folder is not None

    @property
    def shown(self) -> str:
        return self._url

    def collection(self, name: str) -> "QdrantCollection":
        return QdrantCollection(self, name)

    def check(self) -> None:
        """Raises `StorageFailed` where it is away, or does not take the key."""
        self.ask("open", lambda client: client.get_collections())

    def ask(self, doing: str, question: Callable[[QdrantClient], _T]) -> _T:
        """Raises `StorageFailed`, or `Absent`."""
        if self._away is not None and time.monotonic() < self._away[0]:
            raise StorageFailed(f"could not {doing} {self.shown}: {self._away[1]}", hint=_AWAY)
        try:
            with self._alone:
                return question(self._opened())
        except (ApiException, QdrantException) as error:
            raise self._of_server(error, doing) from error
        except _OF_LOCAL_MODE as error:
            if not self.is_local:  # where these are mistakes of ours
                raise
            raise self._of_folder(error, doing) from error

    def close(self) -> None:
        with self._opening:
            client, self._client = self._client, None
        if client is not None and self._pid == os.getpid():
            client.close()

    def _opened(self) -> QdrantClient:
        with self._opening:
            if self._client is None or self._pid != os.getpid():  # connections of a parent are none of ours
                self._client, self._pid = self._new_client(), os.getpid()
            return self._client

    def _new_client(self) -> QdrantClient:
        if self._folder is not None:
            return QdrantClient(path=str(self._folder), force_disable_check_same_thread=True)
        parts = urlsplit(self._url)
        return QdrantClient(
            url=self._url,
            port=parts.port or (443 if parts.scheme == "https" else 6333),
            timeout=_READ_S,
            # Its `api_key` would warn with every start of a key that goes without TLS; docs/qdrant.md does so once.
            headers={"api-key": self._api_key} if self._api_key else {},
            check_compatibility=False,
            transport=_BoundedTransport(),
        )

    def _of_server(self, error: Exception, doing: str) -> StorageFailed | Absent:
        """Holds neither the key nor what was sent."""
        failed = f"could not {doing} {self.shown}"
        if isinstance(error, UnexpectedResponse):
            status = error.status_code or 0
            said = self._without_key(_said_by(error))
            if status == 404 and "ollection" in said:
                return Absent(f"{failed}: {said}", hint="build the index again from its documents, which makes it anew")
            return StorageFailed(f"{failed}: it answered {status} {said}".rstrip(), hint=_BY_STATUS.get(status, _AWAY))
        if isinstance(error, ResourceExhaustedResponse):
            return StorageFailed(f"{failed}: it answered 429", hint=_BY_STATUS[429], retry_after_s=float(error.retry_after_s))
        source = error.source if isinstance(error, ResponseHandlingException) else error
        happened = self._without_key(_happened(source))
        if isinstance(source, (httpx.ConnectError, httpx.ConnectTimeout)):
            self._away = (time.monotonic() + _LEFT_ALONE_S, happened)
        return StorageFailed(f"{failed}: {happened}", hint=_AWAY)

    def _of_folder(self, error: Exception, doing: str) -> StorageFailed | Absent:
        failed = f"could not {doing} {self.shown}"
        if isinstance(error, ValueError) and str(error).endswith("not found"):
            return Absent(f"{failed}: {error}", hint="build the index again from its documents, which makes it anew")
        if isinstance(error, RuntimeError) and "already accessed" in str(error):
            return StorageFailed(f"{failed}: another process uses it", hint=_IN_USE)
        return StorageFailed(f"{failed}: {error}"[:_SAID_CHARS], hint="check that the folder is there and can be read and written")

    def _without_key(self, text: str) -> str:
        return text.replace(self._api_key, "…") if self._api_key else text


class _BoundedTransport(httpx.HTTPTransport):
    """Bounds what the client's one time limit does not: the wait for a connection is shorter, and a reply that trickles in ends."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions["timeout"] = {**request.extensions.get("timeout", {}), "connect": _CONNECT_S}
        response = super().handle_request(request)
        if isinstance(response.stream, httpx.SyncByteStream):
            response.stream = _BoundedReply(response.stream, time.monotonic() + _REPLY_S)
        return response


class _BoundedReply(httpx.SyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream, due_s: float) -> None:
        self._stream = stream
        self._due_s = due_s

    def __iter__(self) -> Iterator[bytes]:
        for part in self._stream:
            if time.monotonic() > self._due_s:
                raise httpx.ReadTimeout("the reply takes too long")
            yield part

    def close(self) -> None:
        self._stream.close()


def _said_by(error: UnexpectedResponse) -> str:
    """What Qdrant says in its form, and nothing of what something else on the way says."""
    with suppress(ValueError, KeyError, TypeError):
        return " ".join(str(error.structured()["status"]["error"]).split())[:_SAID_CHARS]
    return error.reason_phrase


def _happened(source: Exception) -> str:
    if isinstance(source, httpx.TimeoutException):
        return f"no answer in time ({type(source).__name__})"
    if isinstance(source, httpx.HTTPError):
        return " ".join(str(source).split()) or type(source).__name__
    return "it answered what no server of Qdrant answers"


class QdrantCollection:
    """Rows of vectors, which are points whose ids are their numbers."""

    def __init__(self, place: QdrantPlace, name: str) -> None:
        self.place = place
        self.name = name

    @property
    def shown(self) -> str:
        return f"collection {self.name} of {self.place.shown}"

    def exists(self) -> bool:
        return self.place.ask("look into", lambda client: client.collection_exists(self.name))

    def create(self, dimension: int, *, links: int, ef_construction: int) -> None:
        """No `links` means no graph, and every search compares all rows. Somebody else may have made it meanwhile."""
        # Written out, since the defaults of a server may be others.
        vectors = models.VectorParams(size=dimension, distance=models.Distance.DOT, datatype=models.Datatype.FLOAT32)
        graph = models.HnswConfigDiff(m=links, ef_construct=ef_construction)
        try:
            self.place.ask(
                "make a collection in",
                lambda client: client.create_collection(self.name, vectors_config=vectors, hnsw_config=graph, timeout=_WRITE_S),
            )
        except StorageFailed:
            if not self.exists():
                raise

    def require_dimension(self, dimension: int) -> None:
        """Raises `Damaged` where it does not compare vectors of so many numbers by their dot product, and `Absent`."""
        vectors = self.place.ask("look into", lambda client: client.get_collection(self.name)).config.params.vectors
        if isinstance(vectors, models.VectorParams) and (vectors.size, vectors.distance) == (dimension, models.Distance.DOT):
            return
        raise Damaged(f"{self.shown} was made for something else", hint="delete that collection, and build the index again")

    def count(self) -> int:
        return self.place.ask("count what is in", lambda client: client.count(self.name, exact=True)).count

    def put(self, first: int, rows: Matrix) -> None:
        """`rows` under the numbers from `first` on. They are there when it returns, on as many replicas as the cluster asks for."""
        points = models.Batch(ids=list(range(first, first + len(rows))), vectors=rows.tolist())
        self.place.ask("write to", lambda client: client.upsert(self.name, points, wait=True, timeout=_WRITE_S))

    def rows(self, numbers: Sequence[int]) -> dict[int, list[float]]:
        """Those that are there, by number."""
        found = self.place.ask(
            "read from",
            lambda client: client.retrieve(self.name, ids=list(numbers), with_payload=False, with_vectors=True),
        )
        return {int(record.id): record.vector for record in found if isinstance(record.vector, list)}  # type: ignore[misc]

    def nearest(
        self, query: Vector, limit: int, *, among: Sequence[int] | None, without: Sequence[int] | None, candidates: int | None
    ) -> list[tuple[int, float]]:
        """Numbers and dot products, best first: of the rows `among`, of all but those `without`, or of all. Through the graph with so many
        `candidates`; None compares every row.
        """
        conditions = models.Filter(
            must=[models.HasIdCondition(has_id=list(among))] if among is not None else None,
            must_not=[models.HasIdCondition(has_id=list(without))] if without is not None else None,
        )
        if candidates is None:  # with every number of the vectors, also where a cluster keeps shorter ones beside
            parameters = models.SearchParams(exact=True, quantization=models.QuantizationSearchParams(ignore=True))
        else:
            parameters = models.SearchParams(hnsw_ef=candidates)
        found = self.place.ask(
            "search",
            lambda client: client.query_points(
                self.name,
                query=query.tolist(),
                query_filter=None if among is None and without is None else conditions,
                search_params=None if self.place.is_local else parameters,  # the local mode compares every row, and warns of them
                limit=limit,
                with_payload=False,
            ),
        )
        return [(int(point.id), point.score) for point in found.points]
