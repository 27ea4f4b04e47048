"""What one question has been through: its stages, each timed, digested and in a span of its own, under one deadline."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rag_service.cancellation import Cancellation
from rag_service.errors import DeadlineExceeded, RagError
from rag_service.record import Stage, StageName
from rag_service.telemetry.spans import stage_span


class Stages:
    """`deadline_s` is a `time.monotonic()` instant."""

    def __init__(self, deadline_s: float | None, cancellation: Cancellation | None) -> None:
        self._deadline_s = deadline_s
        self._cancellation = cancellation
        self._began_s = time.perf_counter()
        self._done: list[Stage] = []
        self._under_way_ms: float | None = None

    @property
    def done(self) -> tuple[Stage, ...]:
        return tuple(self._done)

    @property
    def under_way_ms(self) -> float | None:
        """When the stage began that has begun and is not done, if there is one."""
        return self._under_way_ms

    def timings_ms(self) -> dict[str, float]:
        return {**{stage.name: stage.duration_ms for stage in self._done}, "total": self.now_ms()}

    def now_ms(self) -> float:
        return self._offset_ms(time.perf_counter())

    @contextmanager
    def stage(self, name: StageName) -> Iterator[Callable[[str], None]]:
        """Refuses to begin late or for nobody, and names the stage in errors that pass through. What it yields takes the digest of
        the stage's output.
        """
        self.check(name)
        began_s = time.perf_counter()
        self._under_way_ms = self._offset_ms(began_s)
        digests: list[str] = []
        with stage_span(name), named(name):
            yield digests.append
        self.add(name, digests[-1], began_s=began_s, duration_s=time.perf_counter() - began_s)

    def add(self, name: StageName, digest: str, *, began_s: float, duration_s: float) -> None:
        """`began_s` is a `time.perf_counter()` instant."""
        self._under_way_ms = None
        self._done.append(Stage(name, digest, round(duration_s * 1000, 3), self._offset_ms(began_s)))

    def check(self, name: StageName) -> None:
        """Raises `DeadlineExceeded` or `Cancelled`."""
        with named(name):
            if self._cancellation is not None:
                self._cancellation.check()
            if self._deadline_s is not None and time.monotonic() >= self._deadline_s:
                raise DeadlineExceeded(f"the time for this request was over before stage {name!r}")

    def _offset_ms(self, moment_s: float) -> float:
        return round(max(moment_s - self._began_s, 0.0) * 1000, 3)


@contextmanager
def named(name: StageName) -> Iterator[None]:
    """Errors that pass through get the stage in which they happened. A generator says `generate` also where it condenses."""
    try:
        yield
    except RagError as error:
        error.stage = name
        raise
