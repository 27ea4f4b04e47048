"""The verbs of drift, put together: records of a time → reference; records of a later time → report."""

import math
import random
import time
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
from rag_service.drift.observation import Gathering
from rag_service.drift.reference import MOST, Reference, reference_of, side_of
from rag_service.drift.report import Report, Side, Source, SystemFinding
from rag_service.errors import InvalidInput, Mismatch, NotFound, RagError
from rag_service.kept import Kept, RecordQuery
from rag_service.ports import Progress
from rag_service.question import Question
from rag_service.record import Receipt, Record
from rag_service.records import Records
from rag_service.release import Release
from rag_service.settings import Settings
from rag_service.wiring.releases import open_release

_PAGE = 1000
_MOST_ROWS = 200_000
"""Looked through; of more records the newest count."""
_SEED = 20261126
_SOURCE_NOTES: dict[Source, str] = {
    "evaluation": "the reference holds questions of an evaluation, which are no traffic: what differs says how far both are apart, and is "
    "no alarm; `rag-service drift reference` makes one of traffic",
    "searches": "the reference holds what was asked before this encoder, searched for anew: what became of those questions is not known",
}
_NO_RECORDS = "records are kept where RAG_RECORDS is not off; `rag-service trace list` shows them"


@dataclass(frozen=True, slots=True)
class Span:
    """A time: `since` counts to it, `until` no more."""

    since: datetime
    until: datetime

    def query(self) -> RecordQuery:
        return RecordQuery(since_ms=_ms(self.since), until_ms=_ms(self.until), limit=_PAGE)

    @property
    def shown(self) -> tuple[str, str]:
        """UTC, ISO 8601."""
        return _iso(self.since), _iso(self.until)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Records to read: one for each question, or a random part of them."""

    identifiers: tuple[str, ...]
    """Answer ids, newest first."""
    records: int
    distinct: int
    """Questions, before some of them were drawn."""


@dataclass(frozen=True, slots=True)
class Gathered:
    gathering: Gathering
    side: Side
    distinct: int


def drift_folder(settings: Settings, catalog: Catalog) -> DriftFolder:
    return DriftFolder(catalog.drift_folder(settings.name))


def reference_of_records(settings: Settings, catalog: Catalog, records: Records, span: Span, progress: Progress) -> Reference:
    """From what was asked in a time. Raises `NotFound` where nothing was."""
    release = _active(settings, catalog)
    found = gathered(records, settings.name, span, release.encoder.digest, progress)
    if not found.gathering.sample().observations:
        raise NotFound(f"no answers of {settings.name} are recorded {_shown(span)}{_by_others(found)}", hint=_NO_RECORDS)
    return reference_of(settings.name, release, "records", found.gathering.sample(), found.side)


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
    sample = gathering.sample()
    if not sample.observations:
        raise InvalidInput("none of the questions could be asked", hint="write one question a line")
    return reference_of(settings.name, release, "questions", sample, side_of(sample, records=gathering.records))


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
    found = gathered(records, settings.name, span, reference.encoder.digest, progress)
    sample = found.gathering.sample()
    if found.gathering.other_encoder and not sample.observations:
        raise Mismatch(
            f"all {found.gathering.other_encoder} answers {_shown(span)} were made with another encoder than reference {reference.id}: "
            "their vectors and scores cannot be compared",
            hint="wait for answers of the active release, or make a reference of those with `rag-service drift reference`",
        )
    progress.stage("compare", None)
    findings = compare(reference.sample(), sample, min_confidence=reference.min_confidence, policy=policy, traffic=reference.of_traffic)
    system = _system(settings, catalog, release, reference, progress) if ask_canaries else _not_asked("they were not asked for")
    return Report(
        made_at=_iso(datetime.now(UTC)),
        index=settings.name,
        encoder=reference.encoder.digest,
        reference_id=reference.id,
        source=reference.source,
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


def gathered(records: Records, name: str, span: Span, encoder: str, progress: Progress, *, ends_s: float = math.inf) -> Gathered:
    """What was asked in a time and answered with an encoder. At `ends_s`, a `time.monotonic()` instant, the oldest are left out."""
    picked = chosen(records, name, span, ends_s=ends_s)
    gathering = Gathering(MOST, encoder)
    for kept in shown(records, picked, progress, ends_s=ends_s):
        gathering.add(kept)
    since, until = span.shown
    side = side_of(gathering.sample(), records=picked.records, since=since, until=until)
    return Gathered(gathering, side, picked.distinct)


def chosen(records: Records, name: str, span: Span, *, ends_s: float = math.inf) -> Chosen:
    """Looks through the list of records alone, which is quick."""
    rows, distinct = 0, dict[str, str]()
    for identifier, question in _rows(records, name, span, ends_s):
        rows += 1
        distinct.setdefault(question, identifier)
    identifiers = sorted(distinct.values(), reverse=True)
    if len(identifiers) > MOST:
        identifiers = sorted(random.Random(_SEED).sample(identifiers, MOST), reverse=True)
    return Chosen(tuple(identifiers), rows, len(distinct))


def shown(records: Records, picked: Chosen, progress: Progress, *, ends_s: float = math.inf) -> Iterator[Kept]:
    progress.stage("read", len(picked.identifiers))
    for identifier in picked.identifiers:
        if time.monotonic() >= ends_s:
            return
        with suppress(NotFound):  # erased meanwhile
            yield records.show(identifier)
        progress.advance()


def _rows(records: Records, name: str, span: Span, ends_s: float) -> Iterator[tuple[str, str]]:
    """Answer ids, newest first, and what tells questions apart in a list: their text, or nothing where it is not stored."""
    query, looked_at = span.query(), 0
    while looked_at < _MOST_ROWS and time.monotonic() < ends_s:
        page = records.page(query)
        for listed in page.rows:
            if listed.row.index_name == name:
                yield listed.row.answer_id, listed.row.question or listed.row.answer_id
        looked_at += len(page.rows)
        if page.next_before is None:
            return
        query = RecordQuery(since_ms=query.since_ms, until_ms=query.until_ms, limit=_PAGE, before_seq=page.next_before)


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
    notes = [_SOURCE_NOTES[reference.source]] if reference.source in _SOURCE_NOTES else []
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
