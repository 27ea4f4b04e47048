"""`rag-service ask`: one question at the terminal, with its citations and a summary of its trace."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.padding import Padding
from rich.text import Text

from rag_service.cli.options import GeneratorOption, IndexesOption, JsonOption, NameOption
from rag_service.console import err, errors_in_words, out
from rag_service.question import Question
from rag_service.record import Record
from rag_service.reply import AskReply, CitationReply, reply_to
from rag_service.settings import Settings, load_settings
from rag_service.wiring.desks import recorder_of
from rag_service.wiring.releases import open_release, remember, with_generator
from rag_service.wiring.stores import open_catalog

_WHY = {
    "no_hits": "nothing in the index is near this question",
    "low_confidence": "it is not sure enough that the documents answer this question",
    "generator_declined": "the passages found do not hold an answer",
    "unsupported": "the passages found do not support what the generator wrote",
    "empty_index": "the index is empty",
}


def ask(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    name: NameOption = None,
    top_k: Annotated[int | None, typer.Option("--top-k", "-k", help="Passages to answer from.", show_default=False)] = None,
    min_confidence: Annotated[float | None, typer.Option(help="Confidence below which to abstain, 0 to 1.", show_default=False)] = None,
    generator: GeneratorOption = None,
    indexes: IndexesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask the active release of an index. --generator tries another generator without changing what is served.

    Example: rag-service ask "How do I roll back?" --name handbook
    """
    with errors_in_words():
        settings = load_settings(name=name, indexes=indexes, top_k=top_k, min_confidence=min_confidence, generator=generator)
        catalog = open_catalog(settings)
        active = catalog.release(settings.name, catalog.active_id(settings.name))
        release = active if generator is None else with_generator(active, settings, catalog, settings.name)
        opened = open_release(settings, catalog, settings.name, release)
        if opened.pipeline.lineage.release != active:
            remember(catalog, settings.name, opened)
        if opened.differences:
            changed = " and ".join(opened.differences)
            err.print(f"[yellow]warning[/yellow] {changed} changed since release {active.id} was activated; what is here now answers")
        record = _recorded(opened.pipeline.ask(Question(question, top_k=top_k, min_confidence=min_confidence)), settings)
        reply = reply_to(record, include_chunks=as_json)
    if as_json:
        out.print_json(reply.model_dump_json())
    else:
        _print(reply)


def _recorded(record: Record, settings: Settings) -> Record:
    """With a warning where the ledger cannot be written; raises `NotRecorded` where the settings are strict."""
    recorder = recorder_of(settings)
    recorder.start()
    kept = recorder.keep(record, key_id=None)
    recorder.close()
    return kept


def _print(reply: AskReply) -> None:
    if reply.answer is None:
        sure = f" (confidence {reply.confidence:.3f}, needed {reply.trace.retrieval.min_confidence:g})"
        shown = sure if reply.abstain_reason == "low_confidence" else ""
        out.print(f"[yellow]no answer[/yellow]: {_WHY[reply.abstain_reason or 'no_hits']}{shown}")
    else:
        out.print(Text(reply.answer))
    if reply.citations:
        out.print()
    for citation in reply.citations:
        _print_citation(citation)
    for warning in reply.warnings:
        err.print(f"[yellow]warning[/yellow] {warning.code}: {escape(warning.detail)}")
    _print_trace(reply)


def _print_citation(citation: CitationReply) -> None:
    headings = [heading for heading in citation.heading_path if heading != citation.title]
    place = " > ".join([part for part in (citation.title, *headings) if part])
    page = f", page {citation.page}" if citation.page else ""
    start, end = citation.document_span
    out.print(f"[bold]\\[{citation.marker}][/bold] {escape(citation.source)}{page} · {escape(place)}", soft_wrap=True)
    out.print(
        Padding(f"[dim]characters {start}–{end} · score {citation.score:.3f} · chunk {citation.chunk_id}[/dim]", (0, 0, 0, 4), expand=False)
    )


def _print_trace(reply: AskReply) -> None:
    trace = reply.trace
    timings = " · ".join(f"{stage.name} {stage.duration_ms:.1f}" for stage in trace.stages)
    image = trace.container_image.ref if trace.container_image else "not declared"
    rows = {
        "release": f"{trace.release.id}  (code {trace.code.version}{', changed files' if trace.code.dirty else ''})",
        "index": f"{trace.index.name} {trace.index.version} · {trace.index.documents:,} documents · {trace.index.chunks:,} chunks",
        "encoder": f"{trace.embedding_model.name} {trace.embedding_model.digest[7:19]} · {trace.embedding_model.runtime}",
        "prompt": f"{trace.prompt_template.name}/{trace.prompt_template.version} {trace.prompt_template.digest[7:19]}",
        "generator": f"{trace.generator.name} {trace.generator.digest[7:19]}",
        "image": image,
        "answer": f"{reply.answer_id} · trace {reply.trace_id} · confidence {reply.confidence:.3f}",
        "recorded": f"entry {trace.receipt.seq}" if trace.receipt else f"no: {trace.unknown['receipt']}",
        "ms": f"{timings} · total {reply.timings_ms['total']:.1f}",
    }
    out.print()
    for label, value in rows.items():
        out.print(f"[dim]{label:<10}{escape(value)}[/dim]", soft_wrap=True)
