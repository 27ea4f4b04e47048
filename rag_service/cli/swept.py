"""What was removed, and why the rest stays, at the terminal."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from rag_service.console import out, shown_bytes
from rag_service.sweep import Swept


def print_swept(found: Sequence[Swept], *, dry_run: bool) -> None:
    going = "[yellow]would go[/yellow]" if dry_run else "[yellow]removed[/yellow]"
    table = Table("what", "index", "id", "size", "", box=None, pad_edge=False)
    for one in found:
        size = shown_bytes(one.size_bytes)
        table.add_row(one.what, escape(one.name), one.id, size, going if one.goes else f"[dim]stays: {escape(one.why)}[/dim]")
    out.print(table)
    gone = [one for one in found if one.goes]
    freed = shown_bytes(sum(one.size_bytes for one in gone))
    if not gone:
        out.print("nothing to remove")
    elif dry_run:
        out.print(f"{freed} would be free; nothing was removed")
    else:
        out.print(f"[green]{freed} free[/green]")
