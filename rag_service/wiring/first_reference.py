"""A reference of drift that comes by itself, with an activation: its encoder had none yet, and enough was asked before.

From answers that were made with the encoder; where there are too few, from what was asked of others, searched for anew, so that drift is
watched from the first day of an encoder on. Bounded in time: what there was no time for is left out, the oldest first.
"""

import time
from datetime import UTC, datetime, timedelta

from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.drift.compare import LEAST
from rag_service.drift.folder import DriftFolder
from rag_service.drift.observation import Gathering
from rag_service.drift.reference import MOST, Reference, reference_of, side_of
from rag_service.drift.report import Source
from rag_service.errors import RagError
from rag_service.kept import Kept
from rag_service.ports import Progress
from rag_service.question import Question
from rag_service.records import Records
from rag_service.settings import Settings
from rag_service.wiring.drifting import Span, chosen, gathered, shown

DAYS = 28
WITHIN_S = 10.0


def first_reference(
    settings: Settings, catalog: Catalog, records: Records, pipeline: Pipeline, progress: Progress, *, within_s: float = WITHIN_S
) -> Reference | None:
    """Of what was asked in the last four weeks, for the encoder of an opened release; not stored yet. None where there is one already, too
    few conversations were had, or `RAG_DRIFT_REFERENCE` is off. Raises what reading the records raises.
    """
    if not settings.drift_reference or settings.records == "off":
        return None
    release, name = pipeline.lineage.release, pipeline.lineage.index.name
    there = _sources(DriftFolder(catalog.drift_folder(name)), release.encoder.digest)
    if there & {"records", "questions"}:
        return None
    now, ends_s = datetime.now(UTC), time.monotonic() + within_s
    span = Span(now - timedelta(days=DAYS), now)
    found = gathered(records, name, span, release.encoder.digest, progress, ends_s=ends_s)
    if found.side.conversations >= LEAST:
        return reference_of(name, release, "records", found.gathering.sample(), found.side)
    if "searches" in there:
        return None
    return _searched(records, name, span, pipeline, progress, ends_s)


def keep_first_reference(
    settings: Settings, catalog: Catalog, records: Records, pipeline: Pipeline, progress: Progress
) -> Reference | None:
    """The same, stored. Raises `StorageFailed`, too."""
    made = first_reference(settings, catalog, records, pipeline, progress)
    if made is not None:
        DriftFolder(catalog.drift_folder(made.index)).add(made)
    return made


def _sources(folder: DriftFolder, encoder: str) -> set[Source]:
    return {reference.source for reference in folder.references() if reference.encoder.digest == encoder}


def _searched(records: Records, name: str, span: Span, pipeline: Pipeline, progress: Progress, ends_s: float) -> Reference | None:
    picked = chosen(records, name, span, ends_s=ends_s)
    if len(picked.identifiers) < LEAST:
        return None
    gathering = Gathering(MOST)
    for kept in shown(records, picked, progress, ends_s=ends_s):
        if kept.content == "full":
            _search(kept, pipeline, gathering)
    since, until = span.shown
    side = side_of(gathering.sample(), records=picked.records, since=since, until=until)
    if side.conversations < LEAST:
        return None
    return reference_of(name, pipeline.lineage.release, "searches", gathering.sample(), side)


def _search(kept: Kept, pipeline: Pipeline, gathering: Gathering) -> None:
    """As it was searched for then: a follow-up by what it was turned into, and within what the caller was allowed to see."""
    record, parameters = kept.record, kept.record.attempt.parameters
    try:
        found = pipeline.search(Question(record.query, filters=parameters.filters, access=parameters.access))
        vector = pipeline.embedder.embed_query(found.query)
    except RagError:
        return  # what this release cannot search for is no traffic of it
    gathering.add_search(kept, found, vector)
