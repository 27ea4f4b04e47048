"""Answers that were given before, by everything that decides what they are.

Exact: the release, what the caller may see, and every parameter of the question are in the key, so an answer never crosses from one
release or key to another. Bounded in bytes; the least recently used goes first.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from opentelemetry.trace import format_trace_id

from rag_service.ask import Pipeline
from rag_service.question import Question, clean_question
from rag_service.record import Record, new_answer_id
from rag_service.telemetry.spans import in_a_trace, span_of_answer

_RECORD_BYTES = 8_000
"""Of a record without its texts: the vector, the trace, the objects."""
_CHUNK_BYTES = 1_500
"""Of a hit without its text."""
_TRANSIENT = frozenset({"follow_up_not_rewritten", "generator_fell_back"})
"""Warnings of answers that would be better another time."""


@dataclass(frozen=True, slots=True)
class _Entry:
    record: Record
    size_bytes: int


class AnswerCache:
    """Safe to use from several threads. With `max_bytes` 0 it keeps nothing."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()
        self._lock = threading.Lock()
        self._size_bytes = 0

    @property
    def size_bytes(self) -> int:
        """An estimate, on the high side."""
        return self._size_bytes

    def recall(self, pipeline: Pipeline, question: Question) -> Record | None:
        """The answer that was given before, as a record of its own that names it. Raises `InvalidQuestion`."""
        if not self._max_bytes:
            return None
        began_s = time.perf_counter()
        key = _key(pipeline, question)
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
        answer_id, now = new_answer_id(), datetime.now(UTC)
        took_ms = round((time.perf_counter() - began_s) * 1000, 3)
        with in_a_trace() as parent:
            span = span_of_answer(answer_id, parent, now, ended_ms=took_ms)
        return replace(
            entry.record,
            answer_id=answer_id,
            attempt=replace(entry.record.attempt, trace_id=format_trace_id(parent.trace_id), span=span),
            request_id=question.request_id,
            created_at=now,
            timings_ms={"total": took_ms},
            repeats=entry.record.answer_id,
        )

    def keep(self, pipeline: Pipeline, question: Question, record: Record) -> None:
        size_bytes = _size_bytes(record)
        if size_bytes > self._max_bytes or any(notice.code in _TRANSIENT for notice in record.notices):
            return
        key = _key(pipeline, question)
        with self._lock:
            replaced = self._entries.pop(key, None)
            self._entries[key] = _Entry(record, size_bytes)
            self._size_bytes += size_bytes - (replaced.size_bytes if replaced else 0)
            while self._size_bytes > self._max_bytes:
                _, dropped = self._entries.popitem(last=False)
                self._size_bytes -= dropped.size_bytes


def _key(pipeline: Pipeline, question: Question) -> Hashable:
    """Everything that decides the answer. What the release decides is in its digest."""
    return (
        pipeline.lineage.release.digest,
        question.access,
        question.filters,
        clean_question(question.text, max_chars=pipeline.max_question_chars),
        question.history,
        question.top_k,
        question.min_confidence,
        question.prompt,
        question.sampling,
    )


def _size_bytes(record: Record) -> int:
    """Texts are counted as four bytes a character, the most that Python takes."""
    prompt = record.prompt
    texts = [record.question, record.query, record.answer or "", record.raw_answer or "", *(turn.content for turn in record.history)]
    texts += [prompt.system, prompt.user] if prompt else []
    chunks = sum(_CHUNK_BYTES + 4 * (len(hit.chunk.text) + len(hit.chunk.embedded_text)) for hit in record.hits)
    return _RECORD_BYTES + 4 * sum(map(len, texts)) + chunks
