"""A running service, asked the questions of a run: does it answer what the same release answers here? Scores hold for what is served only
if it does.
"""

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from eval.live_release import Live
from eval.results import Measured, Row
from rag_service.errors import Mismatch, NotReady
from rag_service.ports import Progress

_TIMEOUT_S = 60.0
_REQUEST_ID = "evaluation-parity"
"""By which the service's log and records know who asked."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Release(_Part):
    digest: str


class _Trace(_Part):
    release: _Release


class _Hit(_Part):
    chunk_id: str


class _Reply(_Part):
    status: str
    answer: str | None
    hits: tuple[_Hit, ...]
    trace: _Trace


@dataclass(frozen=True, slots=True)
class Parity:
    url: str
    asked: int
    other_release: str | None
    """Digest of the first other release that answered; None where it was always the measured one."""
    differing: tuple[tuple[str, str], ...]
    """Question id → what is not the same: `status`, `answer`, `passages`, or what was said in place of an answer."""

    @property
    def holds(self) -> bool:
        return not self.differing and self.other_release is None


def parity(live: Live, measured: Measured, progress: Progress) -> Parity:
    """Asks every question anew, past the service's cache. Questions at which the measured candidate failed are left out.

    Raises `NotReady` where nothing answers at the first question.
    """
    rows = [row for row in measured.rows if not row.sample.failures]
    progress.stage("live", len(rows))
    other: str | None = None
    differing: list[tuple[str, str]] = []
    for row in rows:
        try:
            reply = _ask(live, row.question.question)
        except NotReady:
            if row is rows[0]:
                raise
            differing.append((row.id, "nothing answered"))
        except Mismatch as error:
            differing.append((row.id, error.message))
        else:
            if reply.trace.release.digest != measured.release.digest:
                other = other or reply.trace.release.digest
            differing.extend((row.id, what) for what in _differences(row, reply))
        progress.advance()
    return Parity(live.url, len(rows), other, tuple(differing))


def _differences(row: Row, reply: _Reply) -> Iterator[str]:
    """The first thing that is not the same, as one follows from the other."""
    sample = row.sample
    if _ids(reply.hits) != [hit.chunk_id for hit in sample.hits]:
        yield "passages"
    elif reply.status != sample.status:
        yield "status"
    elif reply.answer != sample.answer:
        yield "answer"


def _ids(hits: Sequence[_Hit]) -> list[str]:
    return [hit.chunk_id for hit in hits]


def _ask(live: Live, question: str) -> _Reply:
    """Raises `NotReady` where nothing answers, `Mismatch` for a refusal or what is no answer."""
    headers = {"content-type": "application/json", **({"authorization": f"Bearer {live.key}"} if live.key else {})}
    body = json.dumps({"question": question, "cache": False, "request_id": _REQUEST_ID}).encode()
    request = urllib.request.Request(f"{live.url.rstrip('/')}/ask", data=body, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # http and https alone: see `Live`
            return _Reply.model_validate_json(response.read())
    except urllib.error.HTTPError as error:
        with error:
            raise Mismatch(f"HTTP status {error.code}: {error.reason}", hint="look into the log of the service") from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise NotReady(f"nothing answers at {live.url}: {reason}", hint="start the service, or leave --target out") from error
    except ValidationError as error:
        raise Mismatch("the reply is not an answer of this service", hint="is this its address?") from error
