"""Two candidates beside each other for people at a terminal: fits 80 columns."""

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eval.counting import counted
from eval.reports.comparison import SMALLEST_SLICE, Comparison, Contrast, Flip, Slice
from eval.reports.fall import Fall, fall_of
from eval.reports.figures import change, figure, p_value
from eval.reports.layout import columns, facts, paragraph
from eval.reports.legible import one_line
from eval.statistics.grouped import FEWEST_CLUSTERS
from rag_service.difference import FieldDifference

_STYLES = {"better": "green", "worse": "red", "nothing": ""}
_SIGNS = {"better": "▲", "worse": "▼", "nothing": " "}
_SHOWN_FLIPS = 5


def comparison_table(found: Comparison, *, all_flips: bool = False) -> RenderableType:
    """What differs in settings, the metrics side by side, what became of the questions, the slices, and the flips."""
    parts: list[RenderableType] = [_head(found), Text(), paragraph(headline(found), "bold"), Text(), _contrasts(found)]
    if any(_in_part(one) for one in found.contrasts):
        own = f"python -m eval report --candidate {one_line(found.candidate.name)}"
        parts.append(paragraph(f"* over the questions of which both have a value; {own} has the values over all of its own", "dim"))
    if (fall := fall_of(found)) is not None:
        parts.extend([Text(), Text(f"right answers: {fall.base:,} → {fall.candidate:,}", style="bold"), _causes(fall)])
    if found.slices:
        parts.extend([Text(), Text(f"by tag: {found.primary}", style="bold"), *_slices(found.slices)])
    parts.extend(_flips(found, all_flips))
    return Group(*parts)


def headline(found: Comparison) -> str:
    """What can be said of the metric that matters most, in one sentence."""
    main = found.main
    if main is None:
        return "No question has a value under both candidates that could decide."
    name, other = one_line(found.candidate.name), one_line(found.base.name)
    values = f"{main.metric} {_value(main.metric, main.paired.base)} → {_value(main.metric, main.paired.candidate)}"
    if main.says == "nothing":
        return f"No difference can be shown between {name} and {other}: {values}; {_doubt(main)}."
    return f"{name} is {main.says} than {other}: {values}."


def _doubt(main: Contrast) -> str:
    if main.paired.low <= 0 <= main.paired.high:
        low, high = (change(main.metric, bound, decimals=3) for bound in (main.paired.low, main.paired.high))
        return f"the interval of the difference, {low} to {high}, holds 0"
    if main.paired.too_few_clusters:
        return f"the questions hang together in {counted(main.paired.clusters, 'cluster')}, too few to trust an interval"
    return f"the p-value is {p_value(main.p)}"


def _value(metric: str, value: float) -> str:
    return figure(metric, value, decimals=3)


def _head(found: Comparison) -> Table:
    grid = facts()
    grid.add_row("base", Text(f"{one_line(found.base.name)}, release {found.base.release.id}"))
    grid.add_row("candidate", Text(f"{one_line(found.candidate.name)}, release {found.candidate.release.id}"))
    for line in settings(found):
        grid.add_row("differs", Text(line))
    if not found.settings:
        grid.add_row("differs", Text("in nothing: both are the same release", style="yellow"))
    main = found.main
    if main is not None:
        paired = main.paired
        questions = f"{counted(paired.n, 'question')} in {counted(paired.clusters, 'cluster')}"
        shows = f"; differences of {figure(main.metric, paired.detectable, decimals=3)} or more would show" if paired.detectable else ""
        few = "; too few clusters to trust an interval" if paired.too_few_clusters else ""
        grid.add_row("over", Text(f"{questions}{shows}{few}"))
    if found.unmatched:
        grid.add_row("left out", Text(f"{counted(found.unmatched, 'question')} that only one of the two was asked", style="yellow"))
    return grid


def settings(found: Comparison) -> Iterator[str]:
    """What differs between the two, a line for each part of their releases; digests only where nothing else tells. First what the
    candidate changes of the first of its run, where that is the base.
    """
    if found.candidate.changed and not found.base.changed:
        yield ", ".join(f"{name} {one_line(value)}" for name, value in found.candidate.changed.items())
    for part in found.settings:
        fields = [field for field in part.fields if not field.name.endswith("digest")]
        yield "; ".join(_field(field) for field in fields) if fields else f"{part.part} {one_line(part.a)} → {one_line(part.b)}"


def _field(field: FieldDifference) -> str:
    a, b = ("none" if value is None else f"{value:g}" if isinstance(value, float) else one_line(str(value)) for value in (field.a, field.b))
    return f"{field.name} {a} → {b}"


def _contrasts(found: Comparison) -> Table:
    table = columns("base", "cand.", "diff.", "95 % interval", "p", "+/=/−", "")
    for one in found.contrasts:
        style = "bold" if one.metric == found.primary else ""
        part = "*" if _in_part(one) else ""
        table.add_row(Text(f"{one.metric}{part}", style=style), *_numbers(one), Text(_SIGNS[one.says], style=_STYLES[one.says]))
    return table


def _in_part(one: Contrast) -> bool:
    """Whether some questions have a value of one of the two alone: those that only one of them answered, say."""
    return one.left_out > 0


def _numbers(one: Contrast) -> list[str]:
    found = one.paired
    low, high = (change(one.metric, bound, decimals=3) for bound in (found.low, found.high))
    return [
        _value(one.metric, found.base),
        _value(one.metric, found.candidate),
        change(one.metric, found.difference, decimals=3),
        f"{low}…{high}",
        p_value(one.p),
        f"{one.wins}/{found.ties}/{one.losses}",
    ]


def _causes(fall: Fall) -> Table:
    """What each cause wins and loses, in questions."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    for heading in ("gained", "lost", "net"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", overflow="fold", style="dim")
    for step in fall.steps:
        table.add_row(step.label, f"{step.gained:,}", f"{step.lost:,}", f"{step.net:+,}" if step.net else "0", Text(step.says))
    return table


def _slices(slices: Sequence[Slice]) -> Iterator[RenderableType]:
    """Those that were tested, and the names of the others."""
    tested = [(one, one.contrast) for one in slices if one.contrast is not None]
    if tested:
        table = columns("of", "base", "cand.", "diff.", "95 % interval", "p Holm", "")
        for one, contrast in tested:
            sign = Text(_SIGNS[contrast.says], style=_STYLES[contrast.says])
            table.add_row(Text(one_line(one.tag, most_chars=20)), f"{one.questions:,}", *_numbers(contrast)[:-1], sign)
        yield table
    others = ", ".join(f"{one_line(one.tag, most_chars=20)} {one.questions:,}" for one in slices if one.contrast is None)
    if others:
        yield paragraph(f"not tested, with fewer than {SMALLEST_SLICE} questions or {FEWEST_CLUSTERS} clusters: {others}", "dim")


def _flips(found: Comparison, all_flips: bool) -> Iterator[RenderableType]:
    for heading, flips in (("right → wrong", found.broken), ("wrong → right", found.mended)):
        yield Text()
        yield Text(f"{heading}: {counted(len(flips), 'question')}", style="bold")
        shown = flips if all_flips else flips[:_SHOWN_FLIPS]
        if shown:
            yield _listed(shown)
        if len(shown) < len(flips):
            yield Text(f"  and {len(flips) - len(shown):,} more: --flips lists them", style="dim")


def _listed(flips: Sequence[Flip]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True, overflow="ellipsis", max_width=18)
    grid.add_column(overflow="fold")
    for flip in flips:
        grid.add_row(Text(f"  {one_line(flip.base.id, most_chars=16)}"), Text(one_line(flip.base.question.question, most_chars=120)))
        grid.add_row("", Text(f"{flip.base.label} → {flip.candidate.label}", style="dim"))
    return grid
