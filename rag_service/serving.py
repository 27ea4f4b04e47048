"""What a running server holds: the opened release, how far opening it has come, and the switch to the next one.

A request pins the current pipeline once and keeps it to its end. Each pin reads the ACTIVE pointer (20 µs), and where nobody asks, a
thread does; when it names another release, that one is opened beside the old in the background and takes over only when all its checks
have passed.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from rag_service.ask import Pipeline
from rag_service.errors import NotReady, RagError, ShuttingDown, StorageFailed
from rag_service.opened import CHECKS, Opened, Report

logger = logging.getLogger("rag_service.serving")

RETRY_AFTER_S = 1
_LOOK_EVERY_S = 0.25
"""For an activation to be followed within a second where nobody asks."""
_RETRY_FAILED_S = 5.0
"""A release that failed to open is not tried again sooner than this."""


@dataclass(frozen=True, slots=True)
class Readiness:
    ready: bool
    checks: dict[str, str]
    """Check → pending, checking, ok or failed."""
    release: str | None
    """Id of the release that answers now."""
    since_s: float
    """Since the server started."""
    problem: str | None
    """Code of what keeps the server from being ready, or the active release from being served."""


class Service:
    """`active_id` gives the id that ACTIVE names now; `open_release` opens that release. Start it once. A patient one waits at its start
    for storage that is away: a database on another machine.
    """

    def __init__(self, active_id: Callable[[], str], open_release: Callable[[str, Report], Opened], *, patient: bool = False) -> None:
        self._patient = patient
        self._active_id = active_id
        self._open_release = open_release
        self._pipeline: Pipeline | None = None
        self._served_id: str | None = None
        self._opening = threading.Lock()
        self._checks = dict.fromkeys(CHECKS, "pending")
        self._problem: RagError | None = None
        self._failed: tuple[str, float] | None = None
        self._leaving = False
        self._draining = False
        self._stopping = threading.Event()
        self._began_s = time.monotonic()

    def start(self, *, ready: Callable[[Opened], None], failed: Callable[[RagError], None]) -> None:
        """Opens the active release in the background, then calls `ready`, or `failed` if there is nothing that could be served."""

        def first() -> None:
            try:
                opened = self._opened_first()
            except RagError as error:
                if not self._draining:
                    self._problem = error
                    failed(error)
            else:
                ready(opened)
                threading.Thread(target=self._watch, name="follow-active", daemon=True).start()

        _in_background(first)

    def _opened_first(self) -> Opened:
        while True:
            try:
                with self._opening:
                    return self._switch_to(self._active_id())
            except StorageFailed as error:
                if not self._patient or self._draining:
                    raise
                if self._problem is None or self._problem.message != error.message:
                    logger.error("not ready, and tried again every second: %s: %s", error.message, error.hint)
                self._problem = error
            if self._stopping.wait(RETRY_AFTER_S):
                raise ShuttingDown("the service is shutting down")

    def pin(self) -> Pipeline:
        """The pipeline for one request. Raises `NotReady` while there is none, or once the server shuts down."""
        if self._draining:
            raise ShuttingDown("the service is shutting down", hint="ask another instance")
        if self._pipeline is None:
            raise NotReady("the service is still starting", hint=f"try again in {RETRY_AFTER_S} s; /health/ready says how far it is")
        self._follow_active()
        return self._pipeline

    def readiness(self) -> Readiness:
        """Looks at ACTIVE as well, so that an activation is followed, or reported as impossible, without a question being asked."""
        if self._pipeline is not None and not self._draining:
            self._follow_active()
        return Readiness(
            ready=self._pipeline is not None and not self._leaving,
            checks=dict(self._checks),
            release=self._pipeline.lineage.release.id if self._pipeline else None,
            since_s=round(time.monotonic() - self._began_s, 1),
            problem="shutting_down" if self._leaving else self._problem.code if self._problem else None,
        )

    def leave(self) -> None:
        """From now on not ready, so that nobody is sent here any more. Whoever comes all the same is answered."""
        self._leaving = True
        if self._pipeline is None:
            self.drain()

    def drain(self) -> None:
        """From now on nobody is let in; requests that are under way go on. A release that is being opened is given up at its next check."""
        self._leaving = self._draining = True
        self._stopping.set()

    @property
    def leaving(self) -> bool:
        """Whether it has been told to leave or to drain."""
        return self._leaving

    @property
    def stuck(self) -> bool:
        """Whether what answers now is not what should: the active release cannot be served."""
        return self._pipeline is not None and self._problem is not None

    @property
    def current(self) -> Pipeline | None:
        """What answers now, if anything does."""
        return self._pipeline

    def _watch(self) -> None:
        while not self._stopping.wait(_LOOK_EVERY_S):
            self._follow_active()

    def _follow_active(self) -> None:
        try:
            active = self._active_id()
        except RagError as error:
            self._complain(error)  # the pointer is gone or damaged: what answers now goes on
            return
        if active == self._served_id:
            self._problem = None  # whatever was wrong with the pointer, or with a release that it named meanwhile, is over
            return
        if self._failed and self._failed[0] == active and time.monotonic() < self._failed[1]:
            return
        if self._opening.acquire(blocking=False):
            _in_background(self._switch_in_background)

    def _switch_in_background(self) -> None:
        """Ends with the lock released, which `_follow_active` took. Reads the pointer anew: it may have moved on meanwhile."""
        active = ""
        try:
            active = self._active_id()
            if active != self._served_id:
                self._switch_to(active)
        except RagError as error:
            self._failed = (active, time.monotonic() + _RETRY_FAILED_S)
            self._complain(error)
        finally:
            self._opening.release()

    def _switch_to(self, active: str) -> Opened:
        first = self._pipeline is None
        try:
            opened = self._open_release(active, self._report(shown=first))
        except RagError:
            raise
        except Exception as error:
            # Unforeseen, but this thread has nobody above it: uncaught, the server would be "still starting" for ever.
            logger.exception("release %s could not be opened", active)
            raise RagError(f"release {active} could not be opened: {type(error).__name__}", hint="the log has the details") from error
        self._pipeline, self._served_id = opened.pipeline, active
        self._problem, self._failed = None, None
        running = opened.pipeline.lineage.release
        logger.info("serving release %s of index version %s", running.id, running.index.version)
        if opened.differences:
            logger.warning(
                "release %s was made with other %s: what is served now is release %s; `rag-service index activate` makes that official",
                active, " and ".join(opened.differences), running.id,
            )  # fmt: skip
        return opened

    def _report(self, *, shown: bool) -> Report:
        def report(check: str, state: str) -> None:
            if self._draining:
                raise ShuttingDown("the service is shutting down")
            if shown:
                self._checks[check] = state

        return report

    def _complain(self, error: RagError) -> None:
        if self._problem is None or self._problem.message != error.message:
            logger.error("the active release cannot be served, the previous one goes on: %s", error.message)
        self._problem = error


def _in_background(work: Callable[[], None]) -> None:
    """Not a daemon: a process that ends while one of its threads loads a model, in native code, is aborted."""
    threading.Thread(target=work, name="open-release").start()
