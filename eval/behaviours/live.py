"""A running service, asked over HTTP as any client asks it. Whatever it holds, a reply has its form, its trace names what made it, and its
citations lead to the quoted words.
"""

import http.client
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, ValidationError

from eval.behaviours.case import Case, Documents, Reply, Verdict
from eval.behaviours.running import Silent, run_behaviours
from eval.metrics.answers import without_citations
from rag_service.errors import InvalidInput
from rag_service.ports import Progress

PASSAGE = "{passage}"
"""In a question: the beginning of a passage that the service holds."""

UNREACHABLE, MALFORMED, NO_PASSAGE = "unreachable", "malformed_reply", "no_passage"
"""Codes for what is no reply."""

_REQUEST_ID = "behaviour-suite"
"""By which the service's log and records know who asked."""
_MOST_BYTES = 16 * 2**20

_PASSAGE_CHARS = 200
_MOST_RESOLVED = 5
"""Citations of one answer that are followed."""
_TRIES = 3
_LONGEST_WAIT_S = 5.0
_NAMED = (("release", "id"), ("index", "version"), ("embedding_model", "name"), ("prompt_template", "name"), ("generator", "name"))
"""What a trace must name, as key and key below."""


class _Read(BaseModel):
    """What is looked at; replies hold more."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class _Cited(_Read):
    chunk_id: str
    document_id: str
    url: str
    quote: str
    answer_span: tuple[int, int]


class _Warned(_Read):
    code: str


class _Answered(_Read):
    status: Literal["answered", "abstained"]
    abstain_reason: str | None
    answer: str | None
    citations: tuple[_Cited, ...]
    warnings: tuple[_Warned, ...]
    trace_id: str
    trace: dict[str, Any]


class _Error(_Read):
    code: str
    message: str
    retryable: bool
    retry_after_s: float | None


class _Failed(_Read):
    error: _Error
    trace_id: str


class _Passage(_Read):
    text: str


class _Found(_Read):
    hits: tuple[_Passage, ...]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A key goes to the address that it was given for, and nowhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    body: bytes
    trace_id: str | None
    """Of the header."""


def run_live(
    url: str, cases: Sequence[Case], key: str | None = None, *, progress: Progress | None = None, timeout_s: float = 60.0
) -> tuple[Verdict, ...]:
    """Asks the service at `url`, with an API key of the scope `ask` where it needs one; each request within `timeout_s`.

    A service that does not answer fails the cases. Raises `InvalidInput` where `url` is no address of a service.
    """
    return run_behaviours(cases, LiveService(url, key, timeout_s=timeout_s).ask, progress or Silent())


class LiveService:
    def __init__(self, url: str, key: str | None = None, *, timeout_s: float = 60.0) -> None:
        """Raises `InvalidInput`."""
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.netloc:
            raise InvalidInput(f"{url!r} is not the address of a service", hint="it looks like http://127.0.0.1:8000", param="url")
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise InvalidInput("the API key has characters that no key has", hint="give it as it was shown when it was made", param="key")
        self._url = url.rstrip("/")
        self._headers = {"accept": "application/json", **({"authorization": f"Bearer {key}"} if key else {})}
        self._timeout_s = timeout_s
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._passage: str | None = None

    def ask(self, _documents: Documents, question: str) -> Reply:
        """Asks anew, not from the cache. What is refused because of others is asked again a little later."""
        try:
            if PASSAGE in question:
                passage = self._a_passage()
                if isinstance(passage, Reply):
                    return passage
                question = question.replace(PASSAGE, passage)
            return self._reply(self._patiently("/ask", {"question": question, "cache": False, "request_id": _REQUEST_ID}))
        except (OSError, http.client.HTTPException) as error:
            return Reply(status="error", code=UNREACHABLE, message=f"{self._url}: {error}")

    def _reply(self, response: _Response) -> Reply:
        if response.status != 200:
            return _refusal(response)
        try:
            answered = _Answered.model_validate_json(response.body)
        except ValidationError as error:
            return _malformed(response, error)
        reply = Reply(
            status=answered.status,
            code=answered.abstain_reason,
            answer=without_citations(answered.answer or "", [cited.answer_span for cited in answered.citations]),
            cites=tuple(dict.fromkeys(cited.document_id for cited in answered.citations)),
            warnings=tuple(warned.code for warned in answered.warnings),
        )
        return replace(reply, faults=(*_untraced(answered, response), *self._unresolved(answered)))

    def _unresolved(self, answered: _Answered) -> Iterator[str]:
        if answered.status == "answered" and not answered.citations:
            yield "the answer cites nothing"
        if answered.status == "answered" and not (answered.answer or "").strip():
            yield "the answer is empty"
        for cited in answered.citations[:_MOST_RESOLVED]:
            place = urlsplit(cited.url)
            response = self._send(f"{place.path}?{place.query}" if place.query else place.path)
            if response.status != 200:
                yield f"the citation of {cited.document_id} leads to HTTP status {response.status}"
            elif cited.quote not in _text_in(response.body):
                yield f"the citation of {cited.document_id} leads to a passage without the quoted words"

    def _a_passage(self) -> str | Reply:
        """Or what was replied in its place."""
        if self._passage is None:
            wanted = {"question": "overview", "top_k": 1, "include": ["chunks"], "request_id": _REQUEST_ID}
            response = self._patiently("/search", wanted)
            if response.status != 200:
                return _refusal(response)
            try:
                found = _Found.model_validate_json(response.body)
            except ValidationError as error:
                return _malformed(response, error)
            if not found.hits:
                return Reply(status="error", code=NO_PASSAGE, message="a search found nothing: the index is empty, or the key sees nothing")
            self._passage = " ".join(found.hits[0].text.split())[:_PASSAGE_CHARS]
        return self._passage

    def _patiently(self, path: str, body: Mapping[str, object]) -> _Response:
        for _ in range(_TRIES - 1):
            response = self._send(path, body)
            wait_s = _wait_s(response)
            if wait_s is None:
                return response
            time.sleep(wait_s)
        return self._send(path, body)

    def _send(self, path: str, body: Mapping[str, object] | None = None) -> _Response:
        """Raises `OSError` or `HTTPException` where there is no response."""
        data = None if body is None else json.dumps(body).encode()
        headers = {**self._headers, **({} if body is None else {"content-type": "application/json"})}
        request = urllib.request.Request(f"{self._url}{path}", data=data, headers=headers)
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                return _Response(response.status, response.read(_MOST_BYTES), response.headers.get("x-trace-id"))
        except urllib.error.HTTPError as error:
            with error:
                return _Response(error.code, error.read(_MOST_BYTES), error.headers.get("x-trace-id"))


def _refusal(response: _Response) -> Reply:
    try:
        error = _Failed.model_validate_json(response.body).error
    except ValidationError as invalid:
        return _malformed(response, invalid)
    return Reply(status="error", code=error.code, message=error.message)


def _malformed(response: _Response, error: ValidationError) -> Reply:
    problem = error.errors(include_url=False)[0]
    where = ".".join(map(str, problem["loc"])) or "the body"
    return Reply(status="error", code=MALFORMED, message=f"HTTP status {response.status}: {where}: {problem['msg']}")


def _wait_s(response: _Response) -> float | None:
    """How long to wait before asking again; None where that would change nothing."""
    if response.status == 200:
        return None
    try:
        error = _Failed.model_validate_json(response.body).error
    except ValidationError:
        return None
    if not error.retryable or error.code == "deadline_exceeded":
        return None
    wait_s = 1.0 if error.retry_after_s is None else error.retry_after_s
    return wait_s if wait_s <= _LONGEST_WAIT_S else None


def _untraced(answered: _Answered, response: _Response) -> Iterator[str]:
    named = [answered.trace_id, str(answered.trace.get("trace_id")), str(response.trace_id)]
    if len(set(named)) > 1:
        yield f"reply, trace and header name different trace ids: {', '.join(named)}"
    for key, below in _NAMED:
        part = answered.trace.get(key)
        if not (isinstance(part, dict) and part.get(below)):
            yield f"the trace does not name {key}.{below}"


def _text_in(body: bytes) -> str:
    try:
        return _Passage.model_validate_json(body).text
    except ValidationError:
        return ""
