"""Where a command writes what it made: a file, stdout for programs, or a terminal for people."""

from pathlib import Path

import typer
from rich.console import RenderableType

from rag_service.console import err, out
from rag_service.durable import write_atomically
from rag_service.errors import InvalidInput

STDOUT = Path("-")
_COLUMNS = 80
"""In a pipe, too, a table is for people."""


def check_target(path: Path | None, option: str) -> None:
    """Before anything is worked out. Raises `InvalidInput` for a file that cannot be written."""
    if path is None or path == STDOUT:
        return
    if path.is_dir() or not path.absolute().parent.is_dir():
        what = "is a folder" if path.is_dir() else "lies in a folder that does not exist"
        raise InvalidInput(f"--{option} {path} {what}", hint="give the path of a file in a folder that exists", param=option)


def write(path: Path, text: str) -> None:
    """`-` is stdout. Raises `StorageFailed`."""
    if path == STDOUT:
        typer.echo(text, nl=False)
        return
    write_atomically(path, text.encode())
    err.print(f"[dim]written: {path}[/dim]", soft_wrap=True)


def display(what: RenderableType) -> None:
    """On stdout, wrapped."""
    out.print(what, width=min(out.width, _COLUMNS), soft_wrap=False)
