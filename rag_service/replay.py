"""The verb: record → verdict. Makes an answer again, from the artefacts that its release names, and says where the two part.

    exact                    every stage gave what it gave then, to the bit
    same_context             the same passages and prompt, but other text
    diverged_at:<stage>      that stage gave something else, and how much else
    not_replayable:<what>    what is missing: redacted, index, encoder, prompt, generator, or the code of an error

A replay takes from the record what was asked and with which settings, and computes everything else anew. It runs with the code that is
here: where that, or the machine, is not what made the answer, `differs_here` says so, and the verdict is about the outputs all the same.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Literal

from rag_service.compare import (
    HitDifference,
    Piece,
    StageDifference,
    VectorDifference,
    first_difference,
    hit_differences,
    stage_differences,
    text_diff,
    vector_difference,
)
from rag_service.deployment import Deployment
from rag_service.errors import RagError
from rag_service.kept import ASKED, Kept
from rag_service.opened import Opened
from rag_service.question import Question
from rag_service.record import Lineage, Record, StageName
from rag_service.types import Sampling

TAKEN = ("question", "history", "filters", "access", "top_k", "min_confidence", "prompt", "sampling")
"""What a replay takes from the record."""

_CONTEXT: frozenset[StageName] = frozenset({"condense", "embed", "retrieve", "prompt"})


@dataclass(frozen=True, slots=True)
class Missing:
    """Why an answer cannot be made again. `what` is one word, for programs."""

    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class Replay:
    answer_id: str
    trace_id: str
    """Of the answer, not of the replay."""
    verdict: str
    headline: str
    stages: tuple[StageDifference, ...] = ()
    """Recorded against made again; empty where nothing could be."""
    recomputed: tuple[StageName, ...] = ()
    taken: tuple[str, ...] = TAKEN
    differs_here: tuple[str, ...] = ()
    """Of the code and the machine, against where the answer was made."""
    vector: VectorDifference | None = None
    """None where the vector was not stored."""
    hits: tuple[HitDifference, ...] = ()
    """Empty where the passages are the same."""
    prompt_diff: tuple[Piece, ...] = ()
    answer_diff: tuple[Piece, ...] = ()
    answer: str | None = None
    """As it was made now."""
    duration_ms: float = 0.0
    """Of making it, without opening the release."""

    @property
    def kind(self) -> str:
        """The verdict without its detail."""
        return self.verdict.partition(":")[0]


Open = Callable[[Lineage], Opened | Missing]
"""Opens the release of a record, or says what of it is missing."""


def replay(kept: Kept, open_release: Open, here: Deployment) -> tuple[Replay, Record | None]:
    """The verdict, and what was made, if anything was. Takes as long as the answer took, and about a second more where its release has to
    be opened first.
    """
    missing = withheld(kept)
    opened = missing or open_release(kept.record.lineage)
    if isinstance(opened, Missing):
        return _not_replayable(kept, opened), None
    began_s = time.perf_counter()
    try:
        made = opened.pipeline.ask(question_of(kept.record))
    except RagError as error:
        return _not_replayable(kept, Missing(error.code, f"making it again failed: {error.message}")), None
    duration_s = time.perf_counter() - began_s
    return _verdict(kept, made, differs_here=_differs(opened, kept.record.lineage, here), duration_s=duration_s), made


def withheld(kept: Kept) -> Missing | None:
    """What the record itself lacks."""
    if kept.content == "digest":
        return Missing("redacted", "the ledger kept digests only, and no texts")
    masked = sorted(kept.redacted & ASKED)
    if masked:
        return Missing("redacted", f"something was masked in: {', '.join(masked)}")
    return None


def question_of(record: Record) -> Question:
    """What was asked, as it was asked: the settings that the request replaced, and the release's where it did not."""
    used, replaced = record.attempt.parameters, set(record.attempt.parameters.overrides)
    given = {field.name: used.generator[field.name] for field in fields(Sampling) if field.name in replaced}
    return Question(
        text=record.question,
        history=record.history,
        top_k=used.top_k,
        min_confidence=used.min_confidence,
        filters=used.filters,
        access=used.access,
        prompt=f"{used.prompt.name}/{used.prompt.version}" if "prompt" in replaced else None,
        sampling=Sampling(**given),  # type: ignore[arg-type]  # values of the field that they are named after
    )


def _not_replayable(kept: Kept, missing: Missing) -> Replay:
    record = kept.record
    return Replay(record.answer_id, record.trace_id, f"not_replayable:{missing.what}", missing.detail, taken=())


def _verdict(kept: Kept, made: Record, *, differs_here: tuple[str, ...], duration_s: float) -> Replay:
    record = kept.record
    stages = stage_differences(record, made)
    parted = first_difference(stages)
    same_hits = [hit.chunk.id for hit in record.hits] == [hit.chunk.id for hit in made.hits]
    vector = vector_difference(record.query_vector, made.query_vector) if kept.has_vector else None
    hits = hit_differences(record.hits, made.hits, record.shown, made.shown) if parted in _CONTEXT else ()
    verdict = "exact" if parted is None else f"diverged_at:{parted}" if parted in _CONTEXT else "same_context"
    return Replay(
        answer_id=record.answer_id,
        trace_id=record.trace_id,
        verdict=verdict,
        headline=_headline(parted, stages, vector, same_hits=same_hits, differs_here=differs_here),
        stages=stages,
        recomputed=tuple(stage.name for stage in made.stages),
        differs_here=differs_here,
        vector=vector,
        hits=hits,
        prompt_diff=_diff(record.prompt.user, made.prompt.user, "lines") if record.prompt and made.prompt else (),
        answer_diff=_diff(record.answer or "", made.answer or "", "words"),
        answer=made.answer,
        duration_ms=round(duration_s * 1000, 3),
    )


def _diff(recorded: str, made: str, by: Literal["lines", "words"]) -> tuple[Piece, ...]:
    return () if recorded == made else text_diff(recorded, made, by=by)


def _headline(
    parted: StageName | None,
    stages: tuple[StageDifference, ...],
    vector: VectorDifference | None,
    *,
    same_hits: bool,
    differs_here: tuple[str, ...],
) -> str:
    here = f" (made again with other {' and '.join(differs_here)})" if differs_here else ""
    if parted is None:
        return f"all {len(stages)} stages gave the same, to the bit{here}"
    if parted not in _CONTEXT:
        return f"the same passages and prompt, but {parted} gave something else{here}"
    after = [stage.name for stage in stages if not stage.same]
    rest = "" if len(after) > 1 else "; every later stage gave the same"
    how = ""
    if parted == "embed" and vector is not None:
        how = f": the query vectors differ by at most {vector.max_abs:.2g}, cosine {vector.cosine:.7f}"
    elif parted == "retrieve":
        how = ": the same passages with other scores" if same_hits else ": other passages were found"
    return f"{parted} gave something else{how}{rest}{here}"


def _differs(opened: Opened, made_by: Lineage, here: Deployment) -> tuple[str, ...]:
    """In what the answer's release and deployment are not those of this replay."""
    now, then = opened.pipeline.lineage, made_by
    parts = [part for part in ("code", "generator") if getattr(now.release, part) != getattr(then.release, part)]
    if here.numeric_class != then.deployment.numeric_class:
        parts.append("numeric class")
    elif here.fingerprint != then.deployment.fingerprint:
        parts.append("installed packages")
    return tuple(parts)
