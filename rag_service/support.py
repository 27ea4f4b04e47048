"""Whether each sentence of an answer is supported by the passages that it cites. Pure, deterministic and bounded.

Rules find what is plainly wrong and say it in words: a number, a name or quoted words that no cited passage holds, a denial of what a
passage says. A sentence with such a flaw is `partly` supported at best. How much of the rest is covered is a logistic regression over
the shared wording and, where there is one, the encoder; its coefficients stand here, `benchmarks/answers/groundedness.py` fits and judges
them. None of this understands a text: it finds what deserves a second look.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from rag_service import facts
from rag_service.claims import Claim, find_claims
from rag_service.errors import PassageTooLong
from rag_service.numerals import claimed_numbers
from rag_service.types import Citation, Matrix, Passage, SentenceSupport, Support, SupportLevel, Vector
from rag_service.wording import MAX_PASSAGE_CHARS, Overlap, Read, overlap, plain, read

Similar = Callable[[Sequence[str]], Matrix]
"""Texts to unit vectors, one row each: `Embedder.embed_passages`."""

MAX_ANSWER_CHARS = 20_000
MAX_CLAIMS = 200
MAX_CLAIM_CHARS = 2_000
MAX_PASSAGES = 32
MAX_WINDOWS = 3
"""Of each sentence, compared by the encoder."""
MAX_EMBEDDED = 96
"""Texts of one answer, about 2 ms of CPU each; sentences beyond are judged by their wording alone."""
_MAX_EMBEDDED_CHARS = 1_000
_MAX_REASONS = 6
_SHOWN_CHARS = 60
"""Of a line of code, in a reason."""
SUPPORTED_FROM = 0.5
PARTLY_FROM = 0.2
"""No grounded response of the half that the weights were fitted on scores less."""
FLAWED_AT_MOST = 0.49
"""The score of a sentence that breaks a rule."""
_SAME_MATTER = 0.5
"""A passage that holds less of a sentence's wording than this speaks of something else, whatever it denies."""
WITHOUT_ENCODER: Mapping[str, float] = {
    "intercept": -2.412,
    "window": 2.112,
    "everywhere": 1.975,
    "runs": 1.771,
    "missing": -1.394,
    "personal": -1.553,
}
WITH_ENCODER: Mapping[str, float] = {
    "intercept": -2.546,
    "window": 1.757,
    "everywhere": 1.629,
    "runs": 0.899,
    "missing": -1.743,
    "personal": -1.621,
    "similarity": 2.329,
}
"""Weights of `Signals`, by name."""


@dataclass(frozen=True, slots=True)
class Signals:
    """What the score of a sentence is made from; all but `similarity` from the words alone."""

    window: float
    """Weighted share of its terms in the best window of one to three sentences, in [0, 1]."""
    everywhere: float
    """The same in all compared passages together."""
    runs: float
    """Share of its runs of two and three words in the passages, in [0, 1]."""
    missing: float
    """Natural logarithm of 1 + the weight of its terms that are in no passage."""
    personal: float
    """1 where it speaks as `I` or `we` and no passage does, otherwise 0."""
    similarity: float | None
    """Greatest cosine to one of the best windows, in [-1, 1]; None without an encoder, or beyond `MAX_EMBEDDED` texts."""


_NO_SIGNALS = Signals(0.0, 0.0, 0.0, 0.0, 0.0, None)
_LEAST_QUOTED_WORDS = 2
"""`Yes, it is.` may stand in any passage."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One claim before it is judged."""

    claim: Claim
    compared: tuple[int, ...]
    claims: bool
    verbatim: bool
    """It stands in a passage word for word."""
    flaws: tuple[str, ...]
    """Broken rules, in words."""
    absent: tuple[str, ...]
    """Its words that no compared passage holds, as they are written."""
    signals: Signals


def assess(text: str, citations: Sequence[Citation], passages: Sequence[Passage], similar: Similar | None = None) -> Support:
    """The support of every sentence of `text`, the checked answer that `citations` belong to. `passages` are those that were shown.

    Raises only what `similar` raises, other than `PassageTooLong`.
    """
    measured, looked_at, notes = measure(text, citations, passages, similar)
    return Support(tuple(judge(each) for each in measured), looked_at, notes)


def measure(
    text: str, citations: Sequence[Citation], passages: Sequence[Passage], similar: Similar | None = None
) -> tuple[list[Measured], int, tuple[str, ...]]:
    """Each claim with its signals, how many characters of the answer were looked at, and what was left out, for people."""
    claims, looked_at = _within_bounds(text, citations)
    shown = _shown(citations, passages)
    squeezed = {number: _squeezed(passage.chunk.text[:MAX_PASSAGE_CHARS]) for number, passage in shown.items()}
    known: dict[int, Read] = {}
    found: list[tuple[Measured, Overlap | None]] = []
    for claim in claims:
        numbers = tuple(number for number in claim.cites if number in shown) or tuple(shown)
        if _is_quoted(claim, numbers, squeezed):  # as all that the extractive generator says: no need to read the passages
            found.append((Measured(claim, numbers, True, True, (), (), _NO_SIGNALS), None))
            continue
        for number in numbers:
            if number not in known:
                known[number] = read(shown[number])
        found.append(_measured(claim, [known[number] for number in numbers]))
    similarities = _similarities(found, similar) if similar is not None else [None] * len(found)
    measured = [
        replace(each, signals=replace(each.signals, similarity=similarity))
        for (each, _), similarity in zip(found, similarities, strict=True)
    ]
    return measured, looked_at, _notes(text, looked_at, passages, shown, known)


def _is_quoted(claim: Claim, numbers: Sequence[int], squeezed: Mapping[int, str]) -> bool:
    wording = _squeezed(claim.text)
    return len(wording.split()) > _LEAST_QUOTED_WORDS and any(wording in squeezed[number] for number in numbers)


def _within_bounds(text: str, citations: Sequence[Citation]) -> tuple[list[Claim], int]:
    """The claims that are looked at, and where in the text they end. What the bound cuts through is left out, unless it is all."""
    claims = find_claims(text[:MAX_ANSWER_CHARS], citations)
    whole = len(text) <= MAX_ANSWER_CHARS
    if not whole and len(claims) > 1:
        claims.pop()
    kept = claims[:MAX_CLAIMS]
    whole = whole and len(kept) == len(claims)
    return kept, len(text) if whole else kept[-1].end if kept else min(len(text), MAX_ANSWER_CHARS)


def _shown(citations: Sequence[Citation], passages: Sequence[Passage]) -> dict[int, Passage]:
    """By number, at most `MAX_PASSAGES`: the cited ones before the others, then in ascending order."""
    every = {passage.marker: passage for passage in passages}
    every |= {citation.marker: Passage(citation.marker, citation.chunk) for citation in citations}
    cited = {citation.marker for citation in citations}
    kept = sorted(every, key=lambda number: (number not in cited, number))[:MAX_PASSAGES]
    return {number: every[number] for number in sorted(kept)}


def _notes(
    text: str, looked_at: int, passages: Sequence[Passage], shown: Mapping[int, Passage], known: Mapping[int, Read]
) -> tuple[str, ...]:
    notes = []
    if looked_at < len(text):
        notes.append(f"only the first {looked_at:,} of {len(text):,} characters of the answer were checked")
    if left_out := len({passage.marker for passage in passages} - set(shown)):
        notes.append(f"{left_out} passages that the answer does not cite were not compared")
    notes.extend(f"only the beginning of passage {number} was compared" for number, each in known.items() if each.capped)
    return tuple(notes)


def _measured(claim: Claim, compared: Sequence[Read]) -> tuple[Measured, Overlap]:
    text = claim.text[:MAX_CLAIM_CHARS]
    shared = overlap(text, compared, windows=MAX_WINDOWS)
    wording = plain(text)
    verbatim = shared.length > 2 and any(wording in each.words for each in compared)
    flaws = _flaws(claim, text, compared, shared)
    says = bool(compared) and not shared.empty and not facts.is_question(text)
    signals = Signals(
        window=shared.windows[0].coverage if shared.windows else 0.0,
        everywhere=shared.coverage,
        runs=shared.runs,
        missing=math.log1p(shared.missing),
        personal=float(any(not any(person in each.speakers for each in compared) for person in facts.speakers(text))),
        similarity=None,
    )
    numbers = tuple(each.marker for each in compared)
    return Measured(claim, numbers, says or verbatim, verbatim, flaws, shared.absent, signals), shared


def _flaws(claim: Claim, text: str, compared: Sequence[Read], shared: Overlap) -> tuple[str, ...]:
    where = "cited passage" if claim.cites else "passage"
    if claim.kind == "code":
        return tuple(_code_flaws(text, compared, where))
    flaws = [*_number_flaws(text, compared, where), *_name_flaws(text, compared)]
    if any(not any(plain(quoted) in each.words for each in compared) for quoted in facts.quotes(text)):
        flaws.append("quoted words are not in the passage")
    return tuple(dict.fromkeys([*flaws, *_negation_flaws(text, shared)]))


def _code_flaws(text: str, compared: Sequence[Read], where: str) -> list[str]:
    """The first line that is in no passage, whatever its white space: a sign more or less changes what code does."""
    known = [_squeezed(each.text) for each in compared]
    for line in map(_squeezed, text.splitlines()):
        if line and not line.startswith(("```", "~~~")) and not any(line in passage for passage in known):
            shown = line if len(line) <= _SHOWN_CHARS else f"{line[:_SHOWN_CHARS]}…"
            return [f"the line `{shown}` is in no {where}"]
    return []


def _name_flaws(text: str, compared: Sequence[Read]) -> list[str]:
    by_capitals = not (facts.is_german(text) or any(each.german for each in compared))
    return [
        f"'{' '.join(name)}' is not named"
        for name in facts.names(text)
        if any(
            not any(facts.is_named(part, each.known, each.initials, each.numbers) for each in compared)
            for part in name
            if by_capitals or facts.is_acronym(part)
        )
    ]


def _number_flaws(text: str, compared: Sequence[Read], where: str) -> list[str]:
    flaws = []
    for number in claimed_numbers(text):
        holding = [each for each in compared if number.values & each.numbers]
        if not holding:
            flaws.append(f"the number {number.text} is in no {where}")
        elif number.percent and not any(each.percent for each in holding):
            flaws.append(f"{number.text} is no percentage in any {where}")
    return flaws


def _negation_flaws(text: str, shared: Overlap) -> list[str]:
    """Compared with the one sentence that is nearest: its neighbours may well deny something else."""
    nearest = shared.sentence
    if nearest is None or nearest.coverage < _SAME_MATTER:
        return []
    no, yes = facts.denied(text)
    no_there, yes_there = facts.denied(nearest.text)
    flaws = []
    if (no - yes) & (yes_there - no_there) or (facts.denies(text) and not facts.denies_in_some_form(shared.windows[0].text)):
        flaws.append("says not where the passage does not")
    if (yes - no) & (no_there - yes_there):
        flaws.append("leaves out a 'not' of the passage")
    return flaws


def _similarities(found: Sequence[tuple[Measured, Overlap | None]], similar: Similar) -> list[float | None]:
    texts: dict[str, None] = {}
    wanted: list[tuple[str, list[str]]] = []
    for each, shared in found:
        if shared is None:
            wanted.append(("", []))
            continue
        claim = _squeezed(each.claim.text)
        windows = [_squeezed(window.text) for window in shared.windows]
        candidates = [text for text in (claim, *windows) if len(text) <= _MAX_EMBEDDED_CHARS]
        fits = claim in candidates and len(candidates) > 1 and len(texts.keys() | set(candidates)) <= MAX_EMBEDDED
        if each.claims and not each.verbatim and fits:
            texts.update(dict.fromkeys(candidates))
            wanted.append((claim, candidates[1:]))
        else:
            wanted.append(("", []))
    vectors = _embedded(list(texts), similar)
    return [
        max((float(vectors[claim] @ vectors[window]) for window in windows if window in vectors), default=None)
        if claim in vectors
        else None
        for claim, windows in wanted
    ]


def _embedded(texts: Sequence[str], similar: Similar) -> dict[str, Vector]:
    """Those that fit into the encoder's window."""
    if not texts:
        return {}
    try:
        return dict(zip(texts, similar(texts), strict=True))
    except PassageTooLong:
        if len(texts) == 1:
            return {}
    return {text: vector for each in texts for text, vector in _embedded([each], similar).items()}


def _squeezed(text: str) -> str:
    return " ".join(text.split())


def _probability(signals: Signals, model: Mapping[str, float] | None) -> float:
    """The logistic regression, in (0, 1), rounded to 1e-4."""
    weights = model or (WITHOUT_ENCODER if signals.similarity is None else WITH_ENCODER)
    logit = weights["intercept"] + sum(weights[name] * getattr(signals, name) for name in weights if name != "intercept")
    return round(1 / (1 + math.exp(-logit)), 4)


def judge(each: Measured, model: Mapping[str, float] | None = None) -> SentenceSupport:
    """By the weights of `model`, for the benchmark; by those of this module without it."""
    reasons = [] if each.claim.cites else ["no passage is cited"]
    value = 0.0
    if not each.compared:
        reasons = ["there is no passage"]
    elif not each.claims:
        reasons.append("asks, and claims nothing" if facts.is_question(each.claim.text) else "claims nothing that a passage could support")
    else:
        value = 1.0 if each.verbatim else _probability(each.signals, model)
        value = min(value, FLAWED_AT_MOST) if each.flaws else value
        reasons.extend(each.flaws)
    level: SupportLevel = "supported" if value >= SUPPORTED_FROM else "partly" if value >= PARTLY_FROM else "unsupported"
    if level != "supported" and each.claims and each.absent:
        reasons.append(f"in no {'cited ' if each.claim.cites else ''}passage: {', '.join(each.absent)}")
    if len(each.claim.text) > MAX_CLAIM_CHARS:
        reasons.append(f"only its first {MAX_CLAIM_CHARS:,} characters were compared")
    return SentenceSupport(
        span=(each.claim.start, each.claim.end),
        level=level,
        score=value,
        passages=each.compared,
        cited=bool(each.claim.cites),
        claims=each.claims,
        reasons=tuple(reasons[:_MAX_REASONS]),
    )
