"""HTTP over a Unix socket, where a whole call has one deadline and another thread can end it."""

import http.client
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


class UnixConnection(http.client.HTTPConnection):
    """`deadline_s` is a `time.monotonic()` instant; from then on whatever waits raises `TimeoutError`."""

    def __init__(self, path: Path, deadline_s: float | None) -> None:
        super().__init__("localhost")
        self._path = path
        self._deadline_s = deadline_s
        self._socket: _TimedSocket | None = None  # `sock` is forgotten while a last reply is still read from it
        self._hung_up = False

    def connect(self) -> None:
        self._socket = self.sock = _TimedSocket(self._deadline_s)
        self._socket.settimeout(_remaining(self._deadline_s))
        self._socket.connect(str(self._path))
        if self._hung_up:
            raise ConnectionAbortedError("hung up before it was connected")

    def hang_up(self) -> None:
        """From any thread: makes the call that waits on this connection fail at once, or as soon as it connects."""
        self._hung_up = True
        if self._socket is not None:
            with suppress(OSError):  # not connected yet, or closed already
                self._socket.shutdown(socket.SHUT_RDWR)


class _TimedSocket(socket.socket):
    """Each read is given what remains of the time for the whole call: parts that keep coming do not put the deadline off."""

    def __init__(self, deadline_s: float | None) -> None:
        super().__init__(socket.AF_UNIX)
        self._deadline_s = deadline_s

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        self.settimeout(_remaining(self._deadline_s))
        return super().recv_into(*args, **kwargs)


def _remaining(deadline_s: float | None) -> float | None:
    if deadline_s is None:
        return None
    remaining_s = deadline_s - time.monotonic()
    if remaining_s <= 0:
        raise TimeoutError("the deadline is past")
    return remaining_s
