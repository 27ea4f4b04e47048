"""Spans of an answer, made from its record: what a collector is told, and in which order it happened."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal

from rag_service.record import Attempt, Lineage, Record, Search, Span, Stage, StageName
from rag_service.telemetry import span_names as names
from rag_service.telemetry.span_content import Content
from rag_service.telemetry.spans import answer_span_id, stage_span_id
from rag_service.types import Hit, Usage

Value = str | int | float | bool | Sequence[str]
Attributes = dict[str, Value]
SpanKind = Literal["internal", "server", "client"]
Workflow = Literal["ask", "search"]

MOST_DOCUMENTS = 50
"""Of the passages of an answer."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a span is. `parent_id` is 0 for the first of its trace."""

    trace_id: int
    span_id: int
    parent_id: int
    remote_parent: bool = False


@dataclass(slots=True)
class Spun:
    """One span, as it is exported. Times are nanoseconds since 1970."""

    name: str
    kind: SpanKind
    place: Place
    start_ns: int
    end_ns: int
    attributes: Attributes
    error: str | None = None
    links: tuple[tuple[int, int], ...] = ()
    """Trace id and span id of each."""
    trace_state: str = ""


@dataclass(frozen=True, slots=True)
class Replay:
    """What a record is a replay of, and how it compares."""

    answer_id: str
    trace_id: str
    verdict: str


def spans_of_record(record: Record, content: Content, replay: Replay | None = None) -> list[Spun]:
    """Nothing for a record that was read back from where records are kept."""
    attempt, span = record.attempt, record.attempt.span
    if span is None:
        return []
    root = _workflow(attempt, span, "ask")
    root.attributes.update(_of_answer(record))
    root.attributes.update(content.input_output(record.question, record.answer))
    if replay is not None:
        root.links = ((int(replay.trace_id, 16), answer_span_id(replay.answer_id)),)
        root.attributes.update({names.REPLAY_OF: replay.answer_id, names.REPLAY_VERDICT: replay.verdict})
    if record.repeats is not None:
        root.attributes[names.REPEATS] = record.repeats
        return [root]
    more: dict[StageName, Attributes] = {
        "embed": {**content.texts({names.EMBEDDING_TEXT: record.query})},
        "retrieve": _of_hits(record.query, record.hits, content),
        "prompt": {names.PASSAGES: record.shown},
        "generate": _of_completion(record, content),
        "cite": {names.CITATIONS: len(record.citations)},
    }
    if any(stage.name == "condense" for stage in attempt.stages):  # the usage is that of both calls together
        root.attributes.update(_of_usage(record.usage))
    return [root, *_stages(attempt, span, more)]


def spans_of_search(search: Search, content: Content) -> list[Spun]:
    attempt, span = search.attempt, search.attempt.span
    if span is None:
        return []
    root = _workflow(attempt, span, "search")
    root.attributes.update(content.texts({names.INPUT_VALUE: search.question}))
    more: dict[StageName, Attributes] = {"retrieve": _of_hits(search.query, search.hits, content)}
    return [root, *_stages(attempt, span, more)]


def spans_of_failure(attempt: Attempt, workflow: Workflow, code: str, stage: str | None) -> list[Spun]:
    """`code` and `stage` are the error's own; its message may hold what a caller sent, and is not exported."""
    span = attempt.span
    if span is None:
        return []
    root = _workflow(attempt, span, workflow)
    spans = [root, *_stages(attempt, span, {})]
    failed = next((name for name in names.STAGES if name == stage and all(done.name != name for done in attempt.stages)), None)
    if failed is not None:
        ends = [done.began_ms + done.duration_ms for done in attempt.stages]
        began_ms = span.under_way_ms if span.under_way_ms is not None else min(max(ends, default=0.0), span.ended_ms)
        spans.append(_stage(attempt, span, Stage(failed, "", span.ended_ms - began_ms, began_ms)))
    for each in (root, spans[-1]) if failed is not None else (root,):
        each.error = each.attributes[names.ERROR_TYPE] = code
    return spans


@lru_cache(maxsize=16)
def identity(lineage: Lineage) -> Mapping[str, Value]:
    """What is on the first spans of a trace: Phoenix does not give the attributes of a resource back."""
    deployment = lineage.deployment
    found: Attributes = {names.RELEASE_ID: lineage.release.id, names.ENVIRONMENT: deployment.environment}
    if deployment.image is not None:
        found[names.IMAGE_DIGESTS] = (deployment.image.ref,)
    if deployment.commit is not None:
        found[names.COMMIT] = deployment.commit
    return found


def _workflow(attempt: Attempt, span: Span, workflow: Workflow) -> Spun:
    began_ns = _ns(span.began_at)
    return Spun(
        f"{names.INVOKE_WORKFLOW} {workflow}",
        "internal",
        Place(int(attempt.trace_id, 16), int(span.span_id, 16), int(span.parent_id, 16)),
        began_ns,
        began_ns + round(span.ended_ms * 1e6),
        {
            names.OPERATION: names.INVOKE_WORKFLOW,
            names.WORKFLOW: workflow,
            names.KIND: names.CHAIN,
            **identity(attempt.lineage),
            **({names.OVERRIDES: attempt.parameters.overrides} if attempt.parameters.overrides else {}),
        },
    )


def _stages(attempt: Attempt, span: Span, more: Mapping[StageName, Attributes]) -> Iterator[Spun]:
    for stage in attempt.stages:
        spun = _stage(attempt, span, stage)
        spun.attributes[names.STAGE_DIGEST] = stage.digest
        spun.attributes.update(more.get(stage.name, {}))
        yield spun


def _stage(attempt: Attempt, span: Span, stage: Stage) -> Spun:
    name, kind, attributes = _constant(attempt.lineage, stage.name)
    parent_id = int(span.span_id, 16)
    began_ns = _ns(span.began_at) + round(stage.began_ms * 1e6)
    place = Place(int(attempt.trace_id, 16), stage_span_id(parent_id, stage.name), parent_id)
    spun = Spun(name, kind, place, began_ns, began_ns + round(stage.duration_ms * 1e6), {**attributes})
    if stage.name == "retrieve":
        spun.attributes[names.TOP_K] = attempt.parameters.top_k
        if attempt.scope is not None:
            spun.attributes[names.SCOPE_CHUNKS] = attempt.scope.chunks
    elif stage.name in {"prompt", "generate"}:
        spun.attributes.update(_of_prompt(attempt))
    if stage.name == "generate":
        used = attempt.parameters.generator
        spun.attributes.update({key: value for name, key in names.REQUEST_OPTIONS.items() if (value := used.get(name)) is not None})
    return spun


@lru_cache(maxsize=96)
def _constant(lineage: Lineage, stage: StageName) -> tuple[str, SpanKind, Mapping[str, Value]]:
    """Name, kind and attributes that a stage has in every answer of one release."""
    release, index, embedder = lineage.release, lineage.index, lineage.embedder
    match stage:
        case "embed":
            provider, model = _provider_and_model(embedder.name)
            attributes: Attributes = {
                names.OPERATION: names.EMBEDDINGS,
                names.PROVIDER: provider,
                names.REQUEST_MODEL: model,
                names.DIMENSION: embedder.dimension,
                names.EMBEDDING_MODEL: model,
                names.ENCODER_DIGEST: embedder.digest,
            }
            return f"{names.EMBEDDINGS} {model}", _span_kind(provider), {names.KIND: names.EMBEDDING, **attributes}
        case "retrieve":
            attributes = {
                names.OPERATION: names.RETRIEVAL,
                names.PROVIDER: names.LOCAL,
                names.DATA_SOURCE: index.name,
                names.INDEX_VERSION: index.version,
                names.INDEX_DIGEST: index.digest,
                names.CORPUS_DIGEST: index.corpus_digest,
                names.CHUNKER_DIGEST: release.chunker.digest,
            }
            return f"{names.RETRIEVAL} {index.name}", "internal", {names.KIND: names.RETRIEVER, **attributes}
        case "generate":
            provider, model = _provider_and_model(release.generator.name)
            attributes = {
                names.OPERATION: names.CHAT,
                names.PROVIDER: provider,
                names.REQUEST_MODEL: model,
                names.LLM_MODEL: model,
                names.GENERATOR_DIGEST: release.generator.digest,
            }
            return f"{names.CHAT} {model}", _span_kind(provider), {names.KIND: names.LLM, **attributes}
        case "prompt":
            return names.STAGES[stage], "internal", {names.KIND: names.PROMPT}
        case "condense" | "cite":
            return names.STAGES[stage], "internal", {names.KIND: names.CHAIN}


def _of_answer(record: Record) -> Attributes:
    found: Attributes = {names.ANSWER_ID: record.answer_id, names.ANSWER_STATUS: record.status}
    if record.abstain_reason is not None:
        found[names.ABSTAIN_REASON] = record.abstain_reason
    if record.notices:
        found[names.WARNINGS] = tuple(notice.code for notice in record.notices)
    return found


def _of_hits(query: str, hits: Sequence[Hit], content: Content) -> Attributes:
    found: Attributes = {names.TOP_SCORE: hits[0].score} if hits else {}
    for number, hit in enumerate(hits[:MOST_DOCUMENTS]):
        found[names.DOCUMENT_ID.format(number)] = hit.chunk.id
        found[names.DOCUMENT_SCORE.format(number)] = hit.score
        if content.capture:
            found[names.DOCUMENT_CONTENT.format(number)] = content.text(hit.chunk.text)
    found.update(content.texts({names.QUERY_TEXT: query, names.INPUT_VALUE: query}))
    return found


def _of_prompt(attempt: Attempt) -> Attributes:
    prompt = attempt.parameters.prompt
    return {
        names.PROMPT_NAME: prompt.name,
        names.PROMPT_VERSION: prompt.version,
        names.PROMPT_TEMPLATE_VERSION: prompt.version,
        names.TEMPLATE_DIGEST: prompt.digest,
    }


def _of_completion(record: Record, content: Content) -> Attributes:
    reason = "length" if any(notice.code == "answer_truncated" for notice in record.notices) else "stop"
    found: Attributes = {names.FINISH_REASONS: (reason,)}
    if all(stage.name != "condense" for stage in record.stages):
        found.update(_of_usage(record.usage))
    if content.capture and record.prompt is not None:
        said = record.raw_answer or ""
        found.update(content.input_output(record.prompt.user, said))
        found[names.INPUT_MESSAGES] = content.message("user", record.prompt.user)
        found[names.OUTPUT_MESSAGES] = content.message("assistant", said)
        if record.prompt.system:
            found[names.SYSTEM_INSTRUCTIONS] = content.instructions(record.prompt.system)
    return found


def _of_usage(usage: Usage) -> Attributes:
    read, written = usage.prompt_tokens, usage.completion_tokens
    found: Attributes = {}
    if read is not None:
        found[names.INPUT_TOKENS] = found[names.LLM_PROMPT_TOKENS] = read
    if written is not None:
        found[names.OUTPUT_TOKENS] = found[names.LLM_COMPLETION_TOKENS] = written
    if read is not None and written is not None:
        found[names.LLM_TOTAL_TOKENS] = read + written
    return found


def _provider_and_model(name: str) -> tuple[str, str]:
    """`openai:gpt-4o-mini` is a provider's; `extractive` and `llamacpp:…` run here."""
    provider, colon, model = name.partition(":")
    if not colon:
        return names.LOCAL, name
    return (names.LOCAL if provider == "llamacpp" else names.PROVIDERS.get(provider, provider)), model


def _span_kind(provider: str) -> SpanKind:
    return "internal" if provider == names.LOCAL else "client"


def _ns(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
