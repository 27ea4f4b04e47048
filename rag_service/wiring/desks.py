"""What a server answers from, put together: the active release, those beside it, earlier answers, and the chunks of old versions."""

import logging
import os
from collections.abc import Callable

from rag_service.answer_cache import AnswerCache
from rag_service.archive import Archive
from rag_service.ask import Pipeline
from rag_service.catalog import Catalog
from rag_service.deployment import Deployment
from rag_service.desk import Desk
from rag_service.errors import NotFound, RagError, ReleaseUnavailable
from rag_service.kept import Retention
from rag_service.opened import Opened, Report
from rag_service.pinned import Pinned
from rag_service.ports import Ledger
from rag_service.record import Lineage
from rag_service.recording import Recorder
from rag_service.records import Records
from rag_service.release import Release
from rag_service.serving import Service
from rag_service.settings import Settings
from rag_service.shelf import Shelf
from rag_service.wiring.activating import IndexSwitching
from rag_service.wiring.encoders import Encoders
from rag_service.wiring.generators import generator_spec
from rag_service.wiring.releases import deployment_of, open_chunks, open_release, remember
from rag_service.wiring.replaying import Artefacts
from rag_service.wiring.stores import open_ledger

logger = logging.getLogger("rag_service.wiring")

_CONCURRENT_REMOTE = 64
"""Answers of a provider's model: they wait for the network, not for a core."""
_QUEUE_PER_SLOT = 4


def open_desk(settings: Settings, catalog: Catalog) -> Desk:
    """Opens nothing yet: `desk.service.start` does."""
    deployment, name, encoders = deployment_of(settings), settings.name, Encoders(settings, catalog)

    def open_active(release_id: str, report: Report) -> Opened:
        release = catalog.release(name, release_id)
        opened = open_release(
            settings, catalog, name, release, deployment=deployment, report=report, encoders=encoders, verify=settings.verify
        )
        if opened.differences:
            remember(catalog, name, opened)
        return opened

    patient = catalog.shares or settings.qdrant_url is not None
    recorder, service = recorder_of(settings), Service(catalog.follow(name), open_active, patient=patient)
    records = records_of(settings, catalog, recorder.ledger, deployment=deployment, active=lambda: service.current, encoders=encoders)
    return Desk(
        service,
        cache=AnswerCache(settings.cache_mib * 2**20),
        pinned=Pinned(_opener(settings, catalog, deployment, encoders), most=settings.pinned_releases),
        archive=Archive(lambda: catalog.versions(name)[::-1], lambda version: open_chunks(catalog, name, version)),
        release_of_version=lambda version: catalog.release_of_version(name, version),
        recorder=recorder,
        records=records,
        shelf=Shelf(catalog, name),
        switching=IndexSwitching(settings, catalog, records),
    )


def records_of(
    settings: Settings,
    catalog: Catalog,
    ledger: Ledger | None,
    *,
    deployment: Deployment,
    active: Callable[[], Pipeline | None] = lambda: None,
    encoders: Encoders | None = None,
) -> Records:
    artefacts = Artefacts(settings, catalog, deployment, active=active, encoders=encoders)
    return Records(ledger, active=active, open_release=artefacts.open, missing=artefacts.missing, deployment=deployment)


def recorder_of(settings: Settings) -> Recorder:
    """Opens nothing yet."""
    days, mib = settings.ledger_max_days, settings.ledger_max_mib
    return Recorder(
        None if settings.records == "off" else open_ledger(settings),
        content="digest" if settings.records == "digest" else "full",
        strict=settings.ledger_strict,
        retention=Retention(max_age_s=days * 86_400 if days else None, max_bytes=mib * 2**20 if mib else None),
    )


def recorded_lineages(settings: Settings) -> list[Lineage]:
    """Of the records that are kept; none where there is no ledger. Raises what reading it raises: then nobody knows what they need."""
    try:
        return open_ledger(settings).lineages()
    except NotFound:
        return []


def _opener(settings: Settings, catalog: Catalog, deployment: Deployment, encoders: Encoders) -> Callable[[str], Pipeline]:
    def open_pinned(release_id: str) -> Pipeline:
        release = catalog.release(settings.name, release_id)
        try:
            opened = open_release(settings, catalog, settings.name, release, deployment=deployment, encoders=encoders)
        except RagError as error:
            logger.warning("release %s cannot be opened: %s", release_id, error.message)  # with its paths, which clients do not see
            raise ReleaseUnavailable(
                f"release {release_id} cannot be opened any more ({error.code})", hint="the log has the details", param="release"
            ) from error
        if opened.differences:
            parts = " and ".join(opened.differences)
            raise ReleaseUnavailable(
                f"release {release_id} was made with other {parts} than run here", hint="an answer would not be its own", param="release"
            )
        return opened.pipeline

    return open_pinned


def max_concurrent(settings: Settings, release: Release | None) -> int:
    """Answers that one worker makes at once: as set, otherwise its share of the cores, or many where they wait for a provider's model.

    Without a release, as what is set would make one.
    """
    if settings.max_concurrent is not None:
        return settings.max_concurrent
    spec = release.generator.spec if release is not None else generator_spec(settings)
    remote = spec != "extractive" and not spec.startswith("llamacpp:")
    return _CONCURRENT_REMOTE if remote else max(len(os.sched_getaffinity(0)) // settings.workers, 1)


def max_queue(settings: Settings, concurrent: int) -> int:
    return _QUEUE_PER_SLOT * concurrent if settings.max_queue is None else settings.max_queue
