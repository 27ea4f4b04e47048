"""`rag-service index`: build, list, show, verify, diff, activate, gc; and push and pull, which `transfer` holds."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from rag_service.ask import Pipeline
from rag_service.build import Built
from rag_service.catalog import Catalog, check_name
from rag_service.cli.compare import print_set
from rag_service.cli.documents import described_document
from rag_service.cli.index_difference import described_difference, print_difference, summary
from rag_service.cli.ledger import LedgerOption
from rag_service.cli.options import GeneratorOption, IndexesOption, JsonOption, NameOption
from rag_service.cli.questions import QuestionsOption, compared, read_texts
from rag_service.cli.release import WhyOption, keep_reference, serve_release
from rag_service.cli.swept import print_swept
from rag_service.cli.transfer import pull, push
from rag_service.cli.watching import changes_below
from rag_service.console import BarProgress, err, errors_in_words, out, shown_bytes, tell
from rag_service.errors import Damaged, NotFound, RagError
from rag_service.manifest import BuildFacts, Manifest, read_build_facts, read_manifest, verify_version
from rag_service.settings import Settings, load_settings
from rag_service.types import DocumentId
from rag_service.version_difference import version_difference
from rag_service.wiring.activating import activate as activate_release
from rag_service.wiring.activating import this_person
from rag_service.wiring.desks import recorded_lineages
from rag_service.wiring.encoders import verify_encoder
from rag_service.wiring.releases import make_release, open_chunks, open_release
from rag_service.wiring.stores import open_catalog, sweep, verify_vectors

app = typer.Typer(no_args_is_help=True, help="Build indexes from documents, look at them, choose what is served.")

_LISTED, _LISTED_IN_JSON = 20, 100_000
"""Documents of each kind that a diff names."""

app.command()(push)
app.command()(pull)

VersionArgument = Annotated[str | None, typer.Argument(help="Version id; default the active one.", show_default=False)]


@app.command()
def build(
    source: Annotated[str, typer.Argument(help="A file, a folder (recursive), or a glob such as 'docs/**/*.md'.")],
    name: NameOption = None,
    activate: Annotated[bool, typer.Option("--activate", help="Serve the new version: make a release of it and switch to it.")] = False,
    encoder: Annotated[str | None, typer.Option(help="Encoder; default all-MiniLM-L6-v2.", show_default=False)] = None,
    chunk_tokens: Annotated[int | None, typer.Option(help="Longest chunk in tokens.", show_default=False)] = None,
    store: Annotated[str | None, typer.Option(help="auto, flat, hnsw or ivf.", show_default=False)] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Stay, and build again whenever the documents change.")] = False,
    ray: Annotated[str | None, typer.Option(help="Embed on a Ray cluster: local, auto, or HOST:PORT.", show_default=False)] = None,
    why: WhyOption = "",
    indexes: IndexesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build an index version from documents: Markdown, text, HTML, PDF, DOCX, CSV, JSONL.

    The same documents with the same settings give the same version, and only chunks that are new are embedded. What was served before is
    untouched until --activate has succeeded, whatever happens on the way.

    Example: rag-service index build docs/ --name handbook --activate
    """
    with errors_in_words(interrupted=lambda: "interrupted: nothing was changed, and what was served is still served"):
        settings = load_settings(name=name, indexes=indexes, encoder=encoder, chunk_tokens=chunk_tokens, store=store)
        check_name(settings.name)
        _build(settings, source, activate=activate, why=why, as_json=as_json, ray=ray)
    if watch:
        with errors_in_words(interrupted=lambda: "no longer watched; what was served is still served"):
            for changed in changes_below(source, apart_from=settings.indexes):
                err.print(f"\n[dim]{changed} changed: building again[/dim]")
                try:
                    _build(settings, source, activate=activate, why=why or "the documents changed", as_json=as_json, ray=ray)
                except RagError as error:
                    tell(error)


def _build(settings: Settings, source: str, *, activate: bool, why: str, as_json: bool, ray: str | None) -> None:
    """One build, with the release that serves it."""
    from rag_service.wiring.building import build as build_version  # loads the document parsers

    catalog = open_catalog(settings)
    with BarProgress() as progress:
        built = build_version(
            settings, catalog, settings.name, source, progress, ray=ray, tell=lambda said: err.print(f"ray: {escape(said)}")
        )
    if not as_json:
        served = _active_version(catalog, settings.name) == built.manifest.version
        _print_built(built, settings, served=served, activating=activate)
    release = _activate(settings, catalog, built.manifest.version, why=why, quietly=as_json) if activate else None
    if as_json:
        out.print_json(data=_described(built, release))
    elif release:
        out.print(f'  ask it: rag-service ask "…" --name {settings.name}')


@app.command("list")
def list_indexes(indexes: IndexesOption = None) -> None:
    """Every index with its versions; the active one is marked."""
    with errors_in_words():
        catalog = open_catalog(load_settings(indexes=indexes))
        table = Table("index", "version", "built", "documents", "chunks", "encoder", "state", box=None, pad_edge=False)
        for name in catalog.names():
            active = _active_version(catalog, name)
            for version in catalog.versions(name):
                table.add_row(name, version, *_row(catalog, name, version, active=version == active))
        if not table.row_count:
            err.print(f"no indexes in {catalog.where}; build one with: rag-service index build DOCUMENTS --name NAME --activate")
            return
        out.print(table)


@app.command()
def show(
    version: VersionArgument = None,
    document: Annotated[str | None, typer.Option(help="Id of a document to show, instead of the manifest.", show_default=False)] = None,
    name: NameOption = None,
    indexes: IndexesOption = None,
) -> None:
    """The manifest of a version, as JSON: digests, parts, counts, and what was skipped.

    With --document, whether that is in it: its digests, its metadata and the places of its chunks, as `GET /documents/ID` gives them.

    Example: rag-service index show --document leave.md --name handbook
    """
    with errors_in_words():
        settings, catalog = _catalog(name, indexes)
        chosen = version or _served_version(catalog, settings.name)
        folder = catalog.version_folder(settings.name, chosen)
        if document is not None:
            out.print_json(data=described_document(open_chunks(catalog, settings.name, chosen), DocumentId(document), chosen))
            return
        manifest, facts = read_manifest(folder), read_build_facts(folder)
        shown = {"version": manifest.version, "digest": manifest.digest, "build": facts.model_dump(mode="json")}
        out.print_json(data={**shown, "manifest": manifest.model_dump(mode="json", by_alias=True)})


@app.command()
def verify(version: VersionArgument = None, name: NameOption = None, indexes: IndexesOption = None) -> None:
    """Compare every file of a version, and of the encoder that it needs, with the digests they were written with."""
    with errors_in_words():
        settings, catalog = _catalog(name, indexes)
        folder = catalog.version_folder(settings.name, version or _served_version(catalog, settings.name))
        manifest = verify_version(folder)
        read_build_facts(folder)
        verify_vectors(settings, catalog, settings.name, manifest)
        card = verify_encoder(manifest, catalog)
        out.print(f"[green]intact[/green] {settings.name} {manifest.version}: {len(manifest.files) + 2} files, {manifest.digest}")
        if card:
            out.print(f"[green]intact[/green] encoder {escape(card.name)} {card.id}: {len(card.files) + 1} files")


@app.command()
def activate(
    version: Annotated[str | None, typer.Argument(help="Version id; default the newest.", show_default=False)] = None,
    name: NameOption = None,
    generator: GeneratorOption = None,
    why: WhyOption = "",
    indexes: IndexesOption = None,
) -> None:
    """Serve a version: make a release of it with the current settings, check it, and switch to it. Running servers follow within a
    second. `rag-service release rollback` goes back.
    """
    with errors_in_words():
        settings = load_settings(name=name, indexes=indexes, generator=generator)
        catalog = open_catalog(settings)
        if version is None and not (versions := catalog.versions(settings.name)):
            raise NotFound(f"index {settings.name!r} has no version", hint="`rag-service index build` makes one")
        chosen = version or versions[-1]
        _activate(settings, catalog, chosen, why=why)


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="Version id.")],
    b: Annotated[str, typer.Argument(help="The version to compare it with.")],
    questions: QuestionsOption = None,
    name: NameOption = None,
    as_json: JsonOption = False,
    indexes: IndexesOption = None,
) -> None:
    """What differs between two versions: documents, chunks, settings; and with --questions, which answers.

    Example: rag-service index diff 3c7f5a1b9d02 8e1f0a6c4b75 --questions questions.jsonl
    """
    with errors_in_words():
        settings, catalog = _catalog(name, indexes)
        texts = read_texts(questions) if questions is not None else []
        difference = version_difference(catalog, settings.name, a, b, listed=_LISTED_IN_JSON if as_json else _LISTED)
        asked = compared(_pipeline(settings, catalog, a), _pipeline(settings, catalog, b), texts) if texts else None
        if as_json:
            out.print_json(json.dumps(described_difference(difference, asked, texts)))
            return
        print_difference(difference)
        if asked is not None:
            out.print()
            print_set(asked, texts)


@app.command()
def gc(
    name: NameOption = None,
    every: Annotated[bool, typer.Option("--all", help="Every index, instead of one.")] = False,
    keep: Annotated[int | None, typer.Option(help="Steps back that stay possible; default 5.", show_default=False, min=0)] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    ledger_file: LedgerOption = None,
    indexes: IndexesOption = None,
) -> None:
    """Remove versions that nobody needs any more: not active, not within reach of a rollback, needed by no record, used by no process.

    Example: rag-service index gc --dry-run
    """
    with errors_in_words():
        settings = load_settings(name=name, indexes=indexes, keep_releases=keep, ledger=ledger_file)
        catalog = open_catalog(settings)
        names = catalog.names() if every else [check_name(settings.name)]
        if not every and not catalog.versions(settings.name):
            raise NotFound(f"index {settings.name!r} has no version", hint="`rag-service index list` shows what there is")
        found = sweep(catalog, names, recorded=recorded_lineages(settings), depth=settings.keep_releases, dry_run=dry_run)
        print_swept(found, dry_run=dry_run)


def _pipeline(settings: Settings, catalog: Catalog, version: str) -> Pipeline:
    return open_release(settings, catalog, settings.name, make_release(settings, catalog, settings.name, version)).pipeline


def _activate(settings: Settings, catalog: Catalog, version: str, *, why: str, quietly: bool = False) -> str:
    release = make_release(settings, catalog, settings.name, version)
    if quietly:
        _, opened = activate_release(settings, catalog, settings.name, release, who=this_person(), why=why)
        keep_reference(settings, catalog, opened)
    else:
        serve_release(settings, catalog, release, why=why, action="activate")
    return release.id


def _catalog(name: str | None, indexes: Path | None) -> tuple[Settings, Catalog]:
    settings = load_settings(name=name, indexes=indexes)
    check_name(settings.name)
    return settings, open_catalog(settings)


def _served_version(catalog: Catalog, name: str) -> str:
    return catalog.release(name, catalog.active_id(name)).index.version


def _active_version(catalog: Catalog, name: str) -> str | None:
    try:
        return _served_version(catalog, name)
    except (NotFound, Damaged):
        return None


def _row(catalog: Catalog, name: str, version: str, *, active: bool) -> tuple[str, str, str, str, str]:
    folder = catalog.version_folder(name, version)
    try:
        manifest, facts = read_manifest(folder), read_build_facts(folder)
    except RagError as error:
        return ("", "", "", "", f"[red]{escape(error.code)}[/red]")
    counts = manifest.counts
    state = "[green]active[/green]" if active else ""
    return (facts.built_at, f"{counts.documents:,}", f"{counts.chunks:,}", manifest.encoder.name, state)


def _described(built: Built, release: str | None) -> dict[str, Any]:
    difference = asdict(built.difference) if built.difference is not None else None
    return {
        "manifest": built.manifest.model_dump(mode="json", by_alias=True),
        "version": built.manifest.version,
        "build": built.facts.model_dump(mode="json"),
        "existed": built.existed,
        "embedded": built.embedded,
        "reused": built.reused,
        "before": built.before,
        "difference": difference,
        "release": release,
    }


def _print_built(built: Built, settings: Settings, *, served: bool, activating: bool) -> None:
    manifest, counts = built.manifest, built.manifest.counts
    unchanged = "nothing has changed: this is version" if built.before == manifest.version else "there already: this is version"
    verb = unchanged if built.existed else "built version"
    out.print(f"[green]{verb}[/green] [bold]{manifest.version}[/bold] of index [bold]{escape(settings.name)}[/bold]")
    out.print(f"  documents {counts.documents:,} · chunks {counts.chunks:,} · tokens {counts.tokens:,}")
    longest, window = built.longest_chunk_tokens, manifest.encoder.window_tokens
    out.print(f"  longest chunk {longest} of {window} tokens · store {manifest.store.kind} · {shown_bytes(built.size_bytes)}")
    out.print(f"  encoder {escape(manifest.encoder.name)} · {_duration(built.facts)}")
    _print_changes(built)
    _print_skips(manifest, settings.name)
    if served:
        out.print("  served already")
    elif not activating:
        out.print(f"  not served yet; to serve it: rag-service index activate {manifest.version} --name {settings.name}")


def _print_changes(built: Built) -> None:
    vectors = f"embedded {built.embedded:,} chunks, reused {built.reused:,}" if built.reused else f"embedded {built.embedded:,} chunks"
    out.print(f"  {vectors}")
    if built.difference is not None and built.before != built.manifest.version:
        out.print(f"  since version {built.before}: {summary(built.difference)}")


def _duration(facts: BuildFacts) -> str:
    return f"{facts.duration_s:.1f} s, {facts.built_at}"


def _print_skips(manifest: Manifest, name: str) -> None:
    total = sum(manifest.skipped.by_reason.values())
    if not total:
        out.print("  skipped none")
        return
    reasons = ", ".join(f"{count} {reason}" for reason, count in manifest.skipped.by_reason.items())
    out.print(f"  [yellow]skipped {total}[/yellow]: {reasons}")
    for skipped in manifest.skipped.listed[:10]:
        detail = f" ({skipped.detail})" if skipped.detail else ""
        out.print(f"    {escape(skipped.source)}: {skipped.reason}{escape(detail)}", soft_wrap=True)
    if total > 10:
        out.print(f"    … and {total - 10} more; `rag-service index show {manifest.version} --name {name}` lists them")
