"""How somebody who no longer waits for an answer says so, from another thread, to whoever makes it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rag_service.errors import Cancelled


class Cancellation:
    """Safe to use from several threads. Once cancelled, it stays so."""

    def __init__(self) -> None:
        self._change = threading.Lock()
        self._cancelled = False
        self._hang_ups: list[Callable[[], None]] = []

    @property
    def cancelled(self) -> bool:
        return self._cancelled

    def cancel(self) -> None:
        """Calls, in this thread, what was left with `hanging_up`. A second time it does nothing."""
        with self._change:
            if self._cancelled:
                return
            self._cancelled = True
            hang_ups = list(self._hang_ups)
        for hang_up in hang_ups:
            hang_up()

    def check(self) -> None:
        """Raises `Cancelled` when it is."""
        if self._cancelled:
            raise Cancelled("nobody waits for this answer any more")

    @contextmanager
    def hanging_up(self, hang_up: Callable[[], None]) -> Iterator[None]:
        """While inside, `cancel` calls `hang_up`, at once if it has been called already. `hang_up` must be quick and not raise."""
        with self._change:
            self._hang_ups.append(hang_up)
            already = self._cancelled
        if already:
            hang_up()
        try:
            yield
        finally:
            with self._change:
                self._hang_ups.remove(hang_up)
