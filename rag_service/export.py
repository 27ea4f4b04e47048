"""Records as files: JSON lines, Parquet, and questions for `python -m eval`."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from rag_service.errors import MissingDependency
from rag_service.kept import Feedback, Kept
from rag_service.record import Record
from rag_service.reply import AskReply, reply_to

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS_AT_ONCE = 500


def as_json_line(kept: Kept) -> bytes:
    """Everything that is kept of an answer, and what was thought of it; ends with a line break."""
    record = kept.record
    full = kept.content == "full"
    return orjson.dumps(
        {
            **exported(kept).model_dump(mode="json"),
            "content": kept.content,
            "redacted": sorted(kept.redacted),
            "key_id": kept.key_id,
            "question": record.question if full else None,
            "query": record.query if full else None,
            "question_digest": kept.question_digest,
            "history": [{"role": turn.role, "content": turn.content} for turn in record.history],
            "prompt": {"system": record.prompt.system, "user": record.prompt.user} if record.prompt else None,
            "raw_answer": record.raw_answer,
            "feedback": [_feedback(one) for one in kept.feedback],
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )


def exported(kept: Kept) -> AskReply:
    """The reply as it went out, with its receipt."""
    return reply_to(kept.record, include_chunks=kept.content == "full")


def as_question_line(kept: Kept) -> bytes | None:
    """A question of an evaluation set, in the form that `python -m eval` reads; None where the question itself was not stored.

    What somebody said it should be is the answer. Otherwise an answer that was liked is: without its markers, with the documents that it
    cites as relevant; and an abstention that was liked is a question that has no answer. The rest are questions without gold.
    """
    record = kept.record
    if kept.content == "digest" or "query" in kept.redacted:
        return None
    rating = next((one.rating for one in reversed(kept.feedback) if one.rating is not None), None)
    expected = next((one.expected for one in reversed(kept.feedback) if one.expected), None)
    row: dict[str, Any] = {"id": record.answer_id, "question": record.query}
    if expected is not None:
        row |= {"answers": [expected], "answerable": True}
    elif rating == "up" and record.answer is not None:
        cited = list(dict.fromkeys(citation.chunk.document_id for citation in record.citations))
        row |= {"answers": [_without_markers(record)], "relevant_ids": cited, "answerable": True}
    elif rating == "up":
        row["answerable"] = False
    row["tags"] = [f"rated:{rating}" if rating else "unrated", f"release:{record.lineage.release.id}"]
    return orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE)


def _without_markers(record: Record) -> str:
    text = record.answer or ""
    for start, end in sorted({citation.answer_span for citation in record.citations}, reverse=True):
        text = text[:start].rstrip(" ") + text[end:]
    return text


def write_parquet(records: Iterable[Kept], path: Path) -> int:
    """One row for each record; what has parts of its own is a column of JSON. How many. Raises `MissingDependency`."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingDependency("Parquet needs the package pyarrow", hint="pip install 'rag-service[parquet]'") from error
    count = 0
    schema = _parquet_schema(pa)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for rows in _grouped(records):
            count += len(rows)
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return count


def _parquet_schema(pa: Any) -> "pa.Schema":
    text, number, count = pa.string(), pa.float64(), pa.int64()
    columns = {
        "seq": count, "answer_id": text, "trace_id": text, "created_at": pa.timestamp("ms", tz="UTC"), "key_id": text, "content": text,
        "status": text, "abstain_reason": text, "question": text, "question_digest": text, "query": text, "answer": text,
        "release": text, "release_digest": text, "index_name": text, "index_version": text, "embedding_model": text, "prompt": text,
        "generator": text, "container_image": text, "code_version": text, "confidence": number, "top_score": number, "total_ms": number,
        "prompt_tokens": count, "completion_tokens": count, "rating": text, "comment": text, "expected": text, "repeats": text,
        "chunk_ids": pa.list_(text), "scores": pa.list_(number), "cited_chunk_ids": pa.list_(text),
        "stages": text, "citations": text, "warnings": text, "rendered_prompt": text, "query_vector": pa.list_(pa.float32()),
    }  # fmt: skip
    return pa.schema(list(columns.items()))


def _grouped(records: Iterable[Kept]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    for kept in records:
        rows.append(_row(kept))
        if len(rows) == _ROWS_AT_ONCE:
            yield rows
            rows = []
    if rows:
        yield rows


def _row(kept: Kept) -> dict[str, Any]:
    record, release = kept.record, kept.record.lineage.release
    full, image = kept.content == "full", kept.record.lineage.deployment.image
    last = kept.feedback[-1] if kept.feedback else Feedback(None, None, None, None, 0)
    reply = exported(kept)
    return {
        "seq": kept.receipt.seq,
        "answer_id": record.answer_id,
        "trace_id": record.trace_id,
        "created_at": record.created_at,
        "key_id": kept.key_id,
        "content": kept.content,
        "status": record.status,
        "abstain_reason": record.abstain_reason,
        "question": record.question if full else None,
        "question_digest": kept.question_digest,
        "query": record.query if full else None,
        "answer": record.answer,
        "release": release.id,
        "release_digest": release.digest,
        "index_name": record.lineage.index.name,
        "index_version": record.lineage.index.version,
        "embedding_model": record.lineage.embedder.name,
        "prompt": f"{record.attempt.parameters.prompt.name}/{record.attempt.parameters.prompt.version}",
        "generator": release.generator.name,
        "container_image": image.ref if image else None,
        "code_version": release.code.version,
        "confidence": record.confidence,
        "top_score": record.hits[0].score if record.hits else None,
        "total_ms": record.timings_ms["total"],
        "prompt_tokens": record.usage.prompt_tokens,
        "completion_tokens": record.usage.completion_tokens,
        "rating": last.rating,
        "comment": last.comment,
        "expected": last.expected,
        "repeats": record.repeats,
        "chunk_ids": [hit.chunk.id for hit in record.hits],
        "scores": [hit.score for hit in record.hits],
        "cited_chunk_ids": [citation.chunk.id for citation in record.citations],
        "stages": _json([stage.model_dump() for stage in reply.trace.stages]),
        "citations": _json([citation.model_dump(mode="json") for citation in reply.citations]),
        "warnings": _json([warning.model_dump() for warning in reply.warnings]),
        "rendered_prompt": record.prompt.user if record.prompt else None,
        "query_vector": record.query_vector.tolist() if kept.has_vector else None,
    }


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _feedback(one: Feedback) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Feedback.__dataclass_fields__}
