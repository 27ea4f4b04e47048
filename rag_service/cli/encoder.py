"""`rag-service encoder`: export, list; and push and pull, which `transfer` holds."""

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from rag_service.catalog import Catalog
from rag_service.cli.options import IndexesOption
from rag_service.cli.transfer import encoder_pull, encoder_push
from rag_service.console import err, errors_in_words, out, shown_bytes
from rag_service.embedders.encoder import EncoderCard
from rag_service.settings import load_settings
from rag_service.wiring.encoders import export_encoder, exported_encoders, find_encoder

app = typer.Typer(no_args_is_help=True, help="Export encoders so that they run without torch.")
app.command("push")(encoder_push)
app.command("pull")(encoder_pull)


@app.command()
def export(
    encoder: Annotated[str | None, typer.Argument(help="Encoder name, model folder, or owner/model.", show_default=False)] = None,
    precision: Annotated[str | None, typer.Option(help="int8 or fp32.", show_default=False)] = None,
    if_missing: Annotated[bool, typer.Option("--if-missing", help="Do nothing if it is there already.")] = False,
    indexes: IndexesOption = None,
) -> None:
    """Export an encoder to ONNX, and check its vectors against the original. Needs the extra [build]."""
    with errors_in_words(interrupted=lambda: "interrupted: nothing was written"):
        settings = load_settings(encoder=encoder, precision=precision, indexes=indexes)
        catalog = Catalog(settings.indexes)
        if if_missing and (folder := find_encoder(settings, catalog)):
            out.print(f"encoder {escape(settings.encoder)} ({settings.precision}) is there: {folder}")
            return
        with err.status(f"exporting {escape(settings.encoder)} ({settings.precision})"):
            card, folder, least_cosine = export_encoder(settings, catalog)
        size = shown_bytes(sum(entry.size_bytes for entry in card.files.values()))
        out.print(f"[green]exported[/green] {escape(card.name)} {card.precision} to {folder}")
        out.print(f"  {card.dimension} dimensions · window {card.window_tokens} tokens · {size}")
        out.print(f"  least cosine to the original's vectors {least_cosine:.4f}")


@app.command("list")
def list_encoders(indexes: IndexesOption = None) -> None:
    """Exported encoders."""
    with errors_in_words():
        catalog = Catalog(load_settings(indexes=indexes).indexes)
        table = Table("id", "name", "precision", "dimensions", "window", "source", box=None, pad_edge=False)
        for card, folder in exported_encoders(catalog):
            if isinstance(card, EncoderCard):
                revision = f"@{card.source.revision[:12]}" if card.source.revision else ""
                source = f"{card.source.repository}{revision}"
                table.add_row(card.id, card.name, card.precision, str(card.dimension), str(card.window_tokens), source)
            else:
                table.add_row(folder.name, "[red]damaged[/red]", "", "", "", escape(card.message))
        if not table.row_count:
            err.print(f"no encoders in {catalog.encoders_folder()}; `rag-service encoder export` makes the default one")
            return
        out.print(table)
