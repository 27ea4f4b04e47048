"""The commands, put together."""

from typing import Annotated

import typer

from rag_service import __version__
from rag_service.cli import config, drift, encoder, index, keys, release, trace
from rag_service.cli.ask import ask
from rag_service.cli.serve import serve

app = typer.Typer(
    name="rag-service",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,  # locals hold documents and keys
    help="Question answering over your documents in which every answer can say what made it.",
    epilog="Begin with: rag-service index build DOCUMENTS --name NAME --activate",
)
app.add_typer(index.app, name="index")
app.add_typer(release.app, name="release")
app.add_typer(encoder.app, name="encoder")
app.add_typer(config.app, name="config")
app.add_typer(keys.app, name="keys")
app.add_typer(trace.app, name="trace")
app.add_typer(drift.app, name="drift")
app.command()(ask)
app.command()(serve)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"rag-service {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)] = False,
) -> None:
    """Options of the program itself."""
