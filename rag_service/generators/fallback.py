"""A generator with another behind it, which answers when the first fails: only where a release says so, and never without a notice."""

import time
from collections.abc import Callable
from dataclasses import replace

from rag_service.cancellation import Cancellation
from rag_service.digests import digest_json
from rag_service.errors import DeadlineExceeded, GeneratorFailed, GeneratorPaused
from rag_service.generators.wrapped import Heard, Wrapped
from rag_service.ports import Generator
from rag_service.types import NO_SAMPLING, Completion, Notice, Prompt, Sampling

RESERVE_S = 1.0
"""Kept back from the first generator's time for the second, and at most a fifth of it; quoting takes some hundredths of a second."""
_RESERVED_SHARE = 0.2


class FallingBack(Wrapped):
    """Port `Generator`: `inner`, and `other` when that fails, is left alone by its breaker, or takes too long. Any thread may call it.

    Not once `inner` has written something, and not for a prompt without passages, which asks for something else than an answer: then the
    failure is raised. `other` is never streamed. Its answers have the notice `generator_fell_back`.
    """

    def __init__(self, inner: Generator, other: Generator, *, now: Callable[[], float] = time.monotonic) -> None:
        """`now` gives seconds on the clock that deadlines are on."""
        super().__init__(inner)
        self._other = other
        self._now = now

    @property
    def digest(self) -> str:
        return digest_json({"generator": super().digest, "fallback": self._other.digest})

    @property
    def parameters(self) -> dict[str, str | int | float | None]:
        return {**super().parameters, "fallback": self._other.name}

    def generate(
        self,
        prompt: Prompt,
        *,
        sampling: Sampling = NO_SAMPLING,
        deadline_s: float | None = None,
        cancellation: Cancellation | None = None,
        write: Callable[[str], None] | None = None,
    ) -> Completion:
        """Raises what the first raised where the second may not answer, and what the second raises."""
        heard = None if write is None else Heard(write)
        own_s = self._own_deadline_s(deadline_s) if prompt.passages else deadline_s
        try:
            return self._inner.generate(prompt, sampling=sampling, deadline_s=own_s, cancellation=cancellation, write=heard)
        except (GeneratorFailed, GeneratorPaused, DeadlineExceeded) as error:
            if not prompt.passages or (heard is not None and heard.anything):
                raise
            code = error.code
        completion = self._other.generate(prompt, deadline_s=deadline_s, cancellation=cancellation)
        notice = Notice("generator_fell_back", f"{self.name} failed ({code}) and {self._other.name} answered instead")
        return replace(completion, notices=(notice, *completion.notices))

    def _own_deadline_s(self, deadline_s: float | None) -> float | None:
        if deadline_s is None:
            return None
        return deadline_s - min(RESERVE_S, max(0.0, _RESERVED_SHARE * (deadline_s - self._now())))
