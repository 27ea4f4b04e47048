"""`rag-service index`: build, list, show, verify, activate."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from rag_service.build import Built
from rag_service.catalog import Catalog, check_name
from rag_service.cli.options import GeneratorOption, IndexesOption, JsonOption, NameOption
from rag_service.console import BarProgress, err, errors_in_words, out, shown_bytes
from rag_service.errors import Damaged, NotFound, RagError
from rag_service.manifest import BuildFacts, Manifest, read_build_facts, read_manifest, verify_version
from rag_service.settings import Settings, load_settings
from rag_service.wiring.encoders import verify_encoder
from rag_service.wiring.releases import make_release, open_release

app = typer.Typer(no_args_is_help=True, help="Build indexes from documents, look at them, choose what is served.")

VersionArgument = Annotated[str | None, typer.Argument(help="Version id; default the active one.", show_default=False)]


@app.command()
def build(
    source: Annotated[str, typer.Argument(help="A file, a folder (recursive), or a glob such as 'docs/**/*.md'.")],
    name: NameOption = None,
    activate: Annotated[bool, typer.Option("--activate", help="Serve the new version: make a release of it and switch to it.")] = False,
    encoder: Annotated[str | None, typer.Option(help="Encoder; default all-MiniLM-L6-v2.", show_default=False)] = None,
    chunk_tokens: Annotated[int | None, typer.Option(help="Longest chunk in tokens.", show_default=False)] = None,
    store: Annotated[str | None, typer.Option(help="auto, flat or hnsw.", show_default=False)] = None,
    indexes: IndexesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Build an index version from documents: Markdown, text, HTML, PDF, DOCX, CSV, JSONL.

    The same documents with the same settings give the same version. What was served before is untouched until --activate has
    succeeded, whatever happens on the way.

    Example: rag-service index build docs/ --name handbook --activate
    """
    with errors_in_words(interrupted=lambda: "interrupted: nothing was changed, and what was served is still served"):
        settings = load_settings(name=name, indexes=indexes, encoder=encoder, chunk_tokens=chunk_tokens, store=store)
        check_name(settings.name)
        catalog = Catalog(settings.indexes)
        from rag_service.wiring.building import build as build_version  # loads the document parsers

        with BarProgress() as progress:
            built = build_version(settings, catalog, settings.name, source, progress)
        release = _activate(settings, catalog, built.manifest.version) if activate else None
    if as_json:
        shown = {"manifest": built.manifest.model_dump(mode="json", by_alias=True), "version": built.manifest.version}
        out.print_json(data={**shown, "build": built.facts.model_dump(mode="json"), "existed": built.existed, "release": release})
        return
    _print_built(built, settings, release)


@app.command("list")
def list_indexes(indexes: IndexesOption = None) -> None:
    """Every index with its versions; the active one is marked."""
    with errors_in_words():
        catalog = Catalog(load_settings(indexes=indexes).indexes)
        table = Table("index", "version", "built", "documents", "chunks", "encoder", "state", box=None, pad_edge=False)
        for name in catalog.names():
            active = _active_version(catalog, name)
            for version in catalog.versions(name):
                table.add_row(name, version, *_row(catalog, name, version, active=version == active))
        if not table.row_count:
            err.print(f"no indexes in {catalog.root}; build one with: rag-service index build DOCUMENTS --name NAME --activate")
            return
        out.print(table)


@app.command()
def show(version: VersionArgument = None, name: NameOption = None, indexes: IndexesOption = None) -> None:
    """The manifest of a version, as JSON: digests, parts, counts, and what was skipped."""
    with errors_in_words():
        settings, catalog = _catalog(name, indexes)
        folder = catalog.version_folder(settings.name, version or _served_version(catalog, settings.name))
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
        card = verify_encoder(manifest, catalog)
        out.print(f"[green]intact[/green] {settings.name} {manifest.version}: {len(manifest.files) + 2} files, {manifest.digest}")
        if card:
            out.print(f"[green]intact[/green] encoder {escape(card.name)} {card.id}: {len(card.files) + 1} files")


@app.command()
def activate(
    version: Annotated[str | None, typer.Argument(help="Version id; default the newest.", show_default=False)] = None,
    name: NameOption = None,
    generator: GeneratorOption = None,
    indexes: IndexesOption = None,
) -> None:
    """Serve a version: make a release of it with the current settings, and switch to it. Running servers follow by themselves."""
    with errors_in_words():
        settings = load_settings(name=name, indexes=indexes, generator=generator)
        catalog = Catalog(settings.indexes)
        if version is None and not (versions := catalog.versions(settings.name)):
            raise NotFound(f"index {settings.name!r} has no version", hint="`rag-service index build` makes one")
        chosen = version or versions[-1]
        out.print(f"active: {settings.name} release {_activate(settings, catalog, chosen)} of version {chosen}")


def _activate(settings: Settings, catalog: Catalog, version: str) -> str:
    """Opens the release, with every check that a server makes, before it takes the place of one that works."""
    release = make_release(settings, catalog, settings.name, version)
    open_release(settings, catalog, settings.name, release)
    catalog.activate(settings.name, release)
    return release.id


def _catalog(name: str | None, indexes: Path | None) -> tuple[Settings, Catalog]:
    settings = load_settings(name=name, indexes=indexes)
    check_name(settings.name)
    return settings, Catalog(settings.indexes)


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


def _print_built(built: Built, settings: Settings, release: str | None) -> None:
    manifest, counts = built.manifest, built.manifest.counts
    verb = "unchanged: this is version" if built.existed else "built version"
    out.print(f"[green]{verb}[/green] [bold]{manifest.version}[/bold] of index [bold]{escape(settings.name)}[/bold]")
    out.print(f"  documents {counts.documents:,} · chunks {counts.chunks:,} · tokens {counts.tokens:,}")
    longest, window = built.longest_chunk_tokens, manifest.encoder.window_tokens
    out.print(f"  longest chunk {longest} of {window} tokens · store {manifest.store.kind} · {shown_bytes(built.size_bytes)}")
    out.print(f"  encoder {escape(manifest.encoder.name)} · {_duration(built.facts)}")
    _print_skips(manifest, settings.name)
    if release:
        out.print(f"[green]active[/green]: release [bold]{release}[/bold]")
        out.print(f'  ask it: rag-service ask "…" --name {settings.name}')
    else:
        out.print(f"  not served yet; to serve it: rag-service index activate {manifest.version} --name {settings.name}")


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
