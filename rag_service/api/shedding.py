"""Refuses what cannot be answered soon before anything of it is read: under overload, refusing is most of the work.

A request that the cache could answer is refused as well: to know that, its body would have to be read.
"""

import logging
import time

from starlette.types import ASGIApp, Receive, Scope, Send

from rag_service.api.admission import Admission
from rag_service.api.errors import as_response, from_rag_error
from rag_service.api.outcome import current_outcome
from rag_service.api.trace import current_ids
from rag_service.errors import RagError

logger = logging.getLogger("rag_service.api")

_PATHS = frozenset({"/ask", "/ask/batch", "/search", "/v1/chat/completions"})
_SUMMARY_S = 1.0


class Shedding:
    """Instead of a line for each refusal the log has one a second with their number."""

    def __init__(self, app: ASGIApp, *, admission: Admission) -> None:
        self._app = app
        self._admission = admission
        self._summary_at_s = 0.0
        self._unreported = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not (self._admission.full and scope["type"] == "http" and scope["path"] in _PATHS and scope["method"] == "POST"):
            await self._app(scope, receive, send)
            return
        try:
            self._admission.check()
        except RagError as error:
            ids = current_ids()
            refusal = as_response(*from_rag_error(error, trace_id=ids.trace_id, request_id=ids.request_id))
            current_outcome().failed(error.code)
            self._report()
        await refusal(scope, receive, send)

    def _report(self) -> None:
        self._unreported += 1
        now_s = time.monotonic()
        if now_s >= self._summary_at_s:
            logger.warning("overloaded: %d requests refused", self._unreported)
            self._unreported, self._summary_at_s = 0, now_s + _SUMMARY_S
