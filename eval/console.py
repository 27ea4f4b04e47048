"""How `python -m eval` speaks: results on stdout, everything else on stderr, one form for errors, as `rag-service` does."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import NoReturn, Self

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from rag_service.errors import InvalidName, InvalidSettings, RagError

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

EXIT_ERROR = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


class BarProgress:
    """The `Progress` port drawn as one bar with the time left; silent where stderr is no terminal. Remembers how far it came."""

    def __init__(self) -> None:
        self._bars = Progress(
            TextColumn("{task.description:<10}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=err,
            disable=not err.is_terminal,
            transient=True,
        )
        self._current: TaskID | None = None
        self.done = 0
        self.total: int | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._bars.stop()

    def stage(self, name: str, total: int | None) -> None:
        self._current = self._bars.add_task(name.capitalize(), total=total)
        self.done, self.total = 0, total

    def advance(self, amount: int = 1) -> None:
        self.done += amount
        if self._current is not None:
            self._bars.advance(self._current, amount)

    def reached(self) -> str:
        return "before the first question" if self.total is None else f"after {self.done:,} of {self.total:,} questions"


@contextmanager
def errors_in_words(progress: BarProgress) -> Iterator[None]:
    """Ends the program with a sentence and an exit code: 1 for what went wrong, 2 for a wrong call, 130 for Ctrl-C."""
    try:
        yield
    except RagError as error:
        fail(error)
    except KeyboardInterrupt as error:
        err.print(f"\n[yellow]interrupted {progress.reached()}; nothing was written[/yellow]")
        raise typer.Exit(EXIT_INTERRUPTED) from error


def fail(error: RagError) -> NoReturn:
    err.print(f"[bold red]error[/bold red] {escape(error.message)}", soft_wrap=True)
    if error.hint:
        err.print(f"      [dim]{escape(error.hint)}[/dim]", soft_wrap=True)
    raise typer.Exit(EXIT_USAGE if isinstance(error, InvalidName | InvalidSettings) else EXIT_ERROR)
