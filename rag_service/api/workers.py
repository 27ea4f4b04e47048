"""Several processes that answer on one port. They share the files of the index in the page cache, and what is made before they begin.

The first process answers nothing: it starts the others, replaces one that dies, passes signals on, and ends when they have ended. A worker
whose parent dies stops in good order by itself.
"""

import ctypes
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, Protocol

logger = logging.getLogger("rag_service.workers")

_PASSED_ON = frozenset({signal.SIGTERM, signal.SIGINT})
_WAITED_FOR = _PASSED_ON | {signal.SIGCHLD}
_AGAIN_AFTER_S = 1.0
"""A worker that never became ready, or ended sooner than this after its start, is replaced that much later."""
_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Work(Protocol):
    def __call__(self, number: int, *, replaces: bool, ready: Callable[[], None]) -> int:
        """In a process of its own: worker `number`, from 0, which calls `ready` once it is; gives the exit code. One that replaces another
        must take no connection before it is ready: the others do.
        """


@dataclass(slots=True)
class _Worker:
    number: int
    pid: int
    ready: int
    """Descriptor that can be read once it was ready."""
    started_s: float

    def was_ready(self) -> bool:
        try:
            return bool(os.read(self.ready, 1))
        except BlockingIOError:
            return False


class Workers:
    """`run` starts `count` of them and returns when all have ended: 0 after a signal, or the exit code of one that could not begin.

    One that cannot take the place of another ends nobody else: that is tried again.

    Main thread of a process without other threads only: it forks.
    """

    def __init__(self, count: int, work: Work) -> None:
        self._work = work
        self._running: dict[int, _Worker] = {}
        self._due: dict[int, float] = dict.fromkeys(range(count), 0.0)
        """Number of a worker that is to be started → when."""
        self._replaced: set[int] = set()
        self._stopping = False
        self._code = 0

    def run(self) -> int:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
        try:
            while self._running or (self._due and not self._stopping):
                self._start_those_due()
                self._wait()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self._code

    def _start_those_due(self) -> None:
        now_s = time.monotonic()
        for number in [number for number, due_s in self._due.items() if due_s <= now_s and not self._stopping]:
            del self._due[number]
            worker = self._fork(number)
            self._running[worker.pid] = worker

    def _fork(self, number: int) -> _Worker:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if not pid:
            os.close(reading)
            self._be_worker(number, parent, writing)
        os.close(writing)
        return _Worker(number, pid, reading, time.monotonic())

    def _be_worker(self, number: int, parent: int, writing: int) -> NoReturn:
        """Never returns: nothing of the parent's work must be done twice."""
        code = 1
        try:
            os.setpgid(0, 0)  # Ctrl-C in a terminal reaches the parent alone, which passes it on once
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED_FOR)
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            if os.getppid() == parent:
                code = self._work(number, replaces=number in self._replaced, ready=lambda: _say(writing))
        except BaseException:
            logger.exception("worker %d failed", number + 1)
        finally:
            logging.shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _wait(self) -> None:
        """For a signal, the end of a worker, or the time at which one is to be started."""
        next_s = min(self._due.values(), default=None)
        timeout_s = 60.0 if next_s is None else max(next_s - time.monotonic(), 0.0)
        caught = signal.sigtimedwait(_WAITED_FOR, timeout_s)
        if caught is not None and caught.si_signo in _PASSED_ON:
            self._stop(caught.si_signo)
        self._reap()

    def _stop(self, number: int) -> None:
        self._stopping = True
        for worker in self._running.values():
            os.kill(worker.pid, number)

    def _reap(self) -> None:
        while self._running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            worker = self._running.pop(pid)
            was_ready = worker.was_ready()
            os.close(worker.ready)
            if self._stopping:
                continue
            code = os.waitstatus_to_exitcode(status)
            how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
            if not was_ready and code > 0 and worker.number not in self._replaced:
                self._code = code
                self._stop(signal.SIGTERM)
                continue
            logger.error("worker %d (process %d) ended %s and is replaced", worker.number + 1, pid, how)
            self._replaced.add(worker.number)
            quick = not was_ready or time.monotonic() - worker.started_s < _AGAIN_AFTER_S
            self._due[worker.number] = time.monotonic() + (_AGAIN_AFTER_S if quick else 0.0)


def _say(writing: int) -> None:
    os.write(writing, b"r")
