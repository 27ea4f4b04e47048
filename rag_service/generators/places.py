"""How many runs may go on at once."""

import threading
import time
from collections import deque

from rag_service.cancellation import Cancellation


class Places:
    """Whoever waits for a place gets one in turn. Any thread may take one, and any other give it back."""

    def __init__(self, count: int) -> None:
        self._free = count
        self._line: deque[object] = deque()
        self._change = threading.Condition()

    def take(self, *, deadline_s: float | None, cancellation: Cancellation) -> bool:
        """False when `deadline_s` (a `time.monotonic()` instant) came first. Raises `Cancelled` as soon as it is."""
        me = object()
        with cancellation.hanging_up(self._wake), self._change:
            self._line.append(me)
            try:
                while not (self._free and self._line[0] is me):
                    cancellation.check()
                    remaining_s = None if deadline_s is None else deadline_s - time.monotonic()
                    if remaining_s is not None and remaining_s <= 0:
                        return False
                    self._change.wait(remaining_s)
                self._free -= 1
            finally:
                self._line.remove(me)
                self._change.notify_all()
        return True

    def give_back(self) -> None:
        with self._change:
            self._free += 1
            self._change.notify_all()

    def _wake(self) -> None:
        with self._change:
            self._change.notify_all()
