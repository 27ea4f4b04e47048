"""The verbs of drift, put together: records of a time → reference; records of a later time → report."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from rag_service.ask import Pipeline
from rag_service.canaries import Canary, ask_canary, read_canaries
from rag_service.catalog import Catalog
from rag_service.digests import digest_text
from rag_service.drift.canaries import CanaryAnswers, canary_answers, system_finding
from rag_service.drift.compare import Policy, compare
from rag_service.drift.folder import DriftFolder
from rag_service.drift.observation import Gathering, conversations
from rag_service.drift.reference import MOST, Reference, stored_observations, stored_vectors
from rag_service.drift.report import Report, Side, SystemFinding
from rag_service.errors import InvalidInput, Mismatch, NotFound, RagError
from rag_service.kept import Kept, RecordQuery
from rag_service.ports import Progress
from rag_service.question import Question
from rag_service.record import Receipt, Record
from rag_service.records import Records
from rag_service.release import NamedDigest, Release
from rag_service.settings import Settings
from rag_service.wiring.releases import open_release

_PAGE = 1000
_MOST_ROWS = 200_000
"""Looked through; of more records the newest count."""
_SEED = 20261126
_NO_RECORDS = "records are kept where RAG_RECORDS is not off; `rag-service trace list` shows them"


@dataclass(frozen=True, slots=True)
class Span:
    """A time: `since` counts to it, `until` no more."""

    since: datetime
    until: datetime

    def query(self) -> RecordQuery:
        return RecordQuery(since_ms=_ms(self.since), until_ms=_ms(self.until), limit=_PAGE)


@dataclass(frozen=True, slots=True)
class Gathered:
    gathering: Gathering
    side: Side
    distinct: int
    """Questions, before some of them were drawn."""


def drift_folder(settings: Settings, catalog: Catalog) -> DriftFolder:
    return DriftFolder(catalog.drift_folder(settings.name))


def reference_of_records(settings: Settings, catalog: Catalog, records: Records, span: Span, progress: Progress) -> Reference:
    """From what was asked in a time. Raises `NotFound` where nothing was."""
    release = _active(settings, catalog)
    found = _gathered(records, settings.name, span, release.encoder.digest, progress)
    if not found.gathering.sample().observations:
        raise NotFound(f"no answers of {settings.name} are recorded {_shown(span)}{_by_others(found)}", hint=_NO_RECORDS)
    return _reference(settings, release, "records", found.gathering, found.side)


def reference_of_questions(settings: Settings, catalog: Catalog, texts: Sequence[str], progress: Progress) -> Reference:
    """From what the active release answers to these questions now; nothing is recorded. Raises what opening it raises, or `InvalidInput`
    where it could answer none.
    """
    release = _active(settings, catalog)
    pipeline = open_release(settings, catalog, settings.name, release).pipeline
    gathering = Gathering(MOST, release.encoder.digest)
    progress.stage("ask", len(texts))
    for text in texts:
        try:
            gathering.add(_as_kept(pipeline.ask(Question(text))))
        except RagError:
            continue  # no traffic either: such a question is refused before it is recorded
        finally:
            progress.advance()
    if not gathering.sample().observations:
        raise InvalidInput("none of the questions could be asked", hint="write one question a line")
    return _reference(settings, release, "questions", gathering, _side(gathering, None, gathering.records))


def make_report(
    settings: Settings,
    catalog: Catalog,
    records: Records,
    reference: Reference,
    span: Span,
    progress: Progress,
    *,
    policy: Policy = Policy(),  # noqa: B008 - frozen
    ask_canaries: bool = True,
) -> Report:
    """Raises `Mismatch` for a reference of another encoder than the active release has, or a window in which only others answered, and
    `InvalidInput` for a window that is part of the reference.
    """
    release = _active(settings, catalog)
    reference.check_encoder(release.encoder.digest, release.encoder.name)
    _check_apart(reference, span)
    found = _gathered(records, settings.name, span, reference.encoder.digest, progress)
    sample = found.gathering.sample()
    if found.gathering.other_encoder and not sample.observations:
        raise Mismatch(
            f"all {found.gathering.other_encoder} answers {_shown(span)} were made with another encoder than reference {reference.id}: "
            "their vectors and scores cannot be compared",
            hint="wait for answers of the active release, or make a reference of those with `rag-service drift reference`",
        )
    progress.stage("compare", None)
    findings = compare(reference.sample(), sample, min_confidence=reference.min_confidence, policy=policy)
    system = _system(settings, catalog, release, reference, progress) if ask_canaries else _not_asked("they were not asked for")
    return Report(
        made_at=_iso(datetime.now(UTC)),
        index=settings.name,
        encoder=reference.encoder.digest,
        reference_id=reference.id,
        reference=reference.side,
        window=found.side,
        alpha=policy.alpha,
        draws=policy.draws,
        seed=policy.seed,
        least=policy.least,
        findings=findings,
        system=system,
        notes=_notes(reference, found),
    )


def keep_canary_answers(catalog: Catalog, name: str, records: Sequence[Record]) -> None:
    """What a release answers when it is first checked: what later answers of it are compared with. Raises `StorageFailed`."""
    if records:
        DriftFolder(catalog.drift_folder(name)).keep_canary_answers(canary_answers(records, _iso(datetime.now(UTC))))


def _active(settings: Settings, catalog: Catalog) -> Release:
    return catalog.release(settings.name, catalog.active_id(settings.name))


def _gathered(records: Records, name: str, span: Span, encoder: str, progress: Progress) -> Gathered:
    """Looks through the list of records first, which is quick, and reads of those that ask something else a random part."""
    rows, distinct = 0, dict[str, str]()
    for identifier, question in _rows(records, name, span):
        rows += 1
        distinct.setdefault(question, identifier)
    chosen = sorted(distinct.values(), reverse=True)
    if len(chosen) > MOST:
        chosen = sorted(random.Random(_SEED).sample(chosen, MOST), reverse=True)
    gathering = Gathering(MOST, encoder)
    progress.stage("read", len(chosen))
    for identifier in chosen:
        with suppress(NotFound):  # erased meanwhile
            gathering.add(records.show(identifier))
        progress.advance()
    return Gathered(gathering, _side(gathering, span, rows), len(distinct))


def _rows(records: Records, name: str, span: Span) -> Iterator[tuple[str, str]]:
    """Answer ids, newest first, and what tells questions apart in a list: their text, or nothing where it is not stored."""
    query, looked_at = span.query(), 0
    while looked_at < _MOST_ROWS:
        page = records.page(query)
        for listed in page.rows:
            if listed.row.index_name == name:
                yield listed.row.answer_id, listed.row.question or listed.row.answer_id
        looked_at += len(page.rows)
        if page.next_before is None:
            return
        query = RecordQuery(since_ms=query.since_ms, until_ms=query.until_ms, limit=_PAGE, before_seq=page.next_before)


def _side(gathering: Gathering, span: Span | None, records: int) -> Side:
    observations = gathering.sample().observations
    return Side(
        since=_iso(span.since) if span else "",
        until=_iso(span.until) if span else "",
        records=records,
        questions=len(observations),
        conversations=conversations(observations),
        releases=dict(Counter(seen.release for seen in observations).most_common()),
    )


def _reference(settings: Settings, release: Release, source: str, gathering: Gathering, side: Side) -> Reference:
    sample = gathering.sample()
    return Reference(
        made_at=_iso(datetime.now(UTC)),
        index=settings.name,
        source="records" if source == "records" else "questions",
        side=side,
        encoder=NamedDigest(name=release.encoder.name, digest=release.encoder.digest),
        min_confidence=release.retrieval.min_confidence,
        observations=stored_observations(sample),
        vectors=stored_vectors(sample),
    )


def _system(settings: Settings, catalog: Catalog, release: Release, reference: Reference, progress: Progress) -> SystemFinding:
    canaries = read_canaries(catalog.canaries_path(settings.name))
    if not canaries:
        return _not_asked("there are no canary questions: write some into canaries.jsonl")
    pipeline = open_release(settings, catalog, settings.name, release).pipeline
    asked = _asked(pipeline, canaries, progress)
    failed = [f"question {number} failed: {came.code}" for number, came in enumerate(asked, start=1) if isinstance(came, RagError)]
    answered = [came for came in asked if isinstance(came, Record)]
    if failed or not answered:
        why = f"{len(failed)} of {len(asked)} canary questions cannot be answered"
        return SystemFinding(state="alarm", why=why, release=release.id, asked=len(asked), changed=tuple(failed))
    now = canary_answers(answered, _iso(datetime.now(UTC)))
    folder = drift_folder(settings, catalog)
    own = folder.canary_answers(now.release)
    if own is None:
        folder.keep_canary_answers(now)
    return system_finding(now, own, _of_reference(folder, reference))


def _asked(pipeline: Pipeline, canaries: Sequence[Canary], progress: Progress) -> list[Record | RagError]:
    progress.stage("canaries", len(canaries))
    asked = []
    for canary in canaries:
        asked.append(ask_canary(pipeline, canary))
        progress.advance()
    return asked


def _of_reference(folder: DriftFolder, reference: Reference) -> CanaryAnswers | None:
    """Of the release that answered most of the questions of the reference."""
    most = next(iter(reference.side.releases), None)
    return folder.canary_answers(most) if most is not None else None


def _not_asked(why: str) -> SystemFinding:
    return SystemFinding(state="undefined", why=why)


def _check_apart(reference: Reference, span: Span) -> None:
    side = reference.side
    if side.since and _iso(span.since) < side.until and side.since < _iso(span.until):
        raise InvalidInput(
            f"the window begins {_iso(span.since)}, before the reference ends, {side.until}: it would be compared with itself",
            hint="let the window begin later, or name another reference",
        )


def _notes(reference: Reference, found: Gathered) -> tuple[str, ...]:
    gathering, side = found.gathering, found.side
    notes = []
    if found.distinct > gathering.records:
        notes.append(f"{gathering.records:,} of {found.distinct:,} different questions were drawn at random")
    if gathering.other_encoder:
        notes.append(f"{gathering.other_encoder:,} answers made with another encoder were left out")
    if gathering.unplaced:
        notes.append(f"{gathering.unplaced:,} follow-ups were left out: without texts nobody knows their conversation")
    if set(side.releases) != set(reference.side.releases) and side.releases:
        notes.append(
            "other releases answered than at the time of the reference: what became of the questions may be another for that, and not "
            "for the questions"
        )
    return tuple(notes)


def _by_others(found: Gathered) -> str:
    others = found.gathering.other_encoder
    return f" with the encoder of the active release ({others} with another)" if others else ""


def _shown(span: Span) -> str:
    return f"from {_iso(span.since)} to {_iso(span.until)}"


def _as_kept(record: Record) -> Kept:
    return Kept(record, "full", frozenset(), None, digest_text(record.question), Receipt(0, ""))


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def _iso(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
