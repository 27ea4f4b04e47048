"""What a run would do, and what of it is done already: known before anything is spent."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eval.asking import SAMPLE_STAGE
from eval.candidate import Candidate
from eval.questions import EvalQuestion
from eval.running import Running, chosen
from eval.stages.cache import StageCache
from rag_service.settings import RELEASE_FIELDS, Settings

_SEARCH = ("retrieval", "per_document", "reranker", "rerank_depth")
"""Settings that decide what is found; `top_k` only cuts it off."""
_NOT_GENERATING = ("min_confidence", "support")


@dataclass(frozen=True, slots=True)
class Line:
    """One kind of work. `most` without sharing, `distinct` with it, `known` of these done before (None: only known once it is done);
    `seconds` of CPU that the rest takes by what it took before, None where nothing is known.
    """

    what: str
    most: int
    distinct: int
    known: int | None
    seconds: float | None


@dataclass(frozen=True, slots=True)
class Bill:
    candidates: int
    questions: int
    lines: tuple[Line, ...]

    @property
    def seconds(self) -> float | None:
        """Of CPU in all; None where a part is unknown."""
        parts = [line.seconds for line in self.lines]
        return None if None in parts else sum(part for part in parts if part is not None)


def plan(running: Running, cache: StageCache, *, only: str = "*") -> Bill:
    """Builds nothing and asks nothing; encoders are opened to see which release is which. Raises what makes a candidate unusable."""
    candidates = chosen(running.experiment.candidates, only)
    root = running.root
    settings = {candidate.name: candidate.settings(root) for candidate in candidates}
    built = [candidate for candidate in candidates if not candidate.served]
    keys = {candidate.name: running.preparing.build_key(settings[candidate.name]).hex() for candidate in built}
    there = {candidate.name: running.preparing.known_version(candidate) for candidate in built}
    builds_known = {keys[name] for name, version in there.items() if version}
    n = len(running.asked)
    searches = {_search(candidate, settings[candidate.name], keys) for candidate in candidates}
    generations = {_generation(candidate, settings[candidate.name], keys) for candidate in candidates}
    stored = cache.stored()

    def cost(stage: str, new: int) -> float | None:
        return 0.0 if not new else new * stored[stage].mean_ms / 1000 if stage in stored else None

    alike: dict[Sequence[object], list[Candidate]] = {}
    for candidate in candidates:
        alike.setdefault(_asking(candidate, settings[candidate.name], keys), []).append(candidate)
    known_samples = sum(
        _known(running, together, running.asked) for together in alike.values() if all(one.served or there[one.name] for one in together)
    )
    new_samples = len(alike) * n - known_samples
    builds, distinct_builds = len(built), len(set(keys.values()))
    lines = [
        Line("indexes", builds, distinct_builds, len(builds_known), cost("build", distinct_builds - len(builds_known))),
        Line("searches", len(candidates) * n, len(searches) * n, None, 0.0),
        Line("answers generated", len(candidates) * n, len(generations) * n, None, 0.0),
        Line("questions asked", len(candidates) * n, len(alike) * n, known_samples, cost(SAMPLE_STAGE, new_samples)),
    ]
    return Bill(len(candidates), n, tuple(lines))


def _known(running: Running, candidates: Iterable[Candidate], asked: Iterable[EvalQuestion]) -> int:
    """Questions that each of them was asked."""
    subjects = [running.subject(running.preparing.ready(candidate)) for candidate in candidates]
    return sum(all(subject.knows(question.question) for subject in subjects) for question in asked)


def _search(candidate: Candidate, settings: Settings, keys: dict[str, str]) -> Sequence[object]:
    index = keys.get(candidate.name, "served")
    given = (
        tuple(getattr(settings, name) for name in _SEARCH) if index != "served" else tuple(candidate.given.get(name) for name in _SEARCH)
    )
    return (index, *given, candidate.trivial == "random_retrieval")


def _asking(candidate: Candidate, settings: Settings, keys: dict[str, str]) -> Sequence[object]:
    """What gives the same samples, but for the threshold of confidence: those on one side of it are shared."""
    if candidate.name in keys:
        return (*_generation(candidate, settings, keys), settings.support, settings.max_question_chars)
    return (*_generation(candidate, settings, keys), candidate.given.get("support"), settings.max_question_chars)


def _generation(candidate: Candidate, settings: Settings, keys: dict[str, str]) -> Sequence[object]:
    names = [name for name in RELEASE_FIELDS if name not in (*_SEARCH, *_NOT_GENERATING)]
    decided = (
        tuple(getattr(settings, name) for name in names) if candidate.name in keys else tuple(candidate.given.get(name) for name in names)
    )
    return (*_search(candidate, settings, keys), *decided, candidate.trivial)
