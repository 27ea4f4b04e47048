"""The system alone: questions that never change, asked again. Kept apart from the traffic, which changes by itself.

    <index>/drift/canaries/<release id>.json    what a release answered when it was activated first

The same release must give the same answer, to the bit, on one kind of machine. If it does not, something has changed under it, or is
not deterministic, and nothing else that a report says can be trusted. Another release may answer otherwise: then it is said how much.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import Field

from rag_service.digests import digest_text
from rag_service.drift.report import SystemFinding
from rag_service.record import Record, StageName
from rag_service.stored import Digest, Frozen

_CONTEXT: frozenset[StageName] = frozenset({"condense", "embed", "retrieve", "prompt"})
_LOCAL = ("extractive", "llamacpp:")
"""Generators whose text is the same each time; a provider's model may give another, and its stage proves nothing."""
MOST_NAMED = 10


class CanaryAnswer(Frozen):
    question_digest: Digest
    stages: tuple[tuple[StageName, Digest], ...]


class CanaryAnswers(Frozen):
    schema_: Literal["rag.canary-answers/v1"] = Field("rag.canary-answers/v1", alias="schema")
    made_at: str
    release: str
    numeric_class: str
    """Of the machine: on another kind the last bits of scores may differ."""
    generator: str
    answers: tuple[CanaryAnswer, ...]


def canary_answers(records: Sequence[Record], made_at: str) -> CanaryAnswers:
    """`records` are what one release answered to the canary questions; at least one."""
    lineage = records[0].lineage
    return CanaryAnswers(
        made_at=made_at,
        release=lineage.release.id,
        numeric_class=lineage.deployment.numeric_class,
        generator=lineage.release.generator.spec,
        answers=tuple(
            CanaryAnswer(question_digest=digest_text(record.question), stages=tuple((stage.name, stage.digest) for stage in record.stages))
            for record in records
        ),
    )


def system_finding(now: CanaryAnswers, own: CanaryAnswers | None, before: CanaryAnswers | None) -> SystemFinding:
    """`own` are the earlier answers of the same release; `before` those of the release that answered at the time of the reference."""
    if own is None:
        return SystemFinding(
            state="undefined", why="this release has no earlier answers to compare with; those of now are kept", release=now.release,
            asked=len(now.answers),
        )  # fmt: skip
    if own.numeric_class != now.numeric_class:
        why = f"the answers were made on {own.numeric_class}, and this is {now.numeric_class}"
        return SystemFinding(state="undefined", why=why, release=now.release, asked=len(now.answers))
    changed = _changed(own, now, strict=now.generator.startswith(_LOCAL))
    if changed:
        why = "the same release gives other answers than when it was activated"
        return SystemFinding(
            state="alarm", why=why, release=now.release, before=own.release, asked=len(now.answers), changed=changed[:MOST_NAMED]
        )
    if before is not None and before.release != now.release:
        other = _changed(before, now, strict=True)
        why = f"{len(other)} of {len(now.answers)} answers are others than by the release of the reference"
        return SystemFinding(
            state="released", why=why, release=now.release, before=before.release, asked=len(now.answers), changed=other[:MOST_NAMED]
        )
    return SystemFinding(state="same", release=now.release, before=own.release, asked=len(now.answers))


def _changed(before: CanaryAnswers, now: CanaryAnswers, *, strict: bool) -> tuple[str, ...]:
    """The questions that both were asked and that came out otherwise, with the first stage that did."""
    known = {answer.question_digest: dict(answer.stages) for answer in before.answers}
    found = []
    for number, answer in enumerate(now.answers, start=1):
        earlier = known.get(answer.question_digest)
        if earlier is not None and (stage := _first_difference(earlier, dict(answer.stages), strict=strict)) is not None:
            found.append(f"question {number} parts at {stage}")
    return tuple(found)


def _first_difference(before: Mapping[StageName, str], now: Mapping[StageName, str], *, strict: bool) -> StageName | None:
    for stage in dict.fromkeys([*now, *before]):
        if (strict or stage in _CONTEXT) and before.get(stage) != now.get(stage):
            return stage
    return None
