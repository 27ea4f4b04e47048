"""Everything about one question for people at a terminal: what was asked, what is right, and what each candidate made of it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from eval.reports.figures import figure
from eval.reports.layout import facts, paragraph
from eval.reports.legible import legible, one_line
from eval.reports.relevance import Marked, marked, places_in, quotes_in
from eval.results import GoldSpan, Measured, Row, Run
from eval.sample import Ranked, Sample
from eval.scores import Failed, Outcome, Undefined

_LISTED = 10
"""Passages that are listed, at least."""
_MARKS = {"gold": "●", "document": "○", "": " "}
_STATUS = {"answered": "", "abstained": "yellow", "error": "bold red", "not_asked": "dim"}


def sheet(run: Run, rows: Sequence[tuple[Measured, Row]]) -> RenderableType:
    """One question under these candidates, at least one, and the passages of their prompts, each once."""
    parts: list[RenderableType] = [_asked(rows[0][1])]
    for candidate, row in rows:
        parts.extend([Text(), *_candidate(candidate, row)])
    parts.extend(_passage_texts([row for _, row in rows], run.texts))
    return Group(*parts)


def _asked(row: Row) -> Table:
    question, gold = row.question, row.gold
    grid = facts()
    grid.add_row("question", Text(legible(question.question), style="bold"))
    grid.add_row("id", Text(one_line(row.id)))
    if question.answerable is False:
        grid.add_row("right", Text("to abstain: nothing in the documents answers it"))
    for answer in question.answers:
        grid.add_row("right", Text(legible(answer)))
    for fact in question.facts:
        grid.add_row("says", Text(legible(" or ".join(fact))))
    for number, group in enumerate(gold.groups, start=1):
        grid.add_row(f"place {number}", Text(" or ".join(_place(span) for span in group)))
    if gold.relevant and not gold.groups:
        grid.add_row("relevant", Text(", ".join(f"{one_line(document)} ({grade})" for document, grade in gold.relevant.items())))
    if gold.missing:
        grid.add_row("missing", Text(f"{gold.missing} gold passages are in no document of the index", style="yellow"))
    if question.tags:
        grid.add_row("tags", Text(one_line(", ".join(question.tags))))
    if row.cluster != row.id:
        grid.add_row("cluster", Text(one_line(row.cluster)))
    return grid


def _place(span: GoldSpan) -> str:
    return f"{one_line(span.document)} {span.start}–{span.end}"


def _candidate(candidate: Measured, row: Row) -> Iterator[RenderableType]:
    yield paragraph(f"── {one_line(candidate.name)}", "bold")
    yield _made(row)
    if row.sample.answer is not None:
        yield Padding(paragraph(legible(row.sample.answer)), (1, 0, 0, 2))
    passages = marked(row, most=_LISTED)
    if passages:
        yield Text()
        yield _passages(passages)
        yield paragraph("  [n] in the prompt, ● holds the answer, ○ is of its document, c cited", "dim")
    for name, bound in (("oracle", row.oracle), ("closed book", row.closed_book)):
        if bound is not None:
            yield paragraph(f"  {name}: {_said(bound)}", "dim")
    yield Text()
    yield _scores(row.scores)
    yield from _reasons(row.scores)


def _made(row: Row) -> Table:
    sample = row.sample
    grid = facts()
    why = f", {sample.abstain_reason}" if sample.abstain_reason else ""
    grid.add_row("  status", Text(f"{sample.status}{why}", style=_STATUS[sample.status]))
    if row.label != "not_judged":
        grid.add_row("  label", Text(row.label, style="bold"))
        grid.add_row("  because", Text(legible(row.evidence)))
    for failure in sample.failures:
        stage = f" in {failure.stage}" if failure.stage else ""
        grid.add_row("  failed", Text(f"{failure.code}{stage}: {legible(failure.message)}", style="red"))
    numbers = {
        "confidence": None if sample.confidence is None else f"{sample.confidence:.3f}",
        "prompt": None if sample.prompt_tokens is None else f"{sample.prompt_tokens:,} tokens",
        "answer": None if sample.completion_tokens is None else f"{sample.completion_tokens:,} tokens",
        "took": f"{sample.took_ms['total']:,.1f} ms" if "total" in sample.took_ms else None,
    }
    known = [f"{name} {value}" for name, value in numbers.items() if value is not None]
    if known:
        grid.add_row("  with", Text(", ".join(known)))
    for notice in sample.notices:
        grid.add_row("  notice", Text(f"{notice.code}: {one_line(notice.detail)}", style="yellow"))
    return grid


def _passages(passages: Sequence[Marked]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    for heading in ("   rank", "pool"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("passage", overflow="fold")
    table.add_column("score", justify="right", no_wrap=True)
    for one in passages:
        rank = f"[{one.rank}]" if one.in_prompt else f"{one.rank}" if one.rank else "–"
        place = Text(f"{one_line(one.ranked.document_id)} ")
        place.append(f"{one.ranked.start}–{one.ranked.end}", style="dim")
        mark = f"{_MARKS[one.mark]}{'c' if one.cited else ' '}"
        table.add_row(Text(rank), f"{one.pool_rank or '–'}", mark, place, f"{one.ranked.score:.4f}")
    return table


def _passage_texts(rows: Sequence[Row], texts: Mapping[str, str]) -> Iterator[RenderableType]:
    """What stood in a prompt, with the places of the answer and of citations set off."""
    quotes: dict[str, list[tuple[int, int]]] = {}
    passages: dict[str, Ranked] = {}
    for row in rows:
        for passage in row.sample.in_prompt:
            passages.setdefault(passage.chunk_id, passage)
            quotes.setdefault(passage.chunk_id, []).extend(quotes_in(passage, row))
    for chunk_id, passage in passages.items():
        if chunk_id in texts:
            yield Text()
            yield paragraph(f"── {one_line(passage.document_id)}", "bold").append(f" {passage.start}–{passage.end}  {chunk_id}", "dim")
            yield Padding(_set_off(texts[chunk_id], places_in(passage, rows[0]), quotes[chunk_id]), (0, 0, 0, 2))


def _set_off(text: str, places: Sequence[tuple[int, int]], quotes: Sequence[tuple[int, int]]) -> Text:
    ends = sorted({0, len(text), *(min(end, len(text)) for span in [*places, *quotes] for end in span)})
    made = paragraph("")
    for start, end in pairwise(ends):
        styles = [style for style, spans in (("bold reverse", places), ("underline", quotes)) if any(a <= start < b for a, b in spans)]
        made.append(legible(text[start:end]), " ".join(styles) or None)
    return made


def _said(sample: Sample) -> str:
    return f"answered “{one_line(sample.plain or '', most_chars=160)}”" if sample.status == "answered" else sample.status


def _scores(scores: Mapping[str, Outcome]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for _ in range(2):
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(justify="right", no_wrap=True)
    cells = [(f"  {name}", _shown(name, found)) for name, found in scores.items()]
    half = (len(cells) + 1) // 2
    for left, right in zip(cells[:half], [*cells[half:], ("", "")], strict=False):
        grid.add_row(*left, *right)
    return grid


def _shown(name: str, found: Outcome) -> str:
    return "–" if isinstance(found, Undefined | Failed) else figure(name, found)


def _reasons(scores: Mapping[str, Outcome]) -> Iterator[RenderableType]:
    """Why there is no number, each reason once."""
    names: dict[str, list[str]] = {}
    for name, found in scores.items():
        if isinstance(found, Undefined | Failed):
            why = f"undefined: {found.reason}" if isinstance(found, Undefined) else f"failed: {found.code}"
            names.setdefault(why, []).append(name)
    for why, metrics in names.items():
        yield paragraph(f"  {', '.join(metrics)} {one_line(why)}", "dim")
