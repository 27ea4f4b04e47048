"""Work on a connection that takes too long for the server to end it: one that hangs, or that waits for a standby to confirm a commit,
which no timeout of the server's own ends. First the server is asked to give up; if that does not help, the connection is cut.
"""

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

_LOOK_EVERY_S = 0.25
_CUT_AFTER_S = 3.0
"""When the server was asked to give up, and has not."""


@dataclass(slots=True)
class _Watched:
    due_s: float
    give_up: Callable[[], None]
    descriptor: int
    asked: socket.socket | None = None
    """A second handle of the connection, from when the server was asked to give up: the first may be closed and its number be taken."""


class Overdue:
    """Watches any number of connections, with a thread that ends when nothing is watched for a while. Safe for several threads."""

    def __init__(self) -> None:
        self._watched: dict[object, _Watched] = {}
        self._changing = threading.Lock()
        self._pid = 0

    @contextmanager
    def watching(self, seconds: float, descriptor: int, give_up: Callable[[], None]) -> Iterator[None]:
        """For as long as the block runs. `give_up` is called in another thread; what was cut raises what a lost connection raises."""
        key = object()
        with self._changing:
            self._watched[key] = _Watched(time.monotonic() + seconds, give_up, descriptor)
            if self._pid != os.getpid():  # a process that was forked has no threads
                self._pid = os.getpid()
                threading.Thread(target=self._watch, name="overdue", daemon=True).start()
        try:
            yield
        finally:
            with self._changing:
                asked = self._watched.pop(key).asked
                if asked is not None:
                    asked.close()

    def _watch(self) -> None:
        while True:
            time.sleep(_LOOK_EVERY_S)
            now_s = time.monotonic()
            with self._changing:
                if not self._watched:
                    self._pid = 0
                    return
                late = [one for one in self._watched.values() if one.due_s <= now_s and one.asked is None]
                for one in self._watched.values():
                    if one.asked is not None and one.due_s + _CUT_AFTER_S <= now_s:
                        with suppress(OSError):
                            one.asked.shutdown(socket.SHUT_RDWR)
                for one in late:
                    with suppress(OSError):
                        one.asked = socket.socket(fileno=os.dup(one.descriptor))
            for one in late:
                threading.Thread(target=one.give_up, name="give-up", daemon=True).start()  # it may hang as well
