"""Object storage through fsspec: `s3://`, `file://`, and `memory://` for tests.

Every wait is bounded. A request that brings nothing for `timeout_s`, or fails for a moment, is made again a few times; then it is an
error. What such an error says is written here: texts of providers may hold keys, addresses or signed links. fsspec and s3fs are imported
here alone, and only when a store is opened.
"""

import asyncio
import logging
import os
import random
import time
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from rag_service.errors import InvalidSettings, MissingDependency, NotFound, RemoteFailed
from rag_service.remotes.refusals import Trouble, told_by, trouble_of

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

logger = logging.getLogger("rag_service.remotes")

PIECE_BYTES = 5 * 2**20
"""What one request carries at most; S3 takes no smaller parts of an upload."""
_PARTS = 9_000
"""Of one upload, at most; S3 takes 10,000."""
_AT_ONCE = 2
"""Parts of an upload that are under way."""
_TRIES = 4
_FIRST_PAUSE_S = 0.5

_SCHEMES = ("s3", "file", "memory")
_T = TypeVar("_T")


class FsspecObjects:
    """An `ObjectStore`. Make one with `open`, which sends nothing yet."""

    def __init__(self, filesystem: "AbstractFileSystem", root: str, *, shown: str, timeout_s: float) -> None:
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        self.shown = shown
        self._timeout_s = timeout_s
        self._is_local = not hasattr(filesystem, "_put_file")

    @classmethod
    def open(cls, url: str, *, timeout_s: float) -> "FsspecObjects":
        """Raises `InvalidSettings` for what is no URL of a store, and `MissingDependency`."""
        scheme, root, shown = _parsed(url)
        try:
            filesystem = _opened(scheme, timeout_s)
        except ImportError as error:
            raise MissingDependency(
                f"object storage needs the package {error.name or 'fsspec'}", hint="install the extra: pip install 'rag-service[s3]'"
            ) from error
        return cls(filesystem, root, shown=shown, timeout_s=timeout_s)

    def size(self, key: str) -> int | None:
        """Bytes of an object; None where there is none."""

        def ask() -> int:
            found = self._call("info", self._path(key), **self._uncached())
            if found.get("type") != "file":
                raise FileNotFoundError(key)
            return int(found["size"])

        try:
            return self._tried(key, ask)
        except NotFound as error:
            if error.param:
                raise  # there is not even a bucket
            return None

    def read(self, key: str, start: int, most_bytes: int) -> bytes:
        """At most so many bytes of an object from `start` on; empty beyond its end. Raises `NotFound`."""

        def ask() -> bytes:
            try:
                return bytes(self._call("cat_file", self._path(key), start=start, end=start + most_bytes))
            except OSError as error:
                trouble = trouble_of(error)
                if trouble is not None and trouble.code == "beyond":
                    return b""
                raise

        return self._tried(key, ask)[:most_bytes]

    def write(self, key: str, data: bytes) -> None:
        """Readers see all of it or nothing."""
        if self._is_local:
            self._tried(key, lambda: self._put_locally(key, lambda file: file.write(data)))
        else:
            self._tried(key, lambda: self._call("pipe_file", self._path(key), data))

    def upload(self, path: Path, key: str, advance: Callable[[int], None]) -> None:
        """Readers see all of it or nothing. `advance` is told how many bytes have been sent, and a negative number where they are sent
        once more.
        """
        sent = _Sent(advance)
        try:
            if self._is_local:
                self._tried(key, lambda: self._put_locally(key, lambda file: _copied(path, file, sent)), before=sent.anew)
            else:
                chunk = max(PIECE_BYTES, -(-path.stat().st_size // _PARTS))
                options = {"callback": sent.callback(), "chunksize": chunk, "max_concurrency": _AT_ONCE}
                self._tried(
                    key, lambda: self._call("put_file", str(path), self._path(key), beat=lambda: sent.bytes, **options), before=sent.anew
                )
        except BaseException:
            sent.anew()
            raise

    def names(self, folder: str) -> list[str]:
        """Names of what lies directly in a folder, sorted; empty where there is no such folder."""
        try:
            found = self._tried(folder, lambda: self._call("ls", self._path(folder), detail=False, **self._uncached()))
        except NotFound as error:
            if error.param:
                raise
            return []
        return sorted({str(name).rstrip("/").rpartition("/")[2] for name in found})

    def _uncached(self) -> dict[str, Any]:
        return {} if self._is_local else {"refresh": True}

    def _path(self, key: str) -> str:
        return f"{self._root}/{key}"

    def _call(self, name: str, *arguments: Any, beat: Callable[[], int] = lambda: 0, **options: Any) -> Any:
        """One operation of the file system, given up where `beat` has not moved for `timeout_s`."""
        if self._is_local:
            return getattr(self._filesystem, name)(*arguments, **options)
        from fsspec.asyn import sync

        return sync(self._filesystem.loop, _watched, getattr(self._filesystem, f"_{name}")(*arguments, **options), beat, self._timeout_s)

    def _put_locally(self, key: str, fill: Callable[[Any], object]) -> None:
        """Neither of the file systems without a network writes a file whole or not at all by itself."""
        path = self._path(key)
        temporary = f"{path}.{uuid.uuid4().hex[:8]}.writing"
        self._filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
        try:
            with self._filesystem.open(temporary, "wb") as file:
                fill(file)
                file.flush()
                with suppress(AttributeError, OSError):  # memory has no file to force to a disk
                    os.fsync(file.fileno())
            self._filesystem.mv(temporary, path)
        except BaseException:
            with suppress(OSError):
                self._filesystem.rm_file(temporary)
            raise

    def _tried(self, key: str, attempt: Callable[[], _T], *, before: Callable[[], None] = lambda: None) -> _T:
        """What `attempt` gives; again where it fails for a moment. Raises `NotFound` or `RemoteFailed`."""
        for number in range(1, _TRIES + 1):
            before()
            try:
                return attempt()
            except Exception as error:
                trouble = trouble_of(error)
                if trouble is None:
                    raise
                if not trouble.passing or number == _TRIES:
                    raise self._failure(key, trouble) from None  # nor may a traceback hold what a provider said
                logger.debug("object storage: %s, try %d of %d", trouble.code, number, _TRIES)
            time.sleep(_FIRST_PAUSE_S * 2 ** (number - 1) * random.uniform(0.5, 1.5))
        raise AssertionError

    def _failure(self, key: str, trouble: Trouble) -> NotFound | RemoteFailed:
        if trouble.code == "absent":
            return NotFound(f"{self.shown} holds no {key}", hint="check the URL and the name")
        message, hint = told_by(trouble, self.shown, timeout_s=self._timeout_s, tries=_TRIES)
        return NotFound(message, hint=hint, param="url") if trouble.code == "no_bucket" else RemoteFailed(message, hint=hint, param="url")


class _Sent:
    """How many bytes of an upload have been sent, told as they are."""

    def __init__(self, advance: Callable[[int], None]) -> None:
        self._advance = advance
        self.bytes = 0

    def add(self, amount: int) -> None:
        self.bytes += amount
        self._advance(amount)

    def anew(self) -> None:
        if self.bytes:
            self._advance(-self.bytes)
        self.bytes = 0

    def callback(self) -> Any:
        from fsspec.callbacks import Callback

        sent = self

        class Telling(Callback):  # type: ignore[misc]  # fsspec publishes no types
            def relative_update(self, inc: int = 1) -> None:
                sent.add(inc)

        return Telling()


def _copied(path: Path, to: Any, sent: _Sent) -> None:
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            to.write(piece)
            sent.add(len(piece))


async def _watched(call: Coroutine[Any, Any, _T], beat: Callable[[], int], timeout_s: float) -> _T:
    """What `call` gives. Raises `TimeoutError`, and ends it, once `beat` has not moved for so long."""
    task = asyncio.ensure_future(call)
    while True:
        seen = beat()
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
        if done:
            return task.result()
        if beat() == seen:
            task.cancel()
            await asyncio.wait({task}, timeout=1.0)
            raise TimeoutError


def _parsed(url: str) -> tuple[str, str, str]:
    """Scheme, root path, and the URL as messages show it."""
    parts = urlsplit(url)
    if "@" in url or parts.query or parts.fragment:
        raise InvalidSettings(
            "a URL of object storage holds neither credentials nor options",
            hint="write s3://BUCKET/PREFIX; keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or the machine's role",
            param="url",
        )
    path = parts.netloc + parts.path
    known = parts.scheme in _SCHEMES and "::" not in url and path.strip("/")
    if not known or ".." in path.split("/") or (parts.scheme == "file" and (parts.netloc or not parts.path.startswith("/"))):
        raise InvalidSettings(
            f"{url!r} is no URL of object storage", hint="write s3://BUCKET/PREFIX, or file:///FOLDER for a shared disk", param="url"
        )
    return parts.scheme, path, f"{parts.scheme}://{path.rstrip('/')}"


def _opened(scheme: str, timeout_s: float) -> "AbstractFileSystem":
    import fsspec

    if scheme != "s3":
        return fsspec.filesystem(scheme)
    import s3fs

    # One try a request: tries are counted in `_tried`, where they are bounded together.
    config = {"connect_timeout": timeout_s, "read_timeout": timeout_s, "retries": {"total_max_attempts": 1}}
    filesystem = s3fs.S3FileSystem(use_listings_cache=False, skip_instance_cache=True, config_kwargs=config)
    filesystem.retries = 1
    return filesystem
