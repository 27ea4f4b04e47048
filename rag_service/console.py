"""How command lines speak, `rag-service` and `python -m eval` alike: results on stdout, all else on stderr, one form for errors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import NoReturn, Self

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from rag_service.errors import InvalidName, InvalidSettings, RagError

_PIPED_COLUMNS = 10_000


def _console(*, stderr: bool = False) -> Console:
    """Wraps and cuts at the width of a terminal, and in a pipe or file, where ids and URLs must stay whole, not at all."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console.soft_wrap, console.width = True, _PIPED_COLUMNS
    return console


out = _console()
err = _console(stderr=True)

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


@contextmanager
def errors_in_words(*, interrupted: Callable[[], str] = lambda: "interrupted") -> Iterator[None]:
    """Ends the program with a sentence and an exit code: 1 for what went wrong, 2 for a wrong call, 130 for Ctrl-C."""
    try:
        yield
    except RagError as error:
        fail(error)
    except KeyboardInterrupt as error:
        err.print(f"\n[yellow]{escape(interrupted())}[/yellow]")
        raise typer.Exit(EXIT_INTERRUPTED) from error


def fail(error: RagError) -> NoReturn:
    tell(error)
    raise typer.Exit(EXIT_USAGE if isinstance(error, InvalidName | InvalidSettings) else EXIT_ERROR)


def tell(error: RagError) -> None:
    """Says what went wrong, and what to do."""
    err.print(f"[bold red]error[/bold red] {escape(error.message)}", soft_wrap=True)
    if error.hint:
        err.print(f"      [dim]{escape(error.hint)}[/dim]", soft_wrap=True)


class BarProgress:
    """The `Progress` port drawn as one bar a stage; silent where stderr is not a terminal. Remembers how far the stage has come."""

    def __init__(self, *, counts_bytes: bool = False) -> None:
        self._bars = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=32),
            DownloadColumn() if counts_bytes else MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=err,
            disable=not err.is_terminal,
        )
        self._current: TaskID | None = None
        self.done = 0
        self.total: int | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        if kind is None:
            self._finish_stage()
        self._bars.stop()

    def stage(self, name: str, total: int | None) -> None:
        self._finish_stage()
        self._current = self._bars.add_task(name.capitalize(), total=total)
        self.done, self.total = 0, total

    def advance(self, amount: int = 1) -> None:
        self.done += amount
        if self._current is not None:
            self._bars.advance(self._current, amount)

    def _finish_stage(self) -> None:
        if self._current is not None:
            task = self._bars.tasks[-1]
            done = task.total if task.total is not None else 1
            self._bars.update(self._current, total=done, completed=done)


def shown_bytes(size: int) -> str:
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"
