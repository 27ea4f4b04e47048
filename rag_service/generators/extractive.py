"""The default generator: quotes the sentences that answer best, and invents nothing.

Every sentence of the passages is scored by the question words it holds, each weighted by how rare it is among these sentences; the best
dozen are then compared with the question by the encoder. No model beyond the encoder, no key, and the same passages give the same answer.
"""

import math
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rag_service.cancellation import Cancellation
from rag_service.digests import digest_bytes, digest_json
from rag_service.errors import DeadlineExceeded
from rag_service.ports import Embedder
from rag_service.sentences import sentences, stem, words
from rag_service.types import NO_SAMPLING, Completion, Marker, Passage, Prompt, Sampling, Usage

CANDIDATES = 12
"""Sentences that are embedded, about 2 ms of CPU each."""

MAX_UNIT_CHARS = 1200
"""A list or code block is quoted with the sentence that announces it up to this length."""

_STOP_WORDS = frozenset(
    """a an and are as at be been by can could did do does for from had has have how i if in into is it its me my of on or our shall
    should so than that the their them then there these they this to was we were what when where which who whom whose why will with
    would you your""".split()  # noqa: SIM905 - sixty quoted words would take sixty lines
)
_NOT_PROSE = re.compile(r"\s*(?:#{1,6}\s|///|\{\*|\||!\[|<[a-z/!]|[-*_]{3,}\s*$)")
_UNDERLINE = re.compile(r"\n\s*(?:=+|-+)\s*$")
"""What makes a heading of the line above it in Markdown. Formats other than Markdown have headings without any mark."""
_CODE = digest_bytes(Path(__file__).read_bytes())  # of what runs: the file may be replaced while it does
_FENCE = re.compile(r"\s*(?:```|~~~)")
_LIST_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s")


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is quoted as a whole: a sentence, with the list or code block that it announces. `passage` is an index."""

    passage: int
    start: int
    end: int
    sentence: str
    text: str


class ExtractiveGenerator:
    """`max_sentences` quoted at most; a further sentence must reach `keep` times the best one's score."""

    name = "extractive"
    context_tokens = 1_000_000  # reads passages, not a prompt: there is no window
    follows_instructions = False

    def __init__(self, embedder: Embedder, *, max_sentences: int = 2, keep: float = 0.85, least_score: float = 0.3) -> None:
        self._embedder = embedder
        self._max_sentences = max_sentences
        self._keep = keep
        self._least_score = least_score

    @property
    def parameters(self) -> dict[str, str | int | float | None]:
        return {"max_sentences": self._max_sentences, "keep": self._keep, "least_score": self._least_score}

    @property
    def digest(self) -> str:
        return digest_json({"code": _CODE, "encoder": self._embedder.digest, "parameters": self.parameters})

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
        units = [unit for index, passage in enumerate(prompt.passages) for unit in _units(index, passage)]
        chosen = self._choose(prompt.question, units, cancellation)
        text, markers = _join(chosen, prompt.passages)
        return Completion(
            text=text,
            declined=not chosen,
            finish_reason="stop",
            model=self.name,
            usage=Usage(prompt_tokens=None, completion_tokens=None),
            markers=markers,
        )

    def _choose(self, question: str, units: Sequence[_Unit], cancellation: Cancellation) -> list[_Unit]:
        lexical = _coverage(question, [unit.sentence for unit in units])
        shortlist = sorted(range(len(units)), key=lambda index: (-lexical[index], index))[:CANDIDATES]
        if not shortlist:
            return []
        cancellation.check()
        vectors = self._embedder.embed_passages([units[index].sentence for index in shortlist])
        similarity = vectors @ self._embedder.embed_query(question)
        scores = {
            index: round(0.5 * lexical[index] + 0.5 * float(cosine) - 0.02 * units[index].passage, 5)
            for index, cosine in zip(shortlist, np.asarray(similarity, np.float64), strict=True)
        }
        ranked = sorted(scores, key=lambda index: (-scores[index], index))
        best = scores[ranked[0]]
        if best < self._least_score:
            return []
        good = [index for index in ranked if scores[index] >= self._keep * best]
        distinct = {units[index].text: index for index in reversed(good)}  # overlapping or repeated passages hold a sentence twice
        chosen = [index for index in good if distinct[units[index].text] == index][: self._max_sentences]
        # Best passage first, then reading order: two sentences of one passage stay in the order in which they were written.
        lead = units[ranked[0]].passage
        return [units[index] for index in sorted(chosen, key=lambda index: (units[index].passage != lead, index))]


def _coverage(question: str, texts: Sequence[str]) -> list[float]:
    """Share of the question's content words in each text, weighted by rarity (log(1 + n/df)) among the texts. In [0, 1]."""
    wanted = {stem(word) for word in words(question) if word not in _STOP_WORDS}
    found = [wanted & {stem(word) for word in words(text)} for text in texts]
    frequency = Counter(word for held in found for word in held)
    weight = {word: math.log(1 + len(texts) / max(frequency[word], 1)) for word in sorted(wanted)}
    total = sum(weight.values())
    return [sum(weight[word] for word in sorted(held)) / total if total else 0.0 for held in found]


def _units(index: int, passage: Passage) -> list[_Unit]:
    text = passage.chunk.text
    units: list[_Unit] = []
    for start, end in _blocks(text):
        block = text[start:end]
        announced = bool(units) and units[-1].text.endswith(":") and end - units[-1].start <= MAX_UNIT_CHARS
        if _FENCE.match(block) or _LIST_ITEM.match(block):
            if announced:
                last = units.pop()
                units.append(_Unit(index, last.start, end, last.sentence, text[last.start : end]))
                continue
            if _FENCE.match(block):
                continue
        if _NOT_PROSE.match(block) or " ".join(_UNDERLINE.sub("", block).split()) in passage.chunk.heading_path:
            continue
        units.extend(
            _Unit(index, start + sentence.start, start + sentence.end, sentence.text, sentence.text)
            for sentence in sentences(block)
            if len(words(sentence.text)) > 2
        )
    return units


def _blocks(text: str) -> list[tuple[int, int]]:
    """Runs of lines between blank lines; a fenced code block is one run, blank lines and all; a heading line stands alone."""
    blocks: list[tuple[int, int]] = []
    begin: int | None = None
    position, fenced = 0, False
    for line in text.splitlines(keepends=True):
        is_fence = bool(_FENCE.match(line))
        closes = fenced and is_fence
        breaks = not fenced and (not line.strip() or is_fence or line.startswith("#"))
        if breaks and begin is not None:
            blocks.append((begin, position))
            begin = None
        if line.strip() and begin is None:
            begin = position
        position += len(line)
        fenced = fenced != is_fence
        if begin is not None and (closes or (not fenced and line.startswith("#"))):
            blocks.append((begin, position))
            begin = None
    if begin is not None:
        blocks.append((begin, position))
    return [(start, start + len(text[start:end].rstrip())) for start, end in blocks]


def _join(units: Sequence[_Unit], passages: Sequence[Passage]) -> tuple[str, tuple[Marker, ...]]:
    text = ""
    markers: list[Marker] = []
    for unit in units:
        several_lines = "\n" in unit.text
        text += ("\n\n" if several_lines or text.endswith("\n") else " ") if text else ""
        text += unit.text + ("\n\n" if several_lines else " ")
        number = passages[unit.passage].marker
        shown = f"[{number}]"
        markers.append(Marker(len(text), len(text) + len(shown), (number,)))
        text += shown
    return text, tuple(markers)
