"""A run for people at a terminal: fits 80 columns, without colour where the output is no terminal."""

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eval.reports.figures import figure
from eval.reports.layout import asked, columns, facts, made_of, outcome, paragraph
from eval.reports.leaderboard import leaderboard
from eval.reports.legible import one_line
from eval.reports.outcomes import KEY_METRICS, reach
from eval.results import Measured, Run
from eval.scores import Score, Undefined

TITLES = {
    "retrieval": "retrieval, by document",
    "passages": "retrieval, by passage",
    "operations": "operations",
    "headroom": "lost where, by the bounds",
}
_UNDEFINED = Text("undef.", style="yellow")


def table(run: Run, *, everything: bool = True) -> RenderableType:
    """Of one candidate its scores; of many who leads."""
    return candidate_table(run, run.candidates[0], everything=everything) if len(run.candidates) == 1 else leaderboard(run)


def candidate_table(run: Run, candidate: Measured, *, everything: bool = True) -> RenderableType:
    """Who was asked, what came of it, every score (or those to look at first) with what it was taken over, where answers were lost, and
    what to know before trusting it.
    """
    metrics = candidate.metrics if everything else _first(candidate.metrics)
    groups = {**metrics, **({"headroom": candidate.headroom} if candidate.headroom else {})}
    parts: list[RenderableType] = [_head(run, candidate), Text(), _scores(candidate, groups)]
    parts.extend(reasons(groups) if everything else ())
    if set(candidate.labels) - {"not_judged"}:
        parts.extend([Text(), paragraph(f"what became of the questions: {_counted(candidate.labels)}")])
    parts.extend(paragraph(f"warning  {one_line(warning)}", "yellow") for warning in candidate.warnings)
    return Group(*parts)


def _first(metrics: Mapping[str, Mapping[str, Score]]) -> Mapping[str, Mapping[str, Score]]:
    """The key metrics that have a value; of runs without answers, which have few, all."""
    if "answers" not in metrics:
        return metrics
    kept = {
        group: {name: score for name, score in measured.items() if name in KEY_METRICS and not isinstance(score.value, Undefined)}
        for group, measured in metrics.items()
    }
    return {group: measured for group, measured in kept.items() if measured}


def _counted(labels: Mapping[str, int]) -> str:
    most = sorted(labels.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{number:,} {label}" for label, number in most)


def reasons(groups: Mapping[str, Mapping[str, Score]]) -> list[Text]:
    """Why values are undefined, each reason once."""
    names: dict[str, list[str]] = {}
    for measured in groups.values():
        for name, score in measured.items():
            if isinstance(score.value, Undefined):
                names.setdefault(score.value.reason, []).append(name)
    return [paragraph(f"undefined: {', '.join(undefined)}: {reason}") for reason, undefined in names.items()]


def _head(run: Run, candidate: Measured) -> Table:
    index = candidate.index
    grid = facts()
    grid.add_row("candidate", Text(f"{one_line(candidate.name)}, from {one_line(candidate.origin)}"))
    if candidate.changed:
        grid.add_row("changed", Text(", ".join(f"{name} {one_line(value)}" for name, value in candidate.changed.items())))
    grid.add_row("index", Text(f"{index.name} {index.version}, {index.documents:,} documents, {index.chunks:,} chunks"))
    grid.add_row("release", Text(made_of(candidate)))
    grid.add_row("questions", Text(asked(run.questions, run.parameters)))
    grid.add_row("known", Text(_known(candidate)))
    grid.add_row("outcome", Text(outcome(candidate, run.parameters)))
    grid.add_row("run", Text(run.id))
    return grid


def _known(candidate: Measured) -> str:
    counts = candidate.counts
    lost = f" ({counts.gold_not_in_index:,} of them not in this index)" if counts.gold_not_in_index else ""
    return f"{counts.answerable:,} answerable, {counts.unanswerable:,} unanswerable, {counts.with_gold:,} with gold documents{lost}"


def _scores(candidate: Measured, groups: Mapping[str, Mapping[str, Score]]) -> Table:
    scores = columns("value", "95 % interval", "scored", "undef.", "error", "of", apart=2)
    for group, measured in groups.items():
        scores.add_row(Text(TITLES.get(group, group), style="bold"))
        for name, score in measured.items():
            scores.add_row(f"  {name}", *_cells(candidate, name, score))
    return scores


def _cells(candidate: Measured, name: str, score: Score) -> Sequence[Text | str]:
    value = _UNDEFINED if isinstance(score.value, Undefined) else Text(figure(name, score.value))
    numbers = (score.n_scored, score.n_undefined, score.n_error, score.n_applicable)
    return [value, _interval(candidate, name), *(f"{number:,}" for number in numbers)]


def _interval(candidate: Measured, name: str) -> str:
    found = reach(candidate, name)
    return "" if found is None else f"{figure(name, found.low, decimals=3)}–{figure(name, found.high, decimals=3)}"
