"""A generator that is asked again when it failed for a moment.

Waits between tries by "full jitter", so that many callers do not come back at the same moment: a random time between 0 and a bound that
doubles (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015), and at least as long as the provider asked for.
"""

import random
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from rag_service.cancellation import Cancellation
from rag_service.digests import digest_json
from rag_service.errors import GeneratorFailed
from rag_service.generators.refused import PromptRefused, ProviderRefused
from rag_service.generators.wrapped import Heard, Wrapped
from rag_service.ports import Generator
from rag_service.types import NO_SAMPLING, Completion, Notice, Prompt, Sampling

_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 8.0

Wait = Callable[[float, Cancellation], None]
"""Waits so many seconds, or until cancelled."""


def _wait(seconds: float, cancellation: Cancellation) -> None:
    woken = threading.Event()
    with cancellation.hanging_up(woken.set):
        woken.wait(seconds)


class Retrying(Wrapped):
    """Port `Generator`: another one, asked up to `retries` times again after `GeneratorFailed`. Any thread may call it.

    Not after a refusal that would come again (`PromptRefused`, `ProviderRefused`), a pause, or a time-out; not when something has been
    written already; and not when the wait would reach the deadline: then the failure is raised at once. An answer that took more than one
    try has the notice `generator_retried`.
    """

    def __init__(
        self,
        inner: Generator,
        *,
        retries: int,
        wait: Wait = _wait,
        now: Callable[[], float] = time.monotonic,
        share: Callable[[], float] = random.random,
    ) -> None:
        """`now` gives seconds on the clock that deadlines are on, `share` numbers in [0, 1)."""
        super().__init__(inner)
        self._retries = retries
        self._wait = wait
        self._now = now
        self._share = share

    @property
    def digest(self) -> str:
        return digest_json({"generator": super().digest, "retries": self._retries})

    @property
    def parameters(self) -> dict[str, str | int | float | None]:
        return {**super().parameters, "retries": self._retries}

    def generate(
        self,
        prompt: Prompt,
        *,
        sampling: Sampling = NO_SAMPLING,
        deadline_s: float | None = None,
        cancellation: Cancellation | None = None,
        write: Callable[[str], None] | None = None,
    ) -> Completion:
        """Raises what the last try raised."""
        cancellation = cancellation or Cancellation()
        heard = None if write is None else Heard(write)
        for failed in range(self._retries + 1):
            try:
                completion = self._inner.generate(prompt, sampling=sampling, deadline_s=deadline_s, cancellation=cancellation, write=heard)
            except GeneratorFailed as error:
                wait_s = self._wait_s(failed, error)
                hopeless = isinstance(error, PromptRefused | ProviderRefused) or (heard is not None and heard.anything)
                late = deadline_s is not None and self._now() + wait_s >= deadline_s
                if failed == self._retries or hopeless or late:
                    raise
                self._wait(wait_s, cancellation)
                cancellation.check()
            else:
                return replace(completion, notices=(*_retried(failed), *completion.notices))
        raise AssertionError("the last try returns or raises")

    def _wait_s(self, failed: int, error: GeneratorFailed) -> float:
        jittered = self._share() * min(_LONGEST_WAIT_S, _FIRST_WAIT_S * 2.0**failed)
        return max(jittered, error.retry_after_s or 0.0)


def _retried(failed: int) -> tuple[Notice, ...]:
    return (Notice("generator_retried", f"the generator failed {failed} times before it answered"),) if failed else ()
