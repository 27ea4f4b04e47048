"""One export over HTTP: bounded in time whatever the other side does, and tried again where that may help."""

import gzip
import random
import socket
import threading
import time
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from rag_service import __version__
from rag_service.telemetry.otlp_collector import Collector

_RETRYABLE = frozenset({429, 502, 503, 504})
"""OTLP 1.x, "Retryable Response Codes"."""
_REPLY_BYTES = 65_536
_BACKOFF_S = 1.0


class ExportFailed(Exception):
    """What the collector did, in words that hold neither headers nor spans."""

    def __init__(self, why: str, *, retryable: bool = False, retry_after_s: float | None = None) -> None:
        super().__init__(why)
        self.retryable = retryable
        self.retry_after_s = retry_after_s


class OtlpHttp:
    """Sends to one collector, in one thread; `abort` may be called from any."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        parts = urlsplit(collector.url)
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname or "", parts.port
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = {"content-type": "application/x-protobuf", "user-agent": f"rag-service/{__version__}"} | dict(collector.headers)
        if collector.compression == "gzip":
            self._headers["content-encoding"] = "gzip"
        self._ending = threading.Event()
        self._no_retries = threading.Event()
        self._socket: socket.socket | None = None

    def send(self, body: bytes) -> bytes:
        """What the collector replied. Raises `ExportFailed` when the collector's time is over, or when trying again would not help."""
        if self._collector.compression == "gzip":
            body = gzip.compress(body, compresslevel=1, mtime=0)
        until_s = time.monotonic() + self._collector.timeout_s
        backoff_s = _BACKOFF_S
        while True:
            try:
                return self._try(body, until_s)
            except ExportFailed as failed:
                wait_s = failed.retry_after_s if failed.retry_after_s is not None else backoff_s * random.uniform(0.8, 1.2)
                if not failed.retryable or time.monotonic() + wait_s >= until_s or self._no_retries.wait(wait_s):
                    raise
                backoff_s *= 2

    def stop_retrying(self) -> None:
        self._no_retries.set()

    def abort(self) -> None:
        """Ends what is being sent now, and all that would be."""
        self._no_retries.set()
        self._ending.set()
        self._hang_up()

    def _try(self, body: bytes, until_s: float) -> bytes:
        """A collector that sends a byte now and then keeps a socket from ever timing out: somebody hangs up on it."""
        left_s = max(until_s - time.monotonic(), 0.001)
        watchdog = threading.Timer(left_s, self._hang_up)
        watchdog.daemon = True
        connection = self._connection(left_s)
        try:
            connection.connect()
            self._socket = connection.sock
            if self._ending.is_set():
                raise ExportFailed("the service is ending")
            watchdog.start()
            connection.request("POST", self._path, body, self._headers)
            response = connection.getresponse()
            status, retry_after, content = response.status, response.headers.get("retry-after", ""), response.read(_REPLY_BYTES)
        except (OSError, HTTPException) as error:
            raise ExportFailed(_in_words(error), retryable=time.monotonic() < until_s) from error
        finally:
            watchdog.cancel()
            self._socket = None
            connection.close()
        if 200 <= status < 300:
            return content
        wait_s = float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
        raise ExportFailed(f"status {status}", retryable=status in _RETRYABLE, retry_after_s=wait_s)

    def _connection(self, timeout_s: float) -> HTTPConnection:
        """Opens nothing yet."""
        if self._secure:
            return HTTPSConnection(self._host, self._port, timeout=timeout_s, context=self._collector.tls)
        return HTTPConnection(self._host, self._port, timeout=timeout_s)

    def _hang_up(self) -> None:
        if (open_socket := self._socket) is not None:
            with suppress(OSError):
                socket.socket.shutdown(open_socket, socket.SHUT_RDWR)  # that of TLS would change what the other thread reads from


def _in_words(error: OSError | HTTPException) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return type(error).__name__
