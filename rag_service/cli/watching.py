"""Changes of a source, as they happen."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from watchfiles import watch

from rag_service.console import err
from rag_service.loading.source import watched_folder

_SETTLED_MS = 1600
"""What changes within so long of another change is built with it."""
_QUIET_MS = 300
"""So long nothing more must have changed."""


def changes_below(source: str, *, apart_from: Path) -> Iterator[int]:
    """How many files changed, each time some have. Ends with `KeyboardInterrupt`, also where one was raised in a place that swallows it,
    as what cleans up does. `apart_from` is the folder that builds themselves write to.
    """
    folder, own, interrupted = watched_folder(source), apart_from.resolve(), threading.Event()

    def interrupt(number: int, frame: FrameType | None) -> None:
        interrupted.set()
        signal.default_int_handler(number, frame)

    def counts(_: object, path: str) -> bool:
        changed = Path(path)
        return not changed.name.startswith(".") and own not in (changed, *changed.parents)

    err.print(f"[dim]watching {folder} for changes; Ctrl-C ends it[/dim]")
    signal.signal(signal.SIGINT, interrupt)
    for changes in watch(folder.resolve(), watch_filter=counts, debounce=_SETTLED_MS, step=_QUIET_MS, stop_event=interrupted):
        yield len({path for _, path in changes})
    raise KeyboardInterrupt
