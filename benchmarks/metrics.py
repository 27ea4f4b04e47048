"""What metrics cost: an answer that is counted, a scrape, and an export by OTLP. In CPU of this process, on records of real answers."""

import statistics
import time
from collections.abc import Callable

from benchmarks.server import demo_indexes
from rag_service.catalog import Catalog
from rag_service.question import Question
from rag_service.record import Record
from rag_service.settings import load_settings
from rag_service.telemetry.metric_encoding import Span, encoded
from rag_service.telemetry.metrics import Metrics
from rag_service.telemetry.readings import added, read
from rag_service.wiring.releases import open_release

RECORDS, ROUNDS = 50, 15
REPEATS = {"an answer": 40, "an answer with nothing to measure from": 40, "a scrape": 1, "an export": 1}


def run() -> None:
    with demo_indexes() as indexes:
        settings, catalog = load_settings({}, indexes=indexes, name="demo"), Catalog(indexes)
        pipeline = open_release(settings, catalog, "demo", catalog.release("demo", catalog.active_id("demo"))).pipeline
        asked = [Question(f"How do I roll back to release {number} of the index?") for number in range(RECORDS)]
        records = [found for found in pipeline.ask_many(asked) if isinstance(found, Record)]
        whole, without = Metrics(), Metrics()
        whole.measure_from(lambda _: pipeline.facts.centroid)
        for record in records:
            whole.answered(record)

        def count(metrics: Metrics) -> None:
            for record in records:
                metrics.answered(record)

        def export() -> None:
            readings = read(whole.collect())
            encoded(added(readings, {}), Span(0, 1, 0, True), {})

        work: dict[str, tuple[Callable[[], object], int]] = {
            "an answer": (lambda: count(whole), len(records)),
            "an answer with nothing to measure from": (lambda: count(without), len(records)),
            "a scrape": (lambda: whole.exposition("application/openmetrics-text"), 1),
            "an export": (export, 1),
        }
        took: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(ROUNDS):
            for name, (act, things) in work.items():
                began_s = time.process_time()
                for _ in range(REPEATS[name]):
                    act()
                took[name].append((time.process_time() - began_s) * 1000 / (REPEATS[name] * things))
    print(f"CPU-ms, {ROUNDS} interleaved rounds; {len(whole.exposition()[0].splitlines())} lines in a scrape")
    for name, values in took.items():
        print(f"{name:<40} median {statistics.median(values):7.4f}   min {min(values):7.4f}   max {max(values):7.4f}", flush=True)
