"""What was evaluated, as a reference of drift: for a release that is promoted before anybody asked it or its encoder anything.

Questions of an evaluation are no traffic, and the reference says so: what differs from it is never an alarm. It is used until there is one
of traffic.
"""

from collections.abc import Sequence

import numpy as np

from eval.results import Row
from eval.sample import Sample as Asked
from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.drift.compare import LEAST
from rag_service.drift.folder import DriftFolder
from rag_service.drift.observation import ANSWERED, Observation, Sample, scale_of, spoken
from rag_service.drift.reference import MOST, Reference, reference_of, side_of
from rag_service.release import Release
from rag_service.settings import Settings
from rag_service.wiring.desks import records_of
from rag_service.wiring.first_reference import first_reference
from rag_service.wiring.releases import deployment_of
from rag_service.wiring.stores import open_ledger


class _Silent:
    def stage(self, name: str, total: int | None) -> None: ...

    def advance(self, amount: int = 1) -> None: ...


def reference_at_promotion(rows: Sequence[Row], settings: Settings, catalog: Catalog, pipeline: Pipeline) -> Reference | None:
    """Of traffic where there is enough, as at every activation; else of what was evaluated, where nothing is there yet. Not stored."""
    if not settings.drift_reference:
        return None
    name, encoder = pipeline.lineage.index.name, pipeline.lineage.release.encoder.digest
    records = records_of(settings, catalog, open_ledger(settings), deployment=deployment_of(settings))
    made = first_reference(settings, catalog, records, pipeline, _Silent())
    if made is not None or any(one.encoder.digest == encoder for one in DriftFolder(catalog.drift_folder(name)).references()):
        return made
    return evaluated(rows, pipeline)


def evaluated(rows: Sequence[Row], pipeline: Pipeline) -> Reference | None:
    """What came of the questions, as the run holds it; only their vectors are made anew. None for fewer than can be compared."""
    taken: dict[str, Asked] = {}
    for row in rows:
        if row.sample.status in {"answered", "abstained"} and len(taken) < MOST:
            taken.setdefault(row.question.question, row.sample)
    if len(taken) < LEAST:
        return None
    release = pipeline.lineage.release
    observations = [_observed(str(number), text, asked, release) for number, (text, asked) in enumerate(taken.items(), start=1)]
    vectors = np.stack([pipeline.embedder.embed_query(text) for text in taken])
    sample = Sample(tuple(observations), vectors)
    return reference_of(pipeline.lineage.index.name, release, "evaluation", sample, side_of(sample, records=len(rows)))


def _observed(conversation: str, question: str, asked: Asked, release: Release) -> Observation:
    scores = [hit.score for hit in asked.hits]
    return Observation(
        conversation=conversation,
        release=release.id,
        scale=scale_of(release),
        question_chars=len(question),
        language=spoken(question),
        top_score=scores[0] if scores else None,
        score_gap=scores[0] - scores[1] if len(scores) > 1 else None,
        confidence=asked.confidence or 0.0,
        outcome=asked.abstain_reason or ANSWERED,
        answer_chars=None if asked.answer is None else len(asked.answer),
        first_document=asked.hits[0].document_id if asked.hits else None,
        instructed=any(notice.code == "passage_instructs" for notice in asked.notices),
    )
