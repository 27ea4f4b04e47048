"""Metrics as they stand at one moment, and what was added between two: what an export tells. Pure.

`prometheus_client` keeps a histogram as running totals over its buckets, each with the last exemplar; OTLP wants each bucket by itself.
Names, labels and bounds stay those of `/metrics`, so a query finds the same in every backend.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import inf

from prometheus_client.core import Metric
from prometheus_client.samples import Exemplar, Sample

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Traced:
    """An exemplar: one value, the trace behind it (32 hex digits), and when, in seconds since 1970."""

    value: float
    trace_id: str
    at_s: float


@dataclass(frozen=True, slots=True)
class Number:
    """Of a gauge, an info or a counter."""

    value: float
    exemplars: tuple[Traced, ...] = ()


@dataclass(frozen=True, slots=True)
class Distribution:
    """`counts` has one number for each of `bounds`, which are upper bounds and inclusive, and one for what lies above all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float
    exemplars: tuple[Traced, ...] = ()


Value = Number | Distribution


@dataclass(frozen=True, slots=True)
class Reading:
    """Of one metric. `type` is counter, gauge, info or histogram; of the first and the last, what was `added` can be told."""

    type: str
    help: str
    values: Mapping[Labels, Value] = field(default_factory=dict)

    @property
    def adds_up(self) -> bool:
        return self.type in {"counter", "histogram"}


Readings = dict[str, Reading]
"""By the name that a query has for it."""

_OURS = "rag_"
_SUFFIXES = {"counter": "_total", "info": "_info"}


def read(families: Iterable[Metric]) -> Readings:
    """What Python and the process tell of themselves is left out: whatever watches the machine tells it too."""
    found: Readings = {}
    for family in families:
        if not family.name.startswith(_OURS):
            continue
        name = family.name + _SUFFIXES.get(family.type, "")
        values: dict[Labels, Value]
        if family.type == "histogram":
            values = dict(_distributions(family.samples))
        else:
            values = {_labels(sample): Number(sample.value, _traced(sample)) for sample in family.samples if sample.name == name}
        found[name] = Reading(family.type, family.documentation, values)
    return found


def added(now: Readings, before: Readings) -> Readings:
    """What counters and histograms gained, without those that gained nothing; gauges as they stand now."""
    gained: Readings = {}
    for name, reading in now.items():
        if not reading.adds_up:
            gained[name] = reading
            continue
        known = before[name].values if name in before else {}
        changes = ((labels, _less(value, known.get(labels))) for labels, value in reading.values.items())
        if kept := {labels: change for labels, change in changes if change is not None}:
            gained[name] = replace(reading, values=kept)
    return gained


def _less(value: Value, before: Value | None) -> Value | None:
    """None where nothing was added."""
    if isinstance(value, Number):
        change = value.value - (before.value if isinstance(before, Number) else 0.0)
        return replace(value, value=change) if change else None
    if not isinstance(before, Distribution):
        return value if any(value.counts) else None
    counts = tuple(one - other for one, other in zip(value.counts, before.counts, strict=True))
    return replace(value, counts=counts, total=value.total - before.total) if any(counts) else None


def _distributions(samples: Iterable[Sample]) -> Iterator[tuple[Labels, Distribution]]:
    """Buckets of a series follow each other, in ascending order."""
    buckets: dict[Labels, list[tuple[float, float, tuple[Traced, ...]]]] = {}
    sums: dict[Labels, float] = {}
    for sample in samples:
        if sample.name.endswith("_bucket"):
            buckets.setdefault(_labels(sample), []).append((float(sample.labels["le"]), sample.value, _traced(sample)))
        elif sample.name.endswith("_sum"):
            sums[_labels(sample)] = sample.value
    for labels, ladder in buckets.items():
        below = [0.0, *(running for _, running, _ in ladder)]
        counts = tuple(int(running - before) for (_, running, _), before in zip(ladder, below, strict=False))
        bounds = tuple(bound for bound, _, _ in ladder if bound != inf)
        exemplars = tuple(traced for _, _, of_bucket in ladder for traced in of_bucket)
        yield labels, Distribution(bounds, counts, sums[labels], exemplars)


def _labels(sample: Sample) -> Labels:
    return tuple((name, value) for name, value in sample.labels.items() if name != "le")


def _traced(sample: Sample) -> tuple[Traced, ...]:
    exemplar: Exemplar | None = sample.exemplar
    if exemplar is None or "trace_id" not in exemplar.labels:
        return ()
    return (Traced(float(exemplar.value), exemplar.labels["trace_id"], float(exemplar.timestamp or 0.0)),)
