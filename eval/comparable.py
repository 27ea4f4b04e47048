"""Whether two candidates can be compared at all. Where they cannot, the field that differs is named, and no number is given."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from eval.metrics.catalogue import METRICS
from eval.policy import Policy
from eval.question_values import Pairs, value_of
from eval.results import Measured, Row, Run
from eval.scores import Score, Undefined
from eval.yaml_file import meant
from rag_service.digests import digest_json
from rag_service.errors import NotFound

Part = Literal["all", "dev", "test"]

_SAME = ("part", "depth", "answers", "limit", "timeout_s")
"""Parameters that two runs must share."""


@dataclass(frozen=True, slots=True, eq=False)
class Side:
    """One of the two, with the rows that count: those of the policy's part."""

    run: Run
    measured: Measured
    rows: Mapping[str, Row]
    """Id of the question → its row."""

    @classmethod
    def of(cls, run: Run, name: str, part: Part) -> "Side":
        """Raises `NotFound`."""
        found = next((one for one in run.candidates if one.name == name), None)
        if found is None:
            names = [one.name for one in run.candidates]
            raise NotFound(f"there is no candidate {name!r} in the run {run.id}", hint=meant(name, names, what="candidates"))
        narrowed = run.parameters.part == "all" and part != "all"
        rows = {row.id: row for row in found.rows if not narrowed or row.question.split == part}
        return cls(run, found, rows)

    @property
    def errors(self) -> int:
        """Questions at which asking or searching failed."""
        return sum(row.sample.status == "error" or bool(row.sample.failures) for row in self.rows.values())

    def score(self, metric: str) -> Score | None:
        """Over the whole run, of a metric that is known of a set alone."""
        return next((scores[metric] for scores in self.measured.metrics.values() if metric in scores), None)


def decided_part(run: Run, policy: Policy) -> Part:
    """Whose questions decide."""
    return run.parameters.part if policy.primary.part == "all" else policy.primary.part


def questions_digest(run: Run, policy: Policy) -> str:
    """Of the questions that decide, whoever answers them: what looks are counted by."""
    part = decided_part(run, policy)
    rows = run.candidates[0].rows
    ids = sorted(row.id for row in rows if run.parameters.part != "all" or part == "all" or row.question.split == part)
    return digest_json({"set": run.questions.digest, "ids": ids})


def differing(base: Side, candidate: Side, policy: Policy) -> Iterator[str]:
    """Why the two cannot be compared, each reason with the field and both values."""
    if base.measured.release.digest == candidate.measured.release.digest:
        yield f"release: the candidate is the base, both are release {base.measured.release.id}; there is nothing to decide"
    if base.run is not candidate.run:
        yield from _between_runs(base.run, candidate.run)
    yield from _questions(base, candidate, policy)
    corpora = base.measured.index.corpus_digest, candidate.measured.index.corpus_digest
    if corpora[0] != corpora[1]:
        yield f"index.corpus_digest: they were built from different documents ({_short(corpora[0])} and {_short(corpora[1])})"


def _between_runs(base: Run, candidate: Run) -> Iterator[str]:
    if base.questions.digest != candidate.questions.digest:
        sets = [f"{run.questions.name} {_short(run.questions.digest)}" for run in (base, candidate)]
        yield f"questions.digest: they were asked different questions ({sets[0]} and {sets[1]})"
    for name in _SAME:
        one, other = getattr(base.parameters, name), getattr(candidate.parameters, name)
        if one != other:
            yield f"parameters.{name}: {one} in the run {base.id}, {other} in the run {candidate.id}"
    versions: Sequence[Mapping[str, object]] = [run.metric_versions for run in (base, candidate)]
    for metric in sorted({*versions[0], *versions[1]}):
        one, other = (version.get(metric) for version in versions)
        if one != other:
            yield f"metric_versions.{metric}: {one} in the run {base.id}, {other} in the run {candidate.id}"


def _questions(base: Side, candidate: Side, policy: Policy) -> Iterator[str]:
    asked, part = base.run.parameters.part, policy.primary.part
    if part not in {"all", asked} and asked != "all":
        yield f"parameters.part: the policy decides on the part {part}, and the run asked {asked}"
        return
    alone = sorted(base.rows.keys() ^ candidate.rows.keys())
    if alone:
        yield f"rows: {len(alone):,} questions were asked of one of the two alone, {alone[0]!r} first"
    elif not base.rows:
        yield (
            f"rows: no question of the run is of the part {part}; run it with --part {part}"
            if part != "all"
            else "rows: no question was asked"
        )


def unfit(side: Side, policy: Policy) -> Iterator[str]:
    """Why nothing can be concluded from one of the two."""
    errors, n = side.errors, len(side.rows)
    if n and errors / n > policy.max_error_rate:
        codes = ", ".join(sorted({failure.code for row in side.rows.values() for failure in row.sample.failures}))
        yield (
            f"error rate: {side.measured.name!r} failed at {errors:,} of {n:,} questions ({codes or 'unknown'}), "
            f"at most {policy.max_error_rate:.1%} may"
        )


def unmeasured(pairs: Pairs, policy: Policy) -> Iterator[str]:
    """Why a metric cannot be compared question by question."""
    if not pairs.ids:
        why = next(iter(pairs.undefined.values()), "it applies to no question that was asked")
        yield f"{pairs.metric}: no question can be compared ({pairs.over}): {why}"
    elif pairs.undefined_share > policy.max_undefined:
        why = next(iter(pairs.undefined.values()))
        yield (
            f"{pairs.metric}: undefined at {len(pairs.undefined):,} of {len(pairs.undefined) + len(pairs.ids):,} questions ({why}), "
            f"at most {policy.max_undefined:.1%} may be"
        )


def limited_value(side: Side, metric: str) -> float | str:
    """The value of a metric that a limit is put on, or why there is none. Times count only where a pass without caches took them."""
    declared = METRICS[metric]
    if declared.unit == "ms" and not side.run.parameters.timing:
        return f"{metric}: the run {side.run.id} took no times without caches; run it again with --timing"
    values = [found for row in side.rows.values() if (found := value_of(row, metric)) is not None] if declared.taken == "mean" else []
    if values:
        return math.fsum(values) / len(values)
    score = side.score(metric)
    if score is None:
        return f"{metric}: it was not measured for {side.measured.name!r}"
    return f"{metric}: undefined for {side.measured.name!r}: {score.value.reason}" if isinstance(score.value, Undefined) else score.value


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]
