"""A reference: the questions of a time that was well, without their texts, in a file that is named by its content.

    <index>/drift/references/<id>.json

It belongs to one encoder: vectors of two encoders have nothing to do with each other. Vectors can be turned back into much of their text
(Morris et al. 2023, arXiv 2310.06816), so a reference is as confidential as the records that it was made of, and outlives them.
"""

import base64
from collections import Counter
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from pydantic import Field

from rag_service.drift.observation import Observation, Sample, conversations
from rag_service.drift.report import Side, Source
from rag_service.errors import Damaged, Mismatch
from rag_service.release import NamedDigest, Release
from rag_service.stored import Addressed, Frozen

MOST = 1000
"""Distinct questions in a reference: 2 MB of vectors."""
_VECTOR_TYPE = np.dtype("<f4")


class StoredObservation(Frozen):
    conversation: str
    release: str
    scale: str
    question_chars: int | None
    language: str | None
    top_score: float | None
    score_gap: float | None
    confidence: float
    outcome: str | None
    answer_chars: int | None
    first_document: str | None
    instructed: bool | None


class StoredVectors(Frozen):
    dimension: int = Field(ge=0)
    rows: tuple[int, ...]
    """The observations that have a vector, ascending."""
    float32: str
    """Base64 of little-endian numbers, row after row."""


class Reference(Addressed):
    schema_: Literal["rag.drift-reference/v1"] = Field("rag.drift-reference/v1", alias="schema")
    made_at: str
    index: str
    source: Source
    side: Side
    encoder: NamedDigest
    min_confidence: float
    """Of the release that answered last: what counts as covered."""
    observations: tuple[StoredObservation, ...]
    vectors: StoredVectors

    def sample(self) -> Sample:
        """Raises `Damaged` where the vectors are not as many as they should be."""
        vectors = np.full((len(self.observations), self.vectors.dimension), np.nan, np.float32)
        try:
            read = np.frombuffer(base64.b64decode(self.vectors.float32, validate=True), _VECTOR_TYPE)
            vectors[list(self.vectors.rows)] = read.reshape(len(self.vectors.rows), self.vectors.dimension)
        except (ValueError, IndexError) as error:
            raise Damaged(f"reference {self.id} holds other vectors than it says", hint="make another reference") from error
        return Sample(tuple(Observation(**seen.model_dump()) for seen in self.observations), vectors)

    @property
    def of_traffic(self) -> bool:
        """False for questions of an evaluation, which nobody took for what is asked."""
        return self.source != "evaluation"

    def check_encoder(self, digest: str, name: str) -> None:
        """Raises `Mismatch` for another encoder."""
        if digest != self.encoder.digest:
            raise Mismatch(
                f"reference {self.id} was made with encoder {self.encoder.name} ({self.encoder.digest[7:19]}), and what is compared "
                f"with it with {name} ({digest[7:19]}): their vectors and scores cannot be compared",
                hint="make a reference anew with `rag-service drift reference`, from records of this encoder",
            )


def reference_of(index: str, release: Release, source: Source, sample: Sample, side: Side) -> Reference:
    """Made now. `release` is what answers from now on."""
    return Reference(
        made_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        index=index,
        source=source,
        side=side,
        encoder=NamedDigest(name=release.encoder.name, digest=release.encoder.digest),
        min_confidence=release.retrieval.min_confidence,
        observations=stored_observations(sample),
        vectors=stored_vectors(sample),
    )


def side_of(sample: Sample, *, records: int, since: str = "", until: str = "") -> Side:
    return Side(
        since=since,
        until=until,
        records=records,
        questions=len(sample.observations),
        conversations=conversations(sample.observations),
        releases=dict(Counter(seen.release for seen in sample.observations).most_common()),
    )


def stored_observations(sample: Sample) -> tuple[StoredObservation, ...]:
    return tuple(StoredObservation(**asdict(seen)) for seen in sample.observations)


def stored_vectors(sample: Sample) -> StoredVectors:
    rows = np.flatnonzero(sample.has_vector)
    packed = base64.b64encode(sample.vectors[rows].astype(_VECTOR_TYPE).tobytes()).decode()
    return StoredVectors(dimension=sample.vectors.shape[1], rows=tuple(rows.tolist()), float32=packed)
