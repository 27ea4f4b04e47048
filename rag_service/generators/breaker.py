"""A generator that is left alone for a while after it failed again and again.

While a provider is down, each question would otherwise wait for its own timeout, and the questions behind it for a free place.
"""

import threading
import time
from collections.abc import Callable
from typing import Literal

from rag_service.cancellation import Cancellation
from rag_service.errors import DeadlineExceeded, GeneratorFailed, GeneratorPaused
from rag_service.generators.refused import PromptRefused
from rag_service.generators.wrapped import Wrapped
from rag_service.ports import Generator
from rag_service.types import NO_SAMPLING, Completion, Prompt, Sampling

_Verdict = Literal["works", "fails", "unknown"]
_TRIAL_RETRY_AFTER_S = 1.0
"""What is said to those who come while the trial runs: nobody knows how long it takes."""


class Breaker(Wrapped):
    """Port `Generator`: another one, and not a byte of its answers is changed. Any thread may call it.

    After `failures` failed calls in a row it refuses calls for `pause_s` seconds. Then one call is let through on trial, and its
    outcome decides. A call fails with `GeneratorFailed`, or with `DeadlineExceeded` when the generator itself had at least `least_s`
    seconds. A prompt that was refused counts as an answer. What was cancelled, and what `write` raised, says nothing.
    """

    def __init__(
        self,
        generator: Generator,
        *,
        failures: int = 5,
        pause_s: float = 30.0,
        least_s: float = 1.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`now` gives seconds on the clock that deadlines are on."""
        super().__init__(generator)
        self._failures = failures
        self._pause_s = pause_s
        self._least_s = least_s
        self._now = now
        self._change = threading.Lock()
        self._failed = 0
        self._paused_until_s: float | None = None
        self._trial_runs = False

    def generate(
        self,
        prompt: Prompt,
        *,
        sampling: Sampling = NO_SAMPLING,
        deadline_s: float | None = None,
        cancellation: Cancellation | None = None,
        write: Callable[[str], None] | None = None,
    ) -> Completion:
        """Raises `GeneratorPaused` at once, with `retry_after_s`, instead of asking the generator."""
        if cancellation is not None:
            cancellation.check()
        trial = self._admit()
        verdict: _Verdict = "unknown"
        reader = None if write is None else _Reader(write, self._now)
        began_s = self._now()
        try:
            completion = self._inner.generate(prompt, sampling=sampling, deadline_s=deadline_s, cancellation=cancellation, write=reader)
            verdict = "works"
            return completion
        except (GeneratorFailed, DeadlineExceeded) as error:
            own_s = float("inf") if deadline_s is None else deadline_s - began_s - (reader.took_s if reader else 0.0)
            verdict = self._judge(error, own_s, reader)
            raise
        finally:
            self._settle(verdict, trial=trial)

    def _judge(self, error: GeneratorFailed | DeadlineExceeded, own_s: float, reader: "_Reader | None") -> _Verdict:
        if reader is not None and reader.raised is error:
            return "unknown"
        if isinstance(error, PromptRefused):
            return "works"
        if isinstance(error, DeadlineExceeded) and own_s < self._least_s:
            return "unknown"
        return "fails"

    def _admit(self) -> bool:
        """Whether this call is the trial. Raises `GeneratorPaused`."""
        with self._change:
            if self._paused_until_s is None:
                return False
            remaining_s = self._paused_until_s - self._now()
            if remaining_s <= 0 and not self._trial_runs:
                self._trial_runs = True
                return True
            raise GeneratorPaused(
                f"{self.name} failed {self._failed} times in a row and is left alone for a while",
                hint="ask again later; the log tells what failed",
                stage="generate",
                retry_after_s=remaining_s if remaining_s > 0 else _TRIAL_RETRY_AFTER_S,
            )

    def _settle(self, verdict: _Verdict, *, trial: bool) -> None:
        with self._change:
            if trial:
                self._trial_runs = False
            elif self._paused_until_s is not None:
                return  # began before the pause: only the trial decides now
            if verdict == "works":
                self._failed, self._paused_until_s = 0, None
            elif verdict == "fails":
                self._failed += 1
                if trial or self._failed >= self._failures:
                    self._paused_until_s = self._now() + self._pause_s


class _Reader:
    """`write`, and what became of it: the time it took is not the generator's, and neither is what it raised."""

    def __init__(self, write: Callable[[str], None], now: Callable[[], float]) -> None:
        self._write = write
        self._now = now
        self.took_s = 0.0
        self.raised: BaseException | None = None

    def __call__(self, piece: str) -> None:
        began_s = self._now()
        try:
            self._write(piece)
        except BaseException as error:
            self.raised = error
            raise
        finally:
            self.took_s += self._now() - began_s
