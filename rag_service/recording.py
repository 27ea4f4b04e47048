"""What stands between an answer and the ledger: what of it is kept, and what happens where it cannot be kept.

Nothing is lost in silence. By default an answer that could not be written still goes out, marked as not recorded and counted; a strict
service refuses it instead, since an answer without a record is one that nobody can account for.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace

from rag_service.errors import NotRecorded, RagError
from rag_service.kept import KEEP_EVERYTHING, Content, Retention
from rag_service.ports import Ledger
from rag_service.record import Receipt, Record
from rag_service.stored_record import entry_of

logger = logging.getLogger("rag_service.recording")

SWITCHED_OFF = "records are switched off: RAG_RECORDS is off"
_PRUNE_EVERY_S = 600.0
_COMPLAIN_EVERY_S = 10.0


class Recorder:
    """`failed` is told of each answer that could not be written. With `ledger` None nothing is kept. Safe to use from several threads."""

    def __init__(
        self,
        ledger: Ledger | None,
        *,
        content: Content = "full",
        strict: bool = False,
        retention: Retention = KEEP_EVERYTHING,
    ) -> None:
        self.ledger = ledger
        self.strict = strict
        self.failed: Callable[[], None] = _nothing
        self._content = content
        self._retention = retention
        self._prune_at_s = time.monotonic()
        self._complain_at_s = 0.0
        self._lock = threading.Lock()

    def start(self) -> None:
        """Says at once what would keep records from being written. Raises `Mismatch` for a file that is no ledger of this schema, and where
        the service is strict, whatever else is wrong with it.
        """
        if self.ledger is None:
            return
        try:
            self.ledger.check()
        except RagError as error:
            if self.strict or error.code == "mismatch":
                raise
            logger.error("answers go out unrecorded: %s: %s", error.message, error.hint)

    def add(self, record: Record, *, key_id: str | None) -> "Future[Receipt] | None":
        """Returns at once; `settled` makes of its outcome what goes out. None where nothing is kept."""
        if self.ledger is None:
            return None
        self._prune_if_due()
        return self.ledger.add(entry_of(record, content=self._content, key_id=key_id))

    def settled(self, record: Record, outcome: Receipt | RagError | None) -> Record:
        """The record with its receipt, or with the reason why it has none. Raises `NotRecorded` in a strict service."""
        if isinstance(outcome, Receipt):
            return replace(record, receipt=outcome)
        if outcome is None:
            return replace(record, unrecorded=SWITCHED_OFF)
        self._complain(outcome)
        if self.strict:
            refusal = NotRecorded("the answer could not be recorded", hint="its log says why", retry_after_s=1)
            refusal.attempt = record.attempt
            raise refusal from outcome
        return replace(record, unrecorded=f"the ledger could not be written ({outcome.code})")

    def keep(self, record: Record, *, key_id: str | None) -> Record:
        """`add` and `settled` for whoever can wait. Raises `NotRecorded`."""
        adding = self.add(record, key_id=key_id)
        try:
            return self.settled(record, adding.result() if adding is not None else None)
        except RagError as error:
            if isinstance(error, NotRecorded):
                raise
            return self.settled(record, error)

    def close(self) -> None:
        if self.ledger is not None:
            self.ledger.close()

    def _complain(self, error: RagError) -> None:
        self.failed()
        with self._lock:
            due = time.monotonic() >= self._complain_at_s
            if due:
                self._complain_at_s = time.monotonic() + _COMPLAIN_EVERY_S
        if due:
            what = "refused" if self.strict else "answers go out unrecorded"
            logger.error("%s: %s: %s", what, error.message, error.hint)

    def _prune_if_due(self) -> None:
        if self._retention == KEEP_EVERYTHING:
            return
        with self._lock:
            due = time.monotonic() >= self._prune_at_s
            if due:
                self._prune_at_s = time.monotonic() + _PRUNE_EVERY_S
        if due:
            threading.Thread(target=self._prune, name="prune-records", daemon=True).start()

    def _prune(self) -> None:
        with suppress(RagError):  # whoever writes the next answer says what is wrong
            dropped = self.ledger.prune(self._retention) if self.ledger else 0
            if dropped:
                logger.info("%d old entries of the ledger were dropped", dropped)


def _nothing() -> None:
    pass
