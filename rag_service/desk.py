"""Where a server takes questions: finds the release that they are for, looks whether it answered them before, and asks it.

`admit` and `recall` are quick and meant for the event loop; everything else computes, and belongs into a thread.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from rag_service.answer_cache import AnswerCache
from rag_service.archive import Archive
from rag_service.ask import Pipeline
from rag_service.citations import CitedAnswer, events_of
from rag_service.errors import Forbidden, InvalidInput, NotFound, RagError
from rag_service.filters import Condition, Filter, both
from rag_service.history import History, Transition
from rag_service.pinned import Pinned
from rag_service.ports import ChunkTable
from rag_service.question import Question
from rag_service.record import Found, Record
from rag_service.recording import Recorder
from rag_service.records import Records
from rag_service.release import Release
from rag_service.serving import Service
from rag_service.shelf import Shelf
from rag_service.telling import Tell
from rag_service.types import Chunk, ChunkId, DocumentFacts, DocumentId


@dataclass(frozen=True, slots=True)
class Pin:
    """Which release a request wants: the active one where both are None."""

    release: str | None = None
    index_version: str | None = None

    @property
    def anything(self) -> bool:
        return self.release is None and self.index_version is None

    def fits(self, pipeline: Pipeline) -> bool:
        lineage = pipeline.lineage
        return self.release in {None, lineage.release.id} and self.index_version in {None, lineage.index.version}


@dataclass(frozen=True, slots=True)
class Switched:
    release: Release
    transition: Transition | None
    """None where it was served already."""
    differences: tuple[str, ...]
    """Parts of the release that were other when it was made: what answers is then another release."""


class Switching(Protocol):
    """Changes what is served, once every check has passed, and knows what was. Takes about a second."""

    def activate(self, release: str, *, who: str, why: str, expected: str | None) -> Switched:
        """Raises `NotFound`, `Conflict`, or what the failed check raises."""

    def roll_back(self, release: str | None, *, who: str, why: str, expected: str | None) -> Switched:
        """To the release that was served before, or to `release`. Raises as `activate`."""

    def history(self) -> History: ...


class Desk:
    """`release_of_version` gives the id of the release that serves an index version, or raises `NotFound`."""

    def __init__(
        self,
        service: Service,
        *,
        cache: AnswerCache,
        pinned: Pinned,
        archive: Archive,
        release_of_version: Callable[[str], str],
        recorder: Recorder,
        records: Records,
        shelf: Shelf | None = None,
        switching: Switching | None = None,
    ) -> None:
        self.service = service
        self.cache = cache
        self.recorder = recorder
        self.records = records
        self.shelf = shelf
        self.switching = switching
        self._pinned = pinned
        self._archive = archive
        self._release_of_version = release_of_version

    @property
    def active_release(self) -> str | None:
        """Id of what answers now."""
        current = self.service.current
        return current.lineage.release.id if current else None

    def admit(self, pin: Pin, access: Filter | None = None) -> Pipeline | None:
        """The pipeline for a request, or None where it has to be opened first.

        Raises `NotReady`, `ShuttingDown`, or `Forbidden` where `access` is limited and another release than the active one is asked
        for: its documents have the labels of its time, and what was restricted since would be readable in it.
        """
        active = self.service.pin()
        if pin.fits(active):
            return active
        if access is not None:
            raise Forbidden("this key sees a part of the documents, and that only in the active release", hint="leave out the pin")
        return self._pinned.get(pin.release) if pin.release is not None else None

    def open(self, pin: Pin, *, deadline_s: float | None) -> Pipeline:
        """Takes about a second. Raises `NotFound`, `InvalidInput` where the two parts of the pin do not fit, or what opening raises."""
        release_id = pin.release
        if release_id is None:
            release_id = self._release_of_version(pin.index_version or "")
        pipeline = self._pinned.open(release_id, deadline_s=deadline_s)
        if pin.index_version not in {None, pipeline.lineage.index.version}:
            raise InvalidInput(
                f"release {release_id} serves index version {pipeline.lineage.index.version}, not {pin.index_version}",
                hint="name only one of release and index_version",
                param="index_version",
            )
        return pipeline

    def recall(self, pipeline: Pipeline, question: Question) -> Record | None:
        """The same question's earlier answer, as a record of its own."""
        return self.cache.recall(pipeline, question)

    def ask(self, pipeline: Pipeline, question: Question, *, use_cache: bool, tell: Tell | None = None) -> Record:
        """Raises what `Pipeline.ask` raises."""
        if use_cache and (known := self._recalled(pipeline, question)) is not None:
            if tell is not None:
                retell(known, tell)
            return known
        record = pipeline.ask(question, tell)
        if use_cache:
            self.cache.keep(pipeline, question, record)
        return record

    def ask_many(self, pipeline: Pipeline, questions: Sequence[Question], *, use_cache: bool) -> list[Record | RagError]:
        """In the order asked. Only what is not known yet is embedded, in one call, and answered."""
        known = [self._recalled(pipeline, question) if use_cache else None for question in questions]
        answers = iter(pipeline.ask_many([question for question, found in zip(questions, known, strict=True) if found is None]))
        results = [found if found is not None else next(answers) for found in known]
        for question, result in zip(questions, results, strict=True):
            if use_cache and isinstance(result, Record) and result.repeats is None:
                self.cache.keep(pipeline, question, result)
        return results

    def chunk(self, identifier: str, *, version: str | None, access: Filter | None) -> tuple[Chunk, str]:
        """The chunk and the index version it is from; without `version`, from what answers now or else the newest that has it."""
        active = self.service.current
        if active is not None and version in {None, active.lineage.index.version}:
            found = active.chunks.chunk(ChunkId(identifier))
            if found is not None and (access is None or access.allows(found, found.document_id)):
                return found, active.lineage.index.version
            if version is not None:
                raise NotFound(f"there is no chunk {identifier} in index version {version}")
        chunk, found_in = self._archive.chunk(ChunkId(identifier), version=version, access=access)
        if access is not None and active is not None and not len(active.chunks.select(_this_document(access, chunk.document_id))):
            # Its labels have changed since, or it is gone: an old version must not show what the active one would not.
            raise NotFound(f"there is no chunk {identifier} in the index")
        return chunk, found_in

    def document(self, identifier: str, *, version: str | None, access: Filter | None) -> tuple[DocumentFacts, ChunkTable, str]:
        """The document, the chunks it is cut into, and the index version it is from; without `version` what answers now. Raises
        `NotFound`, also for a document that `access` does not allow now.
        """
        active = self.service.pin()
        served = active.lineage.index.version
        chunks = active.chunks if version in {None, served} else self._archive.table(version or "")
        found = chunks.document(DocumentId(identifier))
        if found is None or (access is not None and not len(active.chunks.select(_this_document(access, identifier)))):
            raise NotFound(f"there is no document {identifier!r} in index version {version or served}")
        return found, chunks, version or served

    def _recalled(self, pipeline: Pipeline, question: Question) -> Record | None:
        try:
            return self.cache.recall(pipeline, question)
        except RagError:
            return None  # asking says what is wrong with it, and how far it came


def _this_document(access: Filter, document_id: str) -> Filter:
    return both(access, Filter((Condition("document_id", "eq", document_id),))) or access


def retell(record: Record, tell: Tell) -> None:
    """The events of an answer that is there already."""
    tell(Found(record.answer_id, record.attempt, record.query, record.hits))
    if record.answer is not None:
        for event in events_of(CitedAnswer(record.answer, record.citations, ())):
            tell(event)
