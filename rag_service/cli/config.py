"""`rag-service config`: what is set, and to what."""

import typer
from rich.markup import escape
from rich.table import Table

from rag_service.console import errors_in_words, out
from rag_service.settings import PREFIX, Settings, explicitly_set, load_settings, shown_value

app = typer.Typer(no_args_is_help=True, help="Settings: what there is, and what is in force.")


@app.command()
def show() -> None:
    """Every setting with its value in force, its variable and what it does. Set ones are marked."""
    with errors_in_words():
        settings, given = load_settings(), explicitly_set()
        table = Table("setting", "value", "what it does", box=None, pad_edge=False)
        for name, field in Settings.model_fields.items():
            value = escape(str(shown_value(getattr(settings, name), name)))
            shown = f"[bold green]{value}[/bold green]" if name in given else value
            table.add_row(f"{PREFIX}{name.upper()}", shown, escape(field.description or ""))
        out.print(table)
