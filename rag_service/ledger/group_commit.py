"""The one thread that writes to a ledger: whatever waits at a moment is committed together, and each is told when it is on the disk."""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from copy import copy
from dataclasses import dataclass
from typing import Any, Protocol

from rag_service.errors import RagError, StorageFailed

logger = logging.getLogger("rag_service.ledger")

MOST_AT_ONCE = 256
MOST_WAITING = 4096
"""Entries that wait for the disk, some thirty megabytes: beyond, an answer counts as one that cannot be written."""
_TRY_AGAIN_S = 0.2
"""What could not be tidied up at once goes on after so long, if nothing is written before."""

Work = Callable[[Any], Any]
"""Given the end of the chain within a transaction, as the ledger at hand has it."""


class Committer(Protocol):
    """What the thread writes to. Only that thread calls it. After a failure it opens what it needs anew."""

    @property
    def left_over(self) -> bool:
        """Whether there is something to tidy up."""

    def commit(self, works: Sequence[Work]) -> list[Any]:
        """All of them in one transaction; their results, once that is on the disk. Raises `RagError`, and then did none."""

    def blames_one(self, error: RagError) -> bool:
        """Whether one work is to blame for what `commit` raised, rather than the disk or the ledger."""

    def tidy_up(self) -> None:
        """Some of it, for a moment. Never raises."""

    def forget(self) -> None:
        """Closes what is open."""


@dataclass(frozen=True, slots=True)
class _Task:
    work: Work
    done: "Future[Any]"


class GroupCommit:
    """Starts its thread when the first work comes."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._waiting: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._thread: threading.Thread | None = None

    def submit(self, work: Work) -> "Future[Any]":
        """`work` is done within a transaction; what it returns is there once that is on the disk."""
        done: Future[Any] = Future()
        with self._closing:
            if self._closed:
                done.set_exception(StorageFailed("the ledger is closed"))
                return done
            if self._waiting.qsize() >= MOST_WAITING:
                done.set_exception(StorageFailed(f"{MOST_WAITING:,} entries wait for the ledger", hint="check its disk"))
                return done
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)  # a kill must not lose more
                self._thread.start()
            self._waiting.put(_Task(work, done))
        return done

    def close(self) -> None:
        """What was submitted is still written."""
        with self._closing:
            self._closed = True
            thread = self._thread
            if thread is not None:
                self._waiting.put(None)
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while True:
            tasks = self._next()
            waiting = [task for task in tasks if task is not None and task.done.set_running_or_notify_cancel()]
            if waiting:
                self._write(waiting)
            self._committer.tidy_up()
            if None in tasks:
                break
        self._committer.forget()

    def _next(self) -> list[_Task | None]:
        """Nothing where there is something to tidy up and nobody comes."""
        try:
            tasks = [self._waiting.get(timeout=_TRY_AGAIN_S if self._committer.left_over else None)]
        except queue.Empty:
            return []
        while len(tasks) < MOST_AT_ONCE:
            try:
                tasks.append(self._waiting.get_nowait())
            except queue.Empty:
                break
        return tasks

    def _write(self, tasks: Sequence[_Task]) -> None:
        """Whoever gave up waiting is written down all the same."""
        try:
            results = self._committer.commit([task.work for task in tasks])
        except RagError as error:
            self._fail(tasks, error, of_one=self._committer.blames_one(error))
        except Exception as error:
            # Unforeseen, but this thread has nobody above it: uncaught, every later answer would wait for ever.
            if len(tasks) == 1:
                logger.exception("the ledger could not be written")
            self._fail(tasks, StorageFailed(f"could not write to the ledger: {type(error).__name__}"), of_one=True)
        else:
            self._committer.tidy_up()
            for task, result in zip(tasks, results, strict=True):
                task.done.set_result(result)

    def _fail(self, tasks: Sequence[_Task], error: RagError, *, of_one: bool) -> None:
        self._committer.forget()
        if of_one and len(tasks) > 1:  # one of them is to blame, and the others are not
            for task in tasks:
                self._write([task])
            return
        for task in tasks:
            task.done.set_exception(copy(error))
