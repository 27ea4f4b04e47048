"""What made the answers, a line for each setting, the candidates side by side; and how long the stages took."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.metrics.operations import STAGES, name_of
from eval.reports.figures import milliseconds
from eval.reports.outcomes import score_of
from eval.results import Measured
from eval.scores import Undefined

_PERCENTILES = ("p50", "p95", "max")


Line = tuple[str, Sequence[str]]
"""A name, and a value for each candidate; what one of them lacks is `–`."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """Each in the order of a release, then index and deployment."""

    differing: tuple[Line, ...]
    same: tuple[Line, ...]


def manifest_of(sides: Sequence[Measured]) -> Manifest:
    known = [dict(_lines(side)) for side in sides]
    names = dict.fromkeys(name for lines in known for name in lines)
    lines = [(name, [lines.get(name, "–") for lines in known]) for name in names]
    return Manifest(
        differing=tuple(line for line in lines if len(set(line[1])) > 1), same=tuple(line for line in lines if len(set(line[1])) == 1)
    )


def stage_lines(sides: Sequence[Measured]) -> list[tuple[str, list[str]]]:
    """Stage → median, 95th percentile and longest time for each candidate. Stages that nobody timed are left out."""
    lines = []
    for stage in STAGES:
        cells = [_time(side, name_of(stage, percentile)) for side in sides for percentile in _PERCENTILES]
        if any(cells):
            lines.append((stage, [cell or "–" for cell in cells]))
    return lines


def _time(side: Measured, metric: str) -> str:
    score = score_of(side, metric)
    return "" if score is None or isinstance(score.value, Undefined) else milliseconds(score.value)


def _lines(side: Measured) -> Iterator[tuple[str, str]]:
    yield "from", side.origin
    yield "release", side.release.id
    yield "release digest", side.release.digest
    yield from _leaves(side.release.content.model_dump(mode="json", by_alias=True))
    index, deployment = side.index, side.deployment
    yield "index name", index.name
    yield "index built", index.built_at
    yield "documents", f"{index.documents:,}"
    yield "chunks", f"{index.chunks:,}"
    yield "corpus digest", index.corpus_digest
    yield "environment", deployment.environment
    yield "commit", f"{deployment.commit or 'unknown'}{', with changes' if deployment.dirty else ''}"
    yield "container image", deployment.image.ref if deployment.image else "not declared"
    yield "numeric class", deployment.numeric_class
    yield "installed packages", deployment.fingerprint


def _leaves(value: Mapping[str, Any], below: str = "") -> Iterator[tuple[str, str]]:
    for name, found in value.items():
        path = f"{below}.{name}" if below else name
        if isinstance(found, Mapping):
            yield from _leaves(found, path)
        else:
            yield path, "none" if found is None else str(found)
