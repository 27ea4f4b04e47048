"""The noun: what one record says for drift. Numbers, names of categories and of documents; no text.

A question that was asked again counts once, as it was asked last: a probe that asks every minute, or a front end that repeats, would
otherwise be the traffic. What counts as the same is what was searched for, so that "And why?" in two conversations is two questions.
Questions of one conversation stay together; which they are is known by the key that asked and by how the conversation began. Keys are
not taken for one caller each: behind that of a front end are thousands of people.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np

from rag_service.digests import digest_json, digest_text
from rag_service.drift.permuting import Booleans
from rag_service.drift.vectors import Vectors
from rag_service.kept import Kept
from rag_service.languages import language_of
from rag_service.record import Record, Search
from rag_service.release import Release
from rag_service.types import Vector

ANSWERED = "answered"
UNKNOWN_LANGUAGE = "not known"


@dataclass(frozen=True, slots=True)
class Observation:
    conversation: str
    """A name that says nothing; the same for questions of one conversation."""
    release: str
    scale: str
    """What makes scores comparable: 12 hex digits over the settings of retrieval and the reranker."""
    question_chars: int | None
    """None where texts are not stored; so is the language then."""
    language: str | None
    top_score: float | None
    """None where nothing was found."""
    score_gap: float | None
    """Best score less the second; None with fewer than two passages."""
    confidence: float
    """That the documents hold an answer."""
    outcome: str | None
    """`answered`, or why not; None for a search."""
    answer_chars: int | None
    """None without an answer, or where texts are not stored."""
    first_document: str | None
    instructed: bool | None
    """Whether a passage of the prompt read like instructions to a language model; None for a search."""


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Distinct questions."""

    observations: tuple[Observation, ...]
    vectors: Vectors
    """(observations, dimension); not a number where none was stored, and of dimension 0 where none was at all."""

    @property
    def has_vector(self) -> Booleans:
        """(observations,)"""
        if self.vectors.shape[1] == 0:
            return np.zeros(len(self.observations), np.bool_)
        there: Booleans = ~np.isnan(self.vectors[:, 0])
        return there


@dataclass(slots=True)
class Gathering:
    """Takes records, newest first, and keeps what they say. `encoder` is the digest that vectors must be of; None takes the first's."""

    most: int
    """Distinct questions that are kept; the newest."""
    encoder: str | None = None
    records: int = 0
    other_encoder: int = 0
    """Records made with another encoder, which nothing here can be compared with."""
    unplaced: int = 0
    """Follow-ups of which nobody knows the conversation, because texts are not stored."""
    _seen: set[str] = field(default_factory=set)
    _conversations: dict[str, str] = field(default_factory=dict)
    _observations: list[Observation] = field(default_factory=list)
    _vectors: list[Vectors] = field(default_factory=list)

    @property
    def full(self) -> bool:
        return len(self._observations) >= self.most

    def add(self, kept: Kept) -> None:
        record, stored = kept.record, kept.content == "full"
        self.records += 1
        self.encoder = self.encoder or record.lineage.embedder.digest
        if record.lineage.embedder.digest != self.encoder:
            self.other_encoder += 1
        elif record.history and not stored:
            self.unplaced += 1
        elif (searched := _searched(record, kept.question_digest)) not in self._seen and not self.full:
            self._seen.add(searched)
            self._observations.append(_observed(record, self._name(kept), stored=stored))
            self._vectors.append(record.query_vector)

    def add_search(self, kept: Kept, found: Search, vector: Vector) -> None:
        """What the question of a record, stored with its texts, finds now; `vector` is that of its query."""
        self.records += 1
        if (searched := _searched(kept.record, kept.question_digest)) not in self._seen and not self.full:
            self._seen.add(searched)
            self._observations.append(_observed_search(kept.record, found, self._name(kept)))
            self._vectors.append(vector)

    def _name(self, kept: Kept) -> str:
        return self._conversations.setdefault(_conversation(kept), str(len(self._conversations) + 1))

    def sample(self) -> Sample:
        dimension = max((vector.size for vector in self._vectors), default=0)
        vectors = np.full((len(self._vectors), dimension), np.nan, np.float32)
        for row, vector in enumerate(self._vectors):
            if vector.size:
                vectors[row] = vector
        return Sample(tuple(self._observations), vectors)


def gathered(records: Iterable[Kept], *, most: int, encoder: str | None = None) -> Gathering:
    gathering = Gathering(most, encoder)
    for kept in records:
        gathering.add(kept)
    return gathering


def conversations(observations: Sequence[Observation]) -> int:
    return len({observation.conversation for observation in observations})


def _searched(record: Record, question_digest: str) -> str:
    """The digest of the question's vector, which is the same for the same text in all contents of a ledger."""
    return next((stage.digest for stage in record.stages if stage.name == "embed"), question_digest)


def _conversation(kept: Kept) -> str:
    first = next((turn.content for turn in kept.record.history if turn.role == "user"), None)
    began = kept.question_digest if first is None else digest_text(first)
    return f"{kept.key_id} {began}"


def _observed(record: Record, conversation: str, *, stored: bool) -> Observation:
    release, scores = record.lineage.release, [hit.score for hit in record.hits]
    return Observation(
        conversation=conversation,
        release=release.id,
        scale=scale_of(release),
        question_chars=len(record.question) if stored else None,
        language=spoken(record.question) if stored else None,
        top_score=scores[0] if scores else None,
        score_gap=scores[0] - scores[1] if len(scores) > 1 else None,
        confidence=record.confidence,
        outcome=record.abstain_reason or ANSWERED,
        answer_chars=len(record.answer) if stored and record.answer is not None else None,
        first_document=str(record.hits[0].chunk.document_id) if record.hits else None,
        instructed=any(notice.code == "passage_instructs" for notice in record.notices),
    )


def _observed_search(record: Record, found: Search, conversation: str) -> Observation:
    release, scores = found.attempt.lineage.release, [hit.score for hit in found.hits]
    return Observation(
        conversation=conversation,
        release=release.id,
        scale=scale_of(release),
        question_chars=len(record.question),
        language=spoken(record.question),
        top_score=scores[0] if scores else None,
        score_gap=scores[0] - scores[1] if len(scores) > 1 else None,
        confidence=found.confidence,
        outcome=None,
        answer_chars=None,
        first_document=str(found.hits[0].chunk.document_id) if found.hits else None,
        instructed=None,
    )


def spoken(question: str) -> str:
    return language_of(question) or UNKNOWN_LANGUAGE


def scale_of(release: Release) -> str:
    """Of what changes a score; how many passages are taken, and when the service abstains, does not."""
    retrieval = release.retrieval.model_dump(mode="json", exclude={"top_k", "min_confidence"})
    reranker = release.reranker.model_dump(mode="json") if release.reranker else None
    return digest_json({"retrieval": retrieval, "reranker": reranker}).removeprefix("sha256:")[:12]
