"""What is so at the moment of a scrape: gauges, and which release answers."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import get_args

from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from rag_service.record import Lineage
from rag_service.telemetry.metric_catalogue import CATALOGUE
from rag_service.types import SkipReason

logger = logging.getLogger("rag_service.telemetry")

_BY_NAME = {entry.name: entry for entry in CATALOGUE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What gauges show. Called at each scrape, in the thread that serves it; must be quick. `lineage` is None while none answers."""

    ready: Callable[[], bool]
    in_flight: Callable[[], int]
    concurrency_limit: Callable[[], int]
    queue_depth: Callable[[], int]
    queue_limit: Callable[[], int]
    open_streams: Callable[[], int]
    cache_bytes: Callable[[], int]
    activation_failed: Callable[[], bool]
    lineage: Callable[[], Lineage | None]
    skipped: Callable[[], Mapping[str, int]]
    """Inputs that the build of the index version left out, by reason."""


class Live(Collector):
    """Gauges that are read when they are asked for, so that what is gone has no series left behind."""

    def __init__(self, watched: Watched) -> None:
        self._watched = watched

    def collect(self) -> Iterator[Metric]:
        watched = self._watched
        gauges: dict[str, Callable[[], float]] = {
            "rag_ready": watched.ready,
            "rag_in_flight": watched.in_flight,
            "rag_concurrency_limit": watched.concurrency_limit,
            "rag_queue_depth": watched.queue_depth,
            "rag_queue_limit": watched.queue_limit,
            "rag_open_streams": watched.open_streams,
            "rag_cache_bytes": watched.cache_bytes,
            "rag_activation_failed": watched.activation_failed,
        }
        for name, read in gauges.items():
            try:
                yield _gauge(name, float(read()))
            except Exception:
                logger.exception("%s cannot be read; the other metrics can", name)
        try:
            lineage = watched.lineage()
            yield from _of_lineage(lineage, watched.skipped()) if lineage else ()
        except Exception:
            logger.exception("what answers now cannot be read; the other metrics can")


def _of_lineage(lineage: Lineage, skipped: Mapping[str, int]) -> Iterator[Metric]:
    release, index, deployment = lineage.release, lineage.index, lineage.deployment
    prompt = f"{release.prompt.name}/{release.prompt.version}"
    yield _info("rag_release_info", (release.id, index.name, index.version, lineage.embedder.name, prompt, release.generator.name))
    image = deployment.image.ref if deployment.image else ""
    yield _info("rag_deployment_info", (release.code.version, deployment.commit or "", image, deployment.environment))
    yield _gauge("rag_index_documents", index.documents)
    yield _gauge("rag_index_chunks", index.chunks)
    yield _by_label("rag_index_skipped", {reason: skipped.get(reason, 0) for reason in get_args(SkipReason)})
    yield _gauge("rag_index_built_timestamp_seconds", datetime.fromisoformat(index.built_at).timestamp())


def _gauge(name: str, value: float) -> Metric:
    return GaugeMetricFamily(name, _BY_NAME[name].help, value=value)


def _by_label(name: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(name, _BY_NAME[name].help, labels=_BY_NAME[name].labels)
    for label, value in values.items():
        family.add_metric([label], value)
    return family


def _info(name: str, values: tuple[str, ...]) -> Metric:
    described = _BY_NAME[name]
    return InfoMetricFamily(name.removesuffix("_info"), described.help, value=dict(zip(described.labels, values, strict=True)))
