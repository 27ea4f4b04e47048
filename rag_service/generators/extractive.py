"""The default generator: quotes the sentences that answer best, and invents nothing.

Which these are is decided by `reading`, from what the index says of each sentence; no model beyond the encoder, no key, and the same
passages give the same answer. Where passages come without that (in a prompt that no index made), their sentences are embedded here.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rag_service import expected, reading, units
from rag_service.cancellation import Cancellation
from rag_service.digests import Json, digest_bytes, digest_json
from rag_service.errors import DeadlineExceeded
from rag_service.ports import Embedder
from rag_service.reading import Quotable, chosen, weighed
from rag_service.terms import DIGEST, terms
from rag_service.types import NO_SAMPLING, Completion, Marker, Passage, Prompt, Sampling, Sentence, Usage
from rag_service.units import units as units_of

MOST_EMBEDDED = 64
"""Sentences of passages that no index compared with the question; about 2 ms of CPU each."""

_OWN = [Path(__file__), *(Path(module.__file__ or "") for module in (expected, reading, units))]
_CODE = {path.name: digest_bytes(path.read_bytes()) for path in _OWN}  # of what runs: the files may be replaced while it does


class ExtractiveGenerator:
    """Quotes at most `max_sentences`; a further one may score at most `margin` below the best, which must reach `least_score`."""

    name = "extractive"
    context_tokens = 1_000_000  # reads passages, not a prompt: there is no window
    follows_instructions = False

    def __init__(self, embedder: Embedder, *, max_sentences: int = 2, margin: float = 1.2, least_score: float = 1.0) -> None:
        self._embedder = embedder
        self._max_sentences = max_sentences
        self._margin = margin
        self._least_score = least_score

    @property
    def parameters(self) -> dict[str, str | int | float | None]:
        return {"max_sentences": self._max_sentences, "margin": self._margin, "least_score": self._least_score}

    @property
    def digest(self) -> str:
        made_by: dict[str, Json] = {"code": {**_CODE}, "terms": DIGEST, "encoder": self._embedder.digest}
        return digest_json({**made_by, "parameters": self.parameters})

    def count_tokens(self, text: str) -> int:
        return -(-len(text) // 4)

    def generate(
        self,
        prompt: Prompt,
        *,
        sampling: Sampling = NO_SAMPLING,  # noqa: ARG002 - nothing is sampled, and `parameters` says so
        deadline_s: float | None = None,
        cancellation: Cancellation | None = None,
        write: Callable[[str], None] | None = None,  # noqa: ARG002 - the answer is there at once
    ) -> Completion:
        """Never calls `write`. Looks at `cancellation` before it starts and before it embeds."""
        cancellation = cancellation or Cancellation()
        cancellation.check()
        if deadline_s is not None and time.monotonic() >= deadline_s:
            raise DeadlineExceeded("the time for this request was over before generation began", stage="generate")
        passages: Sequence[Passage] = prompt.passages
        if not any(passage.sentences for passage in passages):
            passages = self._compared(prompt.question, passages, cancellation)
        quotes = chosen(weighed(prompt.question, passages), most=self._max_sentences, margin=self._margin)
        if quotes and max(quote.score for quote in quotes) < self._least_score:
            quotes = []
        text, markers = _join(quotes, passages)
        return Completion(
            text=text,
            declined=not quotes,
            finish_reason="stop",
            model=self.name,
            usage=Usage(prompt_tokens=None, completion_tokens=None),
            markers=markers,
        )

    def _compared(self, question: str, passages: Sequence[Passage], cancellation: Cancellation) -> list[Passage]:
        """With sentences as an index would give them, but that every term weighs the same."""
        spans = [
            (number, unit.start, unit.end)
            for number, passage in enumerate(passages)
            for unit in units_of(passage.chunk.text, passage.chunk.heading_path)
        ][:MOST_EMBEDDED]
        if not spans:
            return list(passages)
        cancellation.check()
        wanted = set(terms(question, ("en",)))
        texts = [passages[number].chunk.text[start:end] for number, start, end in spans]
        similarity = (self._embedder.embed_passages(texts) @ self._embedder.embed_query(question)).tolist()
        found: list[list[Sentence]] = [[] for _ in passages]
        for (number, start, end), text, near in zip(spans, texts, similarity, strict=True):
            held = len(wanted & set(terms(text, ("en",)))) / len(wanted) if wanted else 0.0
            found[number].append(Sentence(start, end, round(near, 5), round(held, 5)))
        return [replace(passage, sentences=tuple(sentences)) for passage, sentences in zip(passages, found, strict=True)]


def _join(quotes: Sequence[Quotable], passages: Sequence[Passage]) -> tuple[str, tuple[Marker, ...]]:
    text = ""
    markers: list[Marker] = []
    for quote in quotes:
        several_lines = "\n" in quote.text
        text += ("\n\n" if several_lines or text.endswith("\n") else " ") if text else ""
        text += quote.text + ("\n\n" if several_lines else " ")
        number = passages[quote.passage].marker
        shown = f"[{number}]"
        markers.append(Marker(len(text), len(text) + len(shown), (number,)))
        text += shown
    return text, tuple(markers)
