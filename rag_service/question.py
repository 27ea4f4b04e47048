"""A question as it is asked of a release."""

from dataclasses import dataclass

from rag_service.cancellation import Cancellation
from rag_service.errors import InvalidQuestion
from rag_service.filters import Filter, both
from rag_service.normalise import normalise
from rag_service.types import NO_SAMPLING, Sampling, Turn


@dataclass(frozen=True, slots=True)
class Question:
    """None takes the release's. `deadline_s` is a `time.monotonic()` instant."""

    text: str
    history: tuple[Turn, ...] = ()
    """Earlier messages, oldest first; `text` is not among them."""
    top_k: int | None = None
    min_confidence: float | None = None
    filters: Filter | None = None
    access: Filter | None = None
    """What whoever asks may see at all."""
    prompt: str | None = None
    """`<name>/<version>`."""
    sampling: Sampling = NO_SAMPLING
    request_id: str | None = None
    deadline_s: float | None = None
    cancellation: Cancellation | None = None

    @property
    def searched(self) -> Filter | None:
        return both(self.filters, self.access)


def clean_question(text: str, *, max_chars: int) -> str:
    """Normalised as documents are, on one line's worth of space. Raises `InvalidQuestion` when it is blank or too long."""
    if len(text) > max_chars:
        raise InvalidQuestion(
            f"the question has {len(text):,} characters; at most {max_chars:,} are accepted",
            hint="shorten it, or raise RAG_MAX_QUESTION_CHARS",
            param="question",
        )
    cleaned = normalise(text).strip()
    if not cleaned:
        raise InvalidQuestion("the question is blank", hint="ask something", param="question")
    return cleaned
