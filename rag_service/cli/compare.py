"""Comparisons at the terminal: two answers, and two releases over a set of questions."""

from collections.abc import Sequence

from rich.markup import escape
from rich.text import Text

from rag_service.comparison import Changed, CitationDifference, Comparison, SetComparison, Share, Spread
from rag_service.console import out
from rag_service.difference import FieldDifference, HitDifference, NotCompared, PartDifference, Place, StageDifference
from rag_service.stored import Scalar
from rag_service.text_diff import Piece

_STYLES = {"same": "", "removed": "red", "added": "green"}
_SIGNS = {"same": " ", "removed": "-", "added": "+"}
_MARKS = {"same": ("", ""), "removed": ("[-", "-]"), "added": ("{+", "+}")}
_MOVEMENTS = {"entered": "[green]entered[/green]", "left": "[red]left[/red]", "moved": "[yellow]moved[/yellow]", "stayed": "stayed"}
_CONTEXT_LINES = 2
"""Shown around a changed line of a prompt."""
_MOST_CHANGED = 20
"""Pairs listed of a set."""


def print_comparison(comparison: Comparison) -> None:
    out.print(f"[bold]{escape(comparison.headline)}[/bold]")
    out.print(f"[dim]{comparison.a.answer_id} → {comparison.b.answer_id}[/dim]", soft_wrap=True)
    _print_made(comparison.release, (*comparison.parameters, *comparison.deployment))
    if comparison.same_history is False:
        out.print("[yellow]the conversation before differs[/yellow]")
    for unknown in comparison.not_known:
        out.print(f"[dim]not known: whether {unknown} differ[/dim]")
    print_stages(comparison.stages)
    out.print(f"[dim]{'total':<10}{comparison.total_delta_ms:+.1f} ms[/dim]")
    if comparison.hits:
        out.print("\n[bold]passages[/bold]" + ("" if comparison.same_scale else "  [dim]scores of two encoders: not on one scale[/dim]"))
    print_hits(comparison.hits, same_scale=comparison.same_scale)
    if not isinstance(comparison.vector, NotCompared) and comparison.vector.max_abs:
        out.print(f"[dim]query vectors: cosine {comparison.vector.cosine:.7f}, at most {comparison.vector.max_abs:.2g} apart[/dim]")
    print_prompt(comparison.prompt_diff)
    print_answer(comparison.answer_diff)
    _print_citations("cites besides", comparison.citations_come)
    _print_citations("no longer cites", comparison.citations_gone)


def print_set(comparison: SetComparison, texts: Sequence[str] = ()) -> None:
    """`texts` are the questions of the pairs, where they are at hand."""
    out.print(f"[bold]{escape(comparison.headline)}[/bold]")
    out.print(f"[dim]release {' '.join(comparison.releases_a) or '–'} → {' '.join(comparison.releases_b) or '–'}[/dim]", soft_wrap=True)
    if comparison.other_questions:
        out.print(f"[yellow]left out[/yellow]: {comparison.other_questions} of {comparison.pairs} pairs have two questions")
    if isinstance(comparison.release, NotCompared):
        out.print(f"[dim]release not compared: {comparison.release.why}[/dim]")
    else:
        _print_made(comparison.release, ())
    rows = {
        "same answer": _share(comparison.same_answers),
        "same passages": _share(comparison.same_hits),
        "overlap": _spread(comparison.overlap),
        "top score": _spread(comparison.top_score_delta, sign="+"),
        "answered": f"{comparison.abstained_to_answered} more, {comparison.answered_to_abstained} no longer",
        "parts at": " · ".join(f"{found.stage or 'no stage'} {found.pairs}" for found in comparison.first_differences) or "–",
    }
    out.print()
    for label, value in rows.items():
        out.print(f"[dim]{label:<15}[/dim]{value}", soft_wrap=True)
    if comparison.changed:
        out.print()
    for changed in comparison.changed[:_MOST_CHANGED]:
        _print_changed(changed, texts[changed.number] if texts else "")
    if (more := len(comparison.changed) - _MOST_CHANGED) > 0:
        out.print(f"[dim]and {more} more[/dim]")


def print_stages(stages: Sequence[StageDifference]) -> None:
    out.print()
    for stage in stages:
        if stage.a is None or stage.b is None:
            said = f"[yellow]only the {'first' if stage.b is None else 'second'}[/yellow]"
        else:
            said = "same" if stage.same else f"[yellow]differs[/yellow] [dim]{stage.a[7:19]} → {stage.b[7:19]}[/dim]"
        took = "" if stage.delta_ms is None else f" [dim]{stage.delta_ms:+.1f} ms[/dim]"
        out.print(f"[dim]{stage.name:<10}[/dim]{said}{took}", soft_wrap=True)


def print_hits(hits: Sequence[HitDifference], *, same_scale: bool = True) -> None:
    """Ranks in brackets did not reach the prompt."""
    for hit in hits:
        _print_hit(hit, same_scale=same_scale)


def print_prompt(pieces: tuple[Piece, ...] | NotCompared) -> None:
    """Nothing where it is the same; otherwise what differs, with the lines around it."""
    if isinstance(pieces, NotCompared):
        out.print(f"\n[dim]prompts not compared: {pieces.why}[/dim]")
        return
    if all(piece.op == "same" for piece in pieces):
        return
    out.print("\n[bold]prompt[/bold]")
    for number, piece in enumerate(pieces):
        lines = piece.text.removesuffix("\n").split("\n")
        if piece.op == "same":
            lines = _around(lines, first=number == 0, last=number == len(pieces) - 1)
        for line in lines:
            out.print(Text(f"{_SIGNS[piece.op]} {line}", style=_STYLES[piece.op]), soft_wrap=True)


def print_answer(pieces: tuple[Piece, ...] | NotCompared) -> None:
    """The whole of it, with what differs marked as `git diff --word-diff` does: colours are not for all."""
    if isinstance(pieces, NotCompared):
        out.print(f"\n[dim]answers not compared: {pieces.why}[/dim]")
        return
    out.print("\n[bold]answer[/bold]")
    shown = Text()
    for piece in pieces:
        opened, closed = _MARKS[piece.op]
        space = piece.text[: len(piece.text) - len(piece.text.lstrip())]
        shown.append(f"{space}{opened}{piece.text[len(space) :]}{closed}", style=_STYLES[piece.op])
    out.print(shown)


def _print_made(release: Sequence[PartDifference], fields: Sequence[FieldDifference]) -> None:
    for part in release:
        out.print(f"[yellow]{part.part}[/yellow] {escape(part.a)} → {escape(part.b)}", soft_wrap=True)
        for field in part.fields:
            if not field.name.endswith("digest"):
                _print_field(field, indent="  ")
    for field in fields:
        _print_field(field)


def _print_field(field: FieldDifference, *, indent: str = "") -> None:
    out.print(f"{indent}[dim]{escape(field.name)}[/dim] {escape(_value(field.a))} → {escape(_value(field.b))}", soft_wrap=True)


def _print_hit(hit: HitDifference, *, same_scale: bool) -> None:
    delta = f" ({hit.delta:+.5f})" if hit.delta and same_scale else ""
    where = hit.chunk.source or hit.chunk.document_id
    out.print(
        f"{_rank(hit.a)} → {_rank(hit.b)}  {_MOVEMENTS[hit.movement]}  {_score(hit.a)} → {_score(hit.b)}{delta}  "
        f"{escape(where)} [dim]{hit.chunk.id}[/dim]",
        soft_wrap=True,
    )


def _around(lines: list[str], *, first: bool, last: bool) -> list[str]:
    """The lines of an unchanged stretch that stand next to a change."""
    before, after = ([] if first else lines[:_CONTEXT_LINES]), ([] if last else lines[-_CONTEXT_LINES:])
    return lines if len(lines) <= len(before) + len(after) else [*before, "…", *after]


def _print_citations(what: str, citations: Sequence[CitationDifference]) -> None:
    for citation in citations:
        quote = f" “{citation.quote}”" if citation.quote else ""
        out.print(f"[dim]{what}[/dim] {citation.chunk_id}{escape(quote)}", soft_wrap=True)


def _print_changed(changed: Changed, text: str) -> None:
    delta = "" if changed.top_score_delta is None else f" · top score {changed.top_score_delta:+.5f}"
    out.print(f"{changed.number + 1}. " + (f"[bold]{escape(text)}[/bold]\n   " if text else "") + escape(changed.headline))
    out.print(f"   [dim]{changed.a.answer_id} → {changed.b.answer_id} · overlap {changed.overlap:.2f}{delta}[/dim]", soft_wrap=True)


def _rank(place: Place | None) -> str:
    return " –  " if place is None else f" {place.rank:<3}" if place.in_prompt else f"({place.rank})".ljust(4)


def _score(place: Place | None) -> str:
    return "–" if place is None else f"{place.score:.5f}"


def _value(value: Scalar) -> str:
    return "none" if value is None else str(value)


def _share(share: Share) -> str:
    return "–" if share.value is None else f"{share.count} of {share.of} ({share.value:.0%})"


def _spread(spread: Spread | None, *, sign: str = "") -> str:
    if spread is None:
        return "–"
    return f"mean {spread.mean:{sign}.3f}, {spread.low:{sign}.3f} to {spread.high:{sign}.3f} [dim]over {spread.count}[/dim]"
