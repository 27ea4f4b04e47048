"""What tables for a terminal share: who was asked, and columns that fit 80 characters."""

from collections import Counter
from collections.abc import Mapping, Sequence

from rich.table import Table
from rich.text import Text

from eval.reports.legible import one_line
from eval.results import Measured, Parameters, QuestionsIdentity
from rag_service.digests import short_id

_NAME_CHARS = 22


def paragraph(text: str, style: str = "") -> Text:
    """Wraps in a pipe, too, where consoles leave long lines as they are."""
    return Text(text, style=style, no_wrap=False, overflow="fold")


def facts() -> Table:
    """A grid of names and what they are."""
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def columns(*headings: str, apart: int = 1) -> Table:
    """Names, then numbers under these headings, so many spaces apart."""
    made = Table(box=None, pad_edge=False, padding=(0, apart, 0, 0), header_style="dim")
    made.add_column("", min_width=10, overflow="fold")
    for heading in headings:
        made.add_column(heading, justify="right", no_wrap=True)
    return made


def asked(questions: QuestionsIdentity, parameters: Parameters) -> str:
    split = f" {questions.split}" if questions.split else ""
    left_out = f"; {questions.n_left_out:,} without a judgement left out" if questions.n_left_out else ""
    part = "" if parameters.part == "all" else f" of the part {parameters.part}"
    some = "the first " if parameters.limit is not None else ""
    whole = (
        f"{questions.n_asked:,}"
        if questions.n_asked == questions.n_questions
        else f"{some}{questions.n_asked:,} of {questions.n_questions:,}"
    )
    return f"{one_line(questions.name)}{split} ({questions.form}, {short_id(questions.digest)}): {whole}{part}{left_out}"


def made_of(candidate: Measured) -> str:
    release = candidate.release.content
    reranker = f", {release.reranker.name}" if release.reranker else ""
    retrieval = f"top_k {release.retrieval.top_k}, min_confidence {release.retrieval.min_confidence:g}"
    return f"{candidate.release.id}: {release.encoder.name}{reranker}, {release.generator.name}, {retrieval}"


def outcome(candidate: Measured, parameters: Parameters) -> str:
    counts = candidate.counts
    errors = f"{counts.errors:,} errors{listed(candidate.error_codes)}"
    if not parameters.answers:
        return f"searched only, to {parameters.depth:,} chunks; {errors}"
    return f"{counts.answered:,} answered, {counts.abstained:,} abstained{listed(candidate.abstain_reasons)}, {errors}"


def short_name(name: str) -> str:
    return one_line(name, most_chars=_NAME_CHARS)


def labels_of(candidates: Sequence[Measured]) -> Mapping[str, str]:
    """Name → what a table calls the candidate: names that begin alike have their place in the run at the end, as in `top_k=3,rera… #7`."""
    short = {one.name: short_name(one.name) for one in candidates}
    several = {label for label, times in Counter(short.values()).items() if times > 1}
    return {
        one.name: f"{one_line(one.name, most_chars=_NAME_CHARS - len(f' #{number}'))} #{number}"
        if short[one.name] in several
        else short[one.name]
        for number, one in enumerate(candidates, start=1)
    }


def listed(counts: Mapping[str, int]) -> str:
    """` (this 3, that 1)`; empty for nothing."""
    return f" ({', '.join(f'{name} {number:,}' for name, number in counts.items())})" if counts else ""
