"""`python -m eval cache ls|verify|gc`."""

from typing import Annotated

import typer
from rich.table import Table

from eval.cli.options import HomeOption
from eval.cli.written import display
from eval.runs import DEFAULT_HOME
from eval.stages.cache import StageCache
from rag_service.console import errors_in_words, shown_bytes

app = typer.Typer(no_args_is_help=True, help="What is remembered of earlier runs.")


@app.command("ls")
def list_stages(home: HomeOption = DEFAULT_HOME) -> None:
    """Show how much is remembered of each stage, and what it took to make."""
    with errors_in_words(), StageCache.open(home) as cache:
        stored = cache.stored()
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("stage", no_wrap=True)
    for heading in ("outputs", "size", "CPU ms each"):
        table.add_column(heading, justify="right", no_wrap=True)
    for stage, found in stored.items():
        table.add_row(stage, f"{found.outputs:,}", shown_bytes(found.size_bytes), f"{found.mean_ms:,.2f}")
    display(table if stored else "nothing is remembered here")


@app.command()
def verify(home: HomeOption = DEFAULT_HOME) -> None:
    """Read everything that is remembered, and drop what was altered."""
    with errors_in_words(), StageCache.open(home) as cache:
        total, dropped = sum(found.outputs for found in cache.stored().values()), cache.check()
    display(f"{total:,} outputs read, {dropped:,} were damaged and are dropped")


@app.command()
def gc(
    days: Annotated[float, typer.Option(min=0, help="Drop what was made more than so many days ago.")] = 30.0,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Forget what was made long ago. It is made again when it is needed."""
    with errors_in_words(), StageCache.open(home) as cache:
        dropped = cache.drop_unused(days)
    display(f"{dropped:,} outputs are dropped")
