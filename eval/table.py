"""A report for people: fits 80 columns, without colour where the output is no terminal."""

from collections.abc import Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from eval.metrics.scores import Score, Undefined
from eval.report import Report
from rag_service.digests import short_id

_TITLES = {"retrieval": "retrieval, by document", "answers": "answers", "abstention": "abstention"}


def table(report: Report) -> RenderableType:
    """Who was asked, what came of it, every score with what it was taken over, and what to know before trusting it."""
    parts: list[RenderableType] = [_head(report), Text(), _scores(report)]
    parts.extend(_reasons(report.metrics))
    parts.extend(Text(f"warning  {warning}", style="yellow") for warning in report.warnings)
    return Group(*parts)


def _head(report: Report) -> Table:
    release, index, retrieval = report.release.content, report.index, report.release.content.retrieval
    asked = report.questions
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row("index", Text(f"{index.name} {index.version}, {index.documents:,} documents, {index.chunks:,} chunks"))
    made_of = f"{release.encoder.name}, {release.generator.name}, top_k {retrieval.top_k}, min_confidence {retrieval.min_confidence:g}"
    grid.add_row("release", Text(f"{report.release.id}: {made_of}"))
    split = f" {asked.split}" if asked.split else ""
    left_out = f"; {asked.n_left_out:,} without a judgement left out" if asked.n_left_out else ""
    whole = f"{asked.n_questions:,}" if asked.n_asked == asked.n_questions else f"the first {asked.n_asked:,} of {asked.n_questions:,}"
    grid.add_row("questions", Text(f"{asked.name}{split} ({asked.form}, {short_id(asked.digest)}): {whole}{left_out}"))
    grid.add_row("known", Text(_known(report)))
    grid.add_row("outcome", Text(_outcome(report)))
    return grid


def _known(report: Report) -> str:
    counts = report.counts
    lost = f" ({counts.gold_not_in_index:,} of them not in this index)" if counts.gold_not_in_index else ""
    return f"{counts.answerable:,} answerable, {counts.unanswerable:,} unanswerable, {counts.with_gold:,} with gold documents{lost}"


def _outcome(report: Report) -> str:
    counts = report.counts
    errors = f"{counts.errors:,} errors{_listed(report.error_codes)}"
    if not report.parameters.answers:
        return f"searched only, to {report.parameters.depth:,} chunks; {errors}"
    return f"{counts.answered:,} answered, {counts.abstained:,} abstained{_listed(report.abstain_reasons)}, {errors}"


def _listed(counts: Mapping[str, int]) -> str:
    return f" ({', '.join(f'{name} {number:,}' for name, number in counts.items())})" if counts else ""


def _scores(report: Report) -> Table:
    scores = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    scores.add_column("", min_width=24, no_wrap=True)
    for heading in ("value", "scored", "undefined", "error", "of"):
        scores.add_column(heading, justify="right", no_wrap=True)
    latency = "latency of an answer" if report.parameters.answers else "latency of a search"
    for group, measured in report.metrics.items():
        scores.add_row(Text({**_TITLES, "latency": latency}.get(group, group), style="bold"))
        for name, score in measured.items():
            numbers = (score.n_scored, score.n_undefined, score.n_error, score.n_applicable)
            scores.add_row(f"  {name}", _shown(name, score), *(f"{number:,}" for number in numbers))
    return scores


def _shown(name: str, score: Score) -> Text:
    if isinstance(score.value, Undefined):
        return Text("undefined", style="yellow")
    return Text(f"{score.value:.1f}" if name.endswith(("_ms", "_tokens")) else f"{score.value:.4f}")


def _reasons(metrics: Mapping[str, Mapping[str, Score]]) -> list[Text]:
    """Why values are undefined, each reason once."""
    names: dict[str, list[str]] = {}
    for measured in metrics.values():
        for name, score in measured.items():
            if isinstance(score.value, Undefined):
                names.setdefault(score.value.reason, []).append(name)
    return [Text(f"undefined: {', '.join(undefined)}: {reason}") for reason, undefined in names.items()]
