"""One record, and one replay, at the terminal."""

from datetime import UTC

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rag_service.cli.compare import print_answer, print_hits, print_prompt, print_stages
from rag_service.console import out
from rag_service.kept import Kept
from rag_service.record import Record
from rag_service.replay import Replay
from rag_service.trace import trace_of_record

_VERDICT_STYLES = {"exact": "bold green", "same_context": "bold yellow", "diverged_at": "bold red", "not_replayable": "bold yellow"}
_BAR_CHARS = 32


def print_record(kept: Kept) -> None:
    """What made it first."""
    record = kept.record
    _print_versions(kept)
    _heading("question")
    out.print(Text(record.question) if kept.content == "full" else f"[dim]not stored; {kept.question_digest}[/dim]")
    if kept.content == "full" and record.query != record.question:
        out.print(Text(f"searched for: {record.query}", style="dim"))
    if kept.redacted:
        out.print(f"[yellow]masked in: {', '.join(sorted(kept.redacted))}[/yellow]")
    _heading("stages")
    _print_stages(record)
    _heading("candidates")
    _print_candidates(record)
    if record.prompt is not None:
        _heading("prompt")
        out.print(Text(record.prompt.system, style="dim"))
        out.print(Text(record.prompt.user))
    _heading("answer")
    out.print(Text(record.answer) if record.answer is not None else f"[yellow]none[/yellow]: {record.abstain_reason or 'not stored'}")
    for citation in record.citations:
        out.print(f"[bold]\\[{citation.marker}][/bold] {escape(citation.chunk.source or citation.chunk.id)}  ", end="")
        out.print(Text(citation.quote, style="dim"))
    for one in kept.feedback:
        said = " · ".join(part for part in (one.rating, one.comment, one.expected and f"expected: {one.expected}") if part)
        out.print(f"[bold]feedback[/bold] {escape(said)}")


def print_replay(made: Replay) -> None:
    out.print(f"[{_VERDICT_STYLES[made.kind]}]{escape(made.verdict)}[/] {escape(made.headline)}")
    out.print(f"[dim]{made.answer_id}[/dim]")
    if not made.stages:
        return
    out.print(f"[dim]computed anew: {', '.join(made.recomputed)}[/dim]")
    out.print(f"[dim]from the record: {', '.join(made.taken)}[/dim]")
    print_stages(made.stages)
    print_hits(made.hits)
    if made.prompt_diff:
        print_prompt(made.prompt_diff)
    if made.answer_diff:
        print_answer(made.answer_diff)


def _print_versions(kept: Kept) -> None:
    record = kept.record
    trace = trace_of_record(record)
    image = trace.container_image.ref if trace.container_image else "not declared"
    rows = {
        "answer": f"{record.answer_id}  {record.created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC",
        "trace": record.trace_id,
        "release": f"{trace.release.id}  {trace.release.digest}",
        "index": f"{trace.index.name} {trace.index.version}  built {trace.index.built_at}",
        "encoder": f"{trace.embedding_model.name}  {trace.embedding_model.runtime}  {trace.embedding_model.digest}",
        "chunker": f"{trace.preprocessing.chunker}  {trace.preprocessing.digest}",
        "retrieval": f"{trace.retrieval.mode}, top_k {trace.retrieval.top_k}, min_confidence {trace.retrieval.min_confidence}",
        "prompt": f"{trace.prompt_template.name}/{trace.prompt_template.version}  {trace.prompt_template.digest}",
        "generator": f"{trace.generator.name}  {trace.generator.digest}",
        "code": f"{trace.code.version}  {trace.code.commit or 'commit unknown'}{', changed files' if trace.code.dirty else ''}",
        "image": image,
        "environment": f"{trace.environment.name}  {trace.environment.numeric_class}",
        "confidence": f"{record.confidence:.3f}",
        "replaced": ", ".join(trace.overrides),
        "repeats": record.repeats or "",
        "key": kept.key_id or "",
        "entry": f"{kept.receipt.seq}  {kept.receipt.digest}",
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in rows.items():
        if value:
            table.add_row(f"[bold]{name}[/bold]", escape(value))
    out.print(table)


def _print_stages(record: Record) -> None:
    total_ms = max([record.timings_ms["total"], *(stage.began_ms + stage.duration_ms for stage in record.stages)]) or 1.0
    for stage in record.stages:
        before = round(stage.began_ms / total_ms * _BAR_CHARS)
        width = max(1, round(stage.duration_ms / total_ms * _BAR_CHARS))
        bar = (" " * before + "█" * width)[:_BAR_CHARS].ljust(_BAR_CHARS)
        out.print(f"{stage.name:<9} [cyan]{bar}[/cyan] {stage.duration_ms:>8.1f} ms  [dim]{stage.digest[:19]}…[/dim]")


def _print_candidates(record: Record) -> None:
    for rank, hit in enumerate(record.hits, start=1):
        chunk, used = hit.chunk, rank <= record.shown
        why = "in the prompt" if used else "not in the prompt"
        place = " > ".join(dict.fromkeys(part for part in (chunk.title, *chunk.heading_path) if part))
        mark = "[green]●[/green]" if used else "[dim]○[/dim]"
        out.print(
            f"{mark} {rank:>2}  {hit.score:.5f}  {chunk.id}  {escape(chunk.source)}  {escape(place)}  [dim]{why}[/dim]", soft_wrap=True
        )


def _heading(text: str) -> None:
    out.print(f"\n[bold]{text}[/bold]")
