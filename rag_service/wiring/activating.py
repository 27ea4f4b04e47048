"""The verb: release → what is served. Every check first; then one rename, which running servers follow."""

import getpass
import logging
import socket
import threading
from contextlib import suppress

from rag_service.canaries import check_canaries, read_canaries
from rag_service.catalog import Catalog
from rag_service.desk import Switched
from rag_service.errors import Damaged, Mismatch, NotFound, RagError, ReleaseUnavailable, StorageFailed
from rag_service.history import Action, History, Transition
from rag_service.opened import Opened, Report
from rag_service.records import Records
from rag_service.release import Release
from rag_service.settings import Settings
from rag_service.wiring.drifting import keep_canary_answers
from rag_service.wiring.encoders import Encoders
from rag_service.wiring.first_reference import keep_first_reference
from rag_service.wiring.releases import open_release, proved

logger = logging.getLogger("rag_service.wiring")

SAMPLED_CHUNKS = 64
"""Stored vectors that are compared with what the encoder gives now."""


class IndexSwitching:
    """What a running server does for `desk.Switching`. Opens a release apart from what is served, and so reads the encoder anew too."""

    def __init__(self, settings: Settings, catalog: Catalog, records: Records) -> None:
        self._settings = settings
        self._catalog = catalog
        self._records = records
        self._one_at_a_time = threading.Lock()  # each takes as much memory as what it opens

    def activate(self, release: str, *, who: str, why: str, expected: str | None) -> Switched:
        found = self._catalog.release(self._settings.name, release)
        return self._switch(found, "activate", who=who, why=why, expected=expected)

    def roll_back(self, release: str | None, *, who: str, why: str, expected: str | None) -> Switched:
        found = earlier(self._catalog, self._settings.name, release)
        return self._switch(found, "rollback", who=who, why=why, expected=expected)

    def history(self) -> History:
        return self._catalog.history(self._settings.name)

    def _switch(self, release: Release, action: Action, *, who: str, why: str, expected: str | None) -> Switched:
        settings, catalog = self._settings, self._catalog
        expected = expected or catalog.served_id(settings.name)  # now, and not when it is this one's turn
        with self._one_at_a_time:
            try:
                transition, opened = activate(settings, catalog, settings.name, release, who=who, why=why, action=action, expected=expected)
            except (Damaged, Mismatch) as error:
                raise ReleaseUnavailable(error.message, hint="what was served is still served", param="release") from error
            self._keep_reference(opened)
        return Switched(release, transition, opened.differences)

    def _keep_reference(self, opened: Opened) -> None:
        """Whatever comes of it, the release is served."""
        try:
            made = keep_first_reference(self._settings, self._catalog, self._records, opened.pipeline, _Silent())
        except RagError as error:
            logger.warning("no reference of drift was made: %s; `rag-service drift reference` makes one", error.message)
            return
        if made is not None:
            logger.info("reference %s of drift was made of %d questions", made.id, made.side.questions)


class _Silent:
    def stage(self, name: str, total: int | None) -> None: ...

    def advance(self, amount: int = 1) -> None: ...


def activate(
    settings: Settings,
    catalog: Catalog,
    name: str,
    release: Release,
    *,
    who: str,
    why: str = "",
    action: Action = "activate",
    expected: str | None = None,
    encoders: Encoders | None = None,
    told: Report = lambda _check, _state: None,
) -> tuple[Transition | None, Opened]:
    """Serves `release` once it has passed every check; None where it is served already.

    Raises what the failed check raises, with its name; what was served is then still served. Raises `Conflict` where somebody else has
    changed that meanwhile: of two who do it at once, one does. `expected` says what must be served when the checks begin.
    """
    expected = expected or catalog.served_id(name)
    opened = checked(settings, catalog, name, release, encoders=encoders, told=told)
    return catalog.activate(name, release, who=who, why=why, action=action, expected=expected), opened


def checked(
    settings: Settings,
    catalog: Catalog,
    name: str,
    release: Release,
    *,
    encoders: Encoders | None = None,
    told: Report = lambda _check, _state: None,
) -> Opened:
    """Opens a release as a server would, reads every byte of it, and asks its canary questions. Raises what the failed check raises."""
    under_way = "release"

    def report(check: str, state: str) -> None:
        nonlocal under_way
        under_way = check
        told(check, state)

    try:
        opened = open_release(
            settings, catalog, name, release, report=report, encoders=encoders, verify="full", sampled_chunks=SAMPLED_CHUNKS
        )
        answers = proved("questions", report, lambda: check_canaries(opened.pipeline, read_canaries(catalog.canaries_path(name))))
    except RagError as error:
        error.message = f"release {release.id} is not activated, the check `{under_way}` failed: {error.message}"
        error.args = (error.message,)
        raise
    with suppress(StorageFailed):  # then the next report of drift keeps what the release answers
        keep_canary_answers(catalog, name, answers)
    return opened


def earlier(catalog: Catalog, name: str, release: str | None) -> Release:
    """The release that going back leads to: the one served before, or the one named. Raises `NotFound` or `Damaged`."""
    if release is not None:
        return catalog.release(name, release)
    before = catalog.history(name).back()
    if before is None:
        raise NotFound(
            f"index {name!r} has never served another release: there is nothing to go back to",
            hint=f"`rag-service release list {name}` shows what could be activated",
        )
    return catalog.release(name, before)


def this_person() -> str:
    """Who runs a command, for the history."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no such user in a container
        user = "unknown"
    return f"{user}@{socket.gethostname()}"
