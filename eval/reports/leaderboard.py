"""Many candidates for people at a terminal: fits 80 columns."""

from collections.abc import Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eval.reports.figures import change, figure, p_value
from eval.reports.layout import asked, columns, facts, labels_of, paragraph
from eval.reports.legible import one_line
from eval.reports.outcomes import score_of
from eval.reports.standings import Standing, Standings, standings_of
from eval.results import Run

BESIDE = (
    ("prompt_recall", "in prompt"),
    ("coverage", "coverage"),
    ("false_answer_rate", "false ans."),
    ("p95_ms", "p95 ms"),
)
"""Metric → heading, of what stands beside the one that decides; those that were measured."""


def leaderboard(run: Run) -> RenderableType:
    """Best first, each with the difference to the first of the run, then what else must not get worse, then what differs in settings."""
    found = standings_of(run.candidates)
    parts: list[RenderableType] = [
        _head(run, found),
        Text(),
        _ranking(found, run),
        Text(),
        _beside(found.standings, labels_of(run.candidates)),
        Text(),
        _settings(run),
    ]
    parts.extend(paragraph(f"warning  {warning}", "yellow") for warning in _warnings(run))
    return Group(*parts)


def _warnings(run: Run) -> Iterator[str]:
    """Each once, with the names that it is about unless it is about all."""
    about: dict[str, list[str]] = {}
    labels = labels_of(run.candidates)
    for candidate in run.candidates:
        for warning in candidate.warnings:
            about.setdefault(warning, []).append(labels[candidate.name])
    for warning, names in about.items():
        yield one_line(warning) if len(names) == len(run.candidates) else f"{', '.join(names)}: {one_line(warning)}"


def _head(run: Run, found: Standings) -> Table:
    grid = facts()
    grid.add_row("run", Text(f"{run.id}, {len(run.candidates)} candidates"))
    grid.add_row("questions", Text(asked(run.questions, run.parameters)))
    by = (
        f"{found.primary}; p-values of differences to {one_line(run.candidates[0].name)}, by Holm"
        if found.primary
        else "nothing was scored"
    )
    grid.add_row("by", Text(by))
    return grid


def _ranking(found: Standings, run: Run) -> Table:
    table = columns(found.primary or "", "95 % interval", "difference", "95 % interval", "p")
    labels = labels_of(run.candidates)
    for standing in found.standings:
        first = standing.candidate is run.candidates[0]
        table.add_row(Text(labels[standing.candidate.name], style="bold" if first else ""), *_numbers(standing, found.primary or ""))
    return table


def _numbers(standing: Standing, metric: str) -> list[str]:
    estimate, contrast = standing.estimate, standing.contrast
    own = [figure(metric, estimate.mean, decimals=3), _reach(metric, estimate.low, estimate.high)] if estimate else ["–", "–"]
    if contrast is None:
        return [*own, "", "", ""]
    found = contrast.paired
    p = "" if contrast.p_holm is None else p_value(contrast.p_holm)
    low, high = (change(metric, bound, decimals=3) for bound in (found.low, found.high))
    return [*own, change(metric, found.difference, decimals=3), f"{low}…{high}", p]


def _reach(metric: str, low: float, high: float) -> str:
    return f"{figure(metric, low, decimals=3)}–{figure(metric, high, decimals=3)}"


def _beside(standings: Sequence[Standing], labels: Mapping[str, str]) -> Table:
    shown = [(metric, heading) for metric, heading in BESIDE if any(_measured(one, metric) for one in standings)]
    table = columns("abstained", "errors", *(heading for _, heading in shown))
    for standing in standings:
        counts = standing.candidate.counts
        numbers = [f"{number:,}" for number in (counts.abstained, counts.errors)]
        table.add_row(Text(labels[standing.candidate.name]), *numbers, *(_value(standing, metric) for metric, _ in shown))
    return table


def _measured(standing: Standing, metric: str) -> bool:
    score = score_of(standing.candidate, metric)
    return score is not None and score.n_scored > 0


def _value(standing: Standing, metric: str) -> str:
    score = score_of(standing.candidate, metric)
    return "" if score is None else figure(metric, score.value, decimals=3)


def _settings(run: Run) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold", style="dim")
    labels = labels_of(run.candidates)
    for candidate in run.candidates:
        if labels[candidate.name].endswith(candidate.name):
            about = (
                ", ".join(f"{name} {one_line(value)}" for name, value in candidate.changed.items()) or f"from {one_line(candidate.origin)}"
            )
        else:  # what it is called on a command line; of a grid this says what differs, too
            about = one_line(candidate.name)
        table.add_row(Text(labels[candidate.name]), Text(about))
    return table
