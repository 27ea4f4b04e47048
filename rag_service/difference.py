"""What differs between two releases, and between two answers stage by stage. Nouns, and the pure functions that find them.

Everywhere `a` comes before `b`: what only `b` has entered, and a delta is `b` minus `a`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

import numpy as np

from rag_service.deployment import Deployment
from rag_service.digests import canonical_json, short_id
from rag_service.filters import Filter
from rag_service.record import Lineage, Parameters, Record, Stage, StageName
from rag_service.release import Checks, CodeRef, GeneratorRef, IndexRef, NamedDigest, PromptRef, Release, RerankerRef, Retrieval
from rag_service.stored import Scalar
from rag_service.types import Chunk, Hit, Vector

Movement = Literal["entered", "left", "moved", "stayed"]
Side = Literal["a", "b"]

_Part = IndexRef | NamedDigest | Retrieval | RerankerRef | PromptRef | GeneratorRef | Checks | CodeRef | None

_SCORE_DECIMALS = 5
"""Of a difference between scores, which are rounded to 1e-5 themselves (see `ranking`)."""


@dataclass(frozen=True, slots=True)
class NotCompared:
    """Stands where a difference would, and says why there is none."""

    why: str


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """A value that differs. `name` is the path to it, as `retrieval.top_k`."""

    name: str
    a: Scalar
    b: Scalar
    only_in: Side | None = None
    """Which side has it at all, where the other has not; the value of the other is then None."""


@dataclass(frozen=True, slots=True)
class PartDifference:
    """A part of the release that differs. `a` and `b` name it for people: its version, or its name and short digest."""

    part: str
    a: str
    b: str
    fields: tuple[FieldDifference, ...]


@dataclass(frozen=True, slots=True)
class StageDifference:
    """None where the stage did not run."""

    name: StageName
    a: str | None
    """Digest of the stage's output."""
    b: str | None
    same: bool
    a_ms: float | None
    b_ms: float | None
    delta_ms: float | None
    """To the microsecond, as durations are recorded."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk stood among the hits of one answer."""

    rank: int
    """From 1."""
    score: float
    in_prompt: bool
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class HitDifference:
    """A chunk that was a hit on at least one side."""

    a: Place | None
    b: Place | None
    movement: Movement
    """By rank."""
    delta: float | None
    """Of the score; None where it was a hit on one side only."""

    @property
    def chunk(self) -> Chunk:
        """As the later side knows it: its labels and, where texts are not stored, its text may differ between the sides."""
        place = self.b or self.a
        assert place is not None  # it is a hit of one of the two
        return place.chunk


@dataclass(frozen=True, slots=True)
class VectorDifference:
    max_abs: float
    """The largest difference in any one dimension (Chebyshev distance)."""
    cosine: float
    """In [-1, 1]."""


def release_differences(a: Release, b: Release) -> tuple[PartDifference, ...]:
    """The parts that differ, in the order in which a release lists them. Empty only where the releases have one digest."""
    if a.digest == b.digest:
        return ()
    parts = [name for name, field in Release.model_fields.items() if field.alias != "schema"]
    found = [_part_difference(name, getattr(a, name), getattr(b, name)) for name in parts]
    return tuple(part for part in found if part.fields)


def lineage_differences(a: Lineage, b: Lineage) -> tuple[PartDifference, ...]:
    """The parts of the release that differ, with what is known of an index beyond its version: its name and corpus."""
    parts = release_differences(a.release, b.release)
    index = [
        FieldDifference(f"index.{name}", getattr(a.index, name), getattr(b.index, name))
        for name in ("name", "corpus_digest")
        if getattr(a.index, name) != getattr(b.index, name)
    ]
    return tuple(replace(part, fields=(*part.fields, *index)) if part.part == "index" else part for part in parts)


def deployment_differences(a: Deployment, b: Deployment) -> tuple[FieldDifference, ...]:
    """Image, commit, environment, installed packages and numeric class, where they differ."""
    shown_a, shown_b = ({**asdict(one), "image": asdict(one.image) if one.image else {}, "unknown": {}} for one in (a, b))
    return field_differences(shown_a, shown_b)


def parameter_differences(a: Parameters, b: Parameters) -> tuple[FieldDifference, ...]:
    """Settings that at least one request replaced, where what was used differs. What nobody replaced differs only with the release."""
    replaced = {*a.overrides, *b.overrides}
    used_a, used_b = ({**asdict(one), "prompt": one.prompt.model_dump()} for one in (a, b))
    own = [name for name in ("top_k", "min_confidence", "prompt") if name in replaced]
    found = field_differences({name: used_a[name] for name in own}, {name: used_b[name] for name in own})
    sampled_a, sampled_b = ({name: value for name, value in one.generator.items() if name in replaced} for one in (a, b))
    return (*found, *field_differences(sampled_a, sampled_b, below="generator"))


def filter_differences(name: str, a: Filter | None, b: Filter | None) -> tuple[FieldDifference, ...]:
    """Of what could be searched. Filters are shown as JSON; None is everything."""
    if a == b:
        return ()
    shown_a, shown_b = (canonical_json(one.as_json()).decode() if one else None for one in (a, b))
    return (FieldDifference(name, shown_a, shown_b),)


def field_differences(a: Mapping[str, Any], b: Mapping[str, Any], *, below: str = "") -> tuple[FieldDifference, ...]:
    """Values that differ at any depth, in the order of `a`, then what only `b` has. Strict as JSON is: true is not 1, and 1.0 is 1."""
    leaves_a, leaves_b = dict(_leaves(a, below)), dict(_leaves(b, below))
    found = []
    for name in {**leaves_a, **leaves_b}:
        if name not in leaves_b:
            found.append(FieldDifference(name, leaves_a[name], None, "a"))
        elif name not in leaves_a:
            found.append(FieldDifference(name, None, leaves_b[name], "b"))
        elif not _same(leaves_a[name], leaves_b[name]):
            found.append(FieldDifference(name, leaves_a[name], leaves_b[name]))
    return tuple(found)


def stage_differences(a: Record, b: Record) -> tuple[StageDifference, ...]:
    """Every stage that ran on at least one side, in the order in which stages run."""
    stages_a, stages_b = ({stage.name: stage for stage in record.stages} for record in (a, b))
    names = [name for name in get_args(StageName) if name in stages_a or name in stages_b]
    return tuple(_stage_difference(name, stages_a.get(name), stages_b.get(name)) for name in names)


def first_difference(stages: Sequence[StageDifference]) -> StageName | None:
    """The first stage whose digests differ, or that ran on one side only. Later stages may differ for reasons of their own."""
    return next((stage.name for stage in stages if not stage.same), None)


def hit_differences(a_hits: Sequence[Hit], b_hits: Sequence[Hit], shown_a: int, shown_b: int) -> tuple[HitDifference, ...]:
    """One for each chunk, as `b` ranks them, then those that left, as `a` ranked them. `shown` hits of a side stood in its prompt."""
    places_a, places_b = _places(a_hits, shown_a), _places(b_hits, shown_b)
    return tuple(_hit_difference(places_a.get(chunk), places_b.get(chunk)) for chunk in {**places_b, **places_a})


def vector_difference(a: Vector, b: Vector) -> VectorDifference:
    """Computed in float64. The cosine with a vector of no length is 0, as in scikit-learn. Raises `ValueError` where the shapes differ
    or there are no elements.
    """
    if a.shape != b.shape or not a.size:
        raise ValueError(f"vectors of shapes {a.shape} and {b.shape} cannot be compared")
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    lengths = float(np.linalg.norm(wide_a) * np.linalg.norm(wide_b))
    cosine = float(wide_a @ wide_b) / lengths if lengths else 0.0
    return VectorDifference(float(np.max(np.abs(wide_a - wide_b))), min(max(cosine, -1.0), 1.0))


def overlap(a_hits: Sequence[Hit], b_hits: Sequence[Hit]) -> float:
    """Jaccard index of the two sets of chunk ids, |A ∩ B| / |A ∪ B| (Jaccard 1912, New Phytologist 11(2)): 1 where they are the same,
    also where both are empty, and 0 where they share nothing. Ranks do not count.
    """
    ids_a, ids_b = ({hit.chunk.id for hit in hits} for hits in (a_hits, b_hits))
    together = ids_a | ids_b
    return len(ids_a & ids_b) / len(together) if together else 1.0


def _stage_difference(name: StageName, a: Stage | None, b: Stage | None) -> StageDifference:
    return StageDifference(
        name=name,
        a=a.digest if a else None,
        b=b.digest if b else None,
        same=a is not None and b is not None and a.digest == b.digest,
        a_ms=a.duration_ms if a else None,
        b_ms=b.duration_ms if b else None,
        delta_ms=round(b.duration_ms - a.duration_ms, 3) if a and b else None,
    )


def _hit_difference(a: Place | None, b: Place | None) -> HitDifference:
    if a is None:
        return HitDifference(a, b, "entered", None)
    if b is None:
        return HitDifference(a, b, "left", None)
    return HitDifference(a, b, "stayed" if a.rank == b.rank else "moved", round(b.score - a.score, _SCORE_DECIMALS))


def _places(hits: Sequence[Hit], shown: int) -> dict[str, Place]:
    """A chunk that is there twice stands at its better rank."""
    places: dict[str, Place] = {}
    for rank, hit in enumerate(hits, start=1):
        places.setdefault(hit.chunk.id, Place(rank, hit.score, rank <= shown, hit.chunk))
    return places


def _part_difference(name: str, a: Any, b: Any) -> PartDifference:
    fields_a, fields_b = ({} if part is None else part.model_dump(mode="json") for part in (a, b))
    return PartDifference(name, _named(a), _named(b), field_differences(fields_a, fields_b, below=name))


def _named(part: _Part) -> str:
    match part:
        case None:
            return "none"
        case IndexRef():
            return part.version
        case Retrieval():
            return f"{part.mode} {short_id(part.digest)}"
        case Checks():
            return f"support {part.support}"
        case PromptRef():
            return f"{part.name}/{part.version} {short_id(part.digest)}"
        case CodeRef():
            return f"{part.version} {short_id(part.digest)}"
        case NamedDigest() | GeneratorRef() | RerankerRef():
            return f"{part.name} {short_id(part.digest)}"


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Scalar]]:
    if isinstance(value, Mapping):
        for name, found in value.items():
            yield from _leaves(found, f"{path}.{name}" if path else name)
    else:
        yield path, value


def _same(a: Scalar, b: Scalar) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)
