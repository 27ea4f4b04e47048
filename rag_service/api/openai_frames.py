"""Answers in the shape of OpenAI's chat API: whole, and in chunks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import Response

from rag_service.api.openai_schemas import Annotation, AnswerMessage, ChatReply, ChatUsage, Choice, UrlCitation
from rag_service.api.schemas import ErrorReply
from rag_service.api.streaming import SSE_HEADERS, SSE_TYPE
from rag_service.api.trace import current_ids
from rag_service.record import Delta, Event, Found, Record
from rag_service.reply import AskReply, CitationReply, Link, reply_to
from rag_service.types import AbstainReason, Citation, Hit

_NO_ANSWER: dict[AbstainReason, str] = {
    "no_hits": "I found nothing about this in the documents.",
    "low_confidence": "I found nothing in the documents that surely answers this question.",
    "generator_declined": "The passages that I found do not answer this question.",
    "unsupported": "The passages that I found do not support an answer to this question.",
    "empty_index": "There are no documents to answer from.",
}
"""What a person reads in a chat when there is no answer; `status` says it to programs."""

_DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Completion:
    """What all chunks of one answer have in common."""

    model: str
    created: int
    base_url: str
    include_usage: bool
    openwebui_events: bool


def chat_reply(record: Record, completion: Completion) -> ChatReply:
    reply = reply_to(record, base_url=completion.base_url)
    message = AnswerMessage(content=_content(reply), annotations=_annotations(reply.citations))
    return ChatReply(
        id=_id(reply.answer_id),
        created=completion.created,
        model=completion.model,
        system_fingerprint=reply.trace.release.id,
        choices=[Choice(message=message, finish_reason=_finish_reason(reply))],
        usage=_usage(reply),
        status=reply.status,
        abstain_reason=reply.abstain_reason,
        answer_id=reply.answer_id,
        citations=reply.citations,
        warnings=reply.warnings,
        trace=reply.trace,
    )


class ChatFrames:
    """Events as chunks: the role, the text, then annotations, citations and trace with the finish reason, and `[DONE]`."""

    def __init__(self, completion: Completion) -> None:
        self._completion = completion
        self._common: dict[str, Any] = {}

    def told(self, told: Event | Record) -> bytes:
        match told:
            case Found():
                return self._found(told)
            case Delta():
                return self._chunk({"content": told.text})
            case Citation():
                return b""  # with the last chunk, where clients look for them
            case Record():
                return b"".join(self._done(reply_to(told, base_url=self._completion.base_url)))

    def failed(self, error: ErrorReply) -> bytes:
        """Without `choices`, which is how clients know it."""
        return _data(error.model_dump(mode="json")) + _DONE

    def _found(self, found: Found) -> bytes:
        self._common = {
            "id": _id(found.answer_id),
            "object": "chat.completion.chunk",
            "created": self._completion.created,
            "model": self._completion.model,
            "system_fingerprint": found.attempt.lineage.release.id,
        }
        first = self._chunk({"role": "assistant", "content": ""})
        if not self._completion.openwebui_events:
            return first
        link = Link(self._completion.base_url, found.attempt.lineage.index.version)
        return first + b"".join(_source_event(hit, link) for hit in found.hits)

    def _done(self, reply: AskReply) -> Iterator[bytes]:
        if reply.answer is None:
            yield self._chunk({"content": _content(reply)})
        dumped = reply.model_dump(mode="json", include={"status", "abstain_reason", "answer_id", "citations", "warnings", "trace"})
        # Open WebUI makes a source of each annotation too, and would show every cited passage twice.
        shown = [] if self._completion.openwebui_events else _annotations(reply.citations)
        annotations = [annotation.model_dump(mode="json") for annotation in shown]
        yield self._chunk({"annotations": annotations} if annotations else {}, finish_reason=_finish_reason(reply), extra=dumped)
        if self._completion.include_usage:
            yield _data({**self._common, "choices": [], "usage": _usage(reply).model_dump(mode="json")})
        yield _DONE

    def _chunk(self, delta: dict[str, Any], *, finish_reason: str | None = None, extra: dict[str, Any] | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        return _data({**self._common, "choices": [choice], **(extra or {})})


def housekeeping_chat(completion: Completion, text: str, *, stream: bool) -> Response:
    """The reply to a prompt that a front end sends on its own. It is made without documents, so there is nothing to trace."""
    identifier = f"chatcmpl-{current_ids().trace_id}"
    if not stream:
        reply = ChatReply(
            id=identifier,
            created=completion.created,
            model=completion.model,
            system_fingerprint=None,
            choices=[Choice(message=AnswerMessage(content=text, annotations=[]), finish_reason="stop")],
            usage=ChatUsage(prompt_tokens=0, completion_tokens=0, total_tokens=0),
        )
        return Response(reply.model_dump_json(), media_type="application/json")
    common = {"id": identifier, "object": "chat.completion.chunk", "created": completion.created, "model": completion.model}
    frames = [
        _data({**common, "choices": [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}]}),
        _data({**common, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}),
    ]
    if completion.include_usage:
        frames.append(_data({**common, "choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}}))
    return Response(b"".join([*frames, _DONE]), headers=SSE_HEADERS, media_type=SSE_TYPE)


def _id(answer_id: str) -> str:
    return f"chatcmpl-{answer_id.removeprefix('ans_')}"


def _content(reply: AskReply) -> str:
    return _NO_ANSWER[reply.abstain_reason or "no_hits"] if reply.answer is None else reply.answer


def _annotations(citations: Sequence[CitationReply]) -> list[Annotation]:
    return [
        Annotation(
            url_citation=UrlCitation(
                start_index=citation.answer_span[0],
                end_index=citation.answer_span[1],
                url=citation.url,
                title=citation.title or citation.source,
            )
        )
        for citation in citations
    ]


def _finish_reason(reply: AskReply) -> Any:
    return "length" if any(warning.code == "answer_truncated" for warning in reply.warnings) else "stop"


def _usage(reply: AskReply) -> ChatUsage:
    prompt, completion = reply.usage.prompt_tokens or 0, reply.usage.completion_tokens or 0
    return ChatUsage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


def _source_event(hit: Hit, link: Link) -> bytes:
    """What Open WebUI shows as a source. One for each passage, in order, so that its numbers are those of the markers."""
    chunk, url = hit.chunk, link.to(hit.chunk)
    return _data(
        {
            "event": {
                "type": "source",
                "data": {
                    "source": {"id": url, "name": chunk.title or chunk.source, "url": url},
                    "document": [chunk.text],
                    "metadata": [{"source": url, "name": chunk.title or chunk.source, "url": url}],
                    "distances": [hit.score],
                },
            }
        }
    )


def _data(content: dict[str, Any]) -> bytes:
    return b"data: %s\n\n" % orjson.dumps(content)
