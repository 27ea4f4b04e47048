"""Every metric: its name, what its labels may say, and what an operator learns from it.

Three levels of watching, because each has other causes and other people who act on it:

    service   is it up, fast enough, and how full
              rag_request_duration_seconds{route,status}   rag_errors_total{code,stage}   rag_shed_total{reason}
              rag_ready   rag_in_flight   rag_concurrency_limit   rag_queue_depth   rag_queue_limit   rag_open_streams
              rag_cache_bytes   rag_cache_hits_total   rag_ledger_failures_total   rag_activation_failed
              rag_spans_exported_total   rag_spans_dropped_total{reason}   rag_metric_exports_total{outcome}
              rag_release_info{release,index,index_version,embedding_model,prompt,generator}
              rag_deployment_info{version,commit,image,environment}
    model     does it answer as it used to
              rag_answers_total{status}   rag_abstentions_total{reason}   rag_searches_total
              rag_stage_duration_seconds{stage}   rag_confidence   rag_answer_chars   rag_sentences_total{level}
              rag_citations_total{verbatim}   rag_tokens_total{kind}   rag_replays_total{verdict}
    data      are the questions and the documents what they used to be
              rag_top_score   rag_score_gap   rag_uncovered_questions_total   rag_query_distance{encoder}
              rag_questions_total{language}   rag_question_chars   rag_validation_failures_total{field}
              rag_warnings_total{code}   rag_index_documents   rag_index_chunks   rag_index_skipped{reason}
              rag_index_built_timestamp_seconds

No metric of an answer has the release as a label: releases come and go for as long as a process lives. A query that needs it joins:
`rate(rag_answers_total[5m]) * on (job, instance) group_left (release) rag_release_info`. Single answers are found by exemplars, which
hold trace ids. What a label may say is known beforehand; all else is `other`. A record that repeats another from the cache counts for
what it told, not for stages and tokens. `rag_top_score` takes a negative score as 0: OpenMetrics lets a histogram of negative numbers
have neither sum nor count.
"""

from dataclasses import dataclass
from typing import Literal

Level = Literal["service", "model", "data"]
Type = Literal["counter", "gauge", "histogram", "info"]


@dataclass(frozen=True, slots=True)
class Described:
    """One metric. `name` is what a query names; a histogram's series have `_bucket`, `_count` and `_sum` after it."""

    name: str
    type: Type
    labels: tuple[str, ...]
    level: Level
    help: str


_RELEASE = ("release", "index", "index_version", "embedding_model", "prompt", "generator")
_DEPLOYMENT = ("version", "commit", "image", "environment")
CATALOGUE: tuple[Described, ...] = (
    Described("rag_request_duration_seconds", "histogram", ("route", "status"), "service", "From a request's arrival to its reply's end."),
    Described("rag_errors_total", "counter", ("code", "stage"), "service", "Errors told to callers. The stage is none outside an answer."),
    Described("rag_shed_total", "counter", ("reason",), "service", "Requests turned away without work, by why."),
    Described("rag_ready", "gauge", (), "service", "1 while the service takes questions, else 0."),
    Described("rag_in_flight", "gauge", (), "service", "Answers that are being made."),
    Described("rag_concurrency_limit", "gauge", (), "service", "Answers that may be made at once."),
    Described("rag_queue_depth", "gauge", (), "service", "Requests that wait for their turn."),
    Described("rag_queue_limit", "gauge", (), "service", "Requests that may wait for their turn."),
    Described("rag_open_streams", "gauge", (), "service", "Answers that are being streamed to a client."),
    Described("rag_cache_bytes", "gauge", (), "service", "Memory that answers kept for repetition take."),
    Described("rag_cache_hits_total", "counter", (), "service", "Answers repeated from the cache."),
    Described("rag_ledger_failures_total", "counter", (), "service", "Answers whose record could not be written."),
    Described("rag_activation_failed", "gauge", (), "service", "1 while the active release cannot be served and the last one goes on."),
    Described("rag_spans_exported_total", "counter", (), "service", "Spans that the collector took."),
    Described("rag_spans_dropped_total", "counter", ("reason",), "service", "Spans that were lost, by why; answers are not affected."),
    Described("rag_metric_exports_total", "counter", ("outcome",), "service", "Exports of these metrics by OTLP, by what came of them."),
    Described("rag_release_info", "info", _RELEASE, "service", "Which release answers now: one series, of value 1."),
    Described("rag_deployment_info", "info", _DEPLOYMENT, "service", "Which code runs, and where: one series, of value 1."),
    Described("rag_answers_total", "counter", ("status",), "model", "Answers and abstentions, those from the cache included."),
    Described("rag_abstentions_total", "counter", ("reason",), "model", "Questions that were not answered, by why."),
    Described("rag_searches_total", "counter", (), "model", "Searches without an answer."),
    Described("rag_stage_duration_seconds", "histogram", ("stage",), "model", "Time of a stage of an answer or search that was made anew."),
    Described("rag_confidence", "histogram", (), "model", "That the documents hold an answer, for each question, from 0 to 1."),
    Described("rag_answer_chars", "histogram", (), "model", "Length of the answers in characters; abstentions have none."),
    Described("rag_sentences_total", "counter", ("level",), "model", "Sentences that claim something, by how passages support them."),
    Described("rag_citations_total", "counter", ("verbatim",), "model", "Citations in answers, by whether they are word for word."),
    Described("rag_tokens_total", "counter", ("kind",), "model", "Tokens that the generator read (prompt) and wrote (completion)."),
    Described("rag_replays_total", "counter", ("verdict",), "model", "Answers that were made again, by what came of it."),
    Described("rag_top_score", "histogram", (), "data", "Score of the best passage of each question; low means that nothing fits."),
    Described("rag_score_gap", "histogram", (), "data", "Score of the best passage less that of the second; small means ambiguous."),
    Described("rag_uncovered_questions_total", "counter", (), "data", "Questions whose confidence was below the release's threshold."),
    Described("rag_query_distance", "histogram", ("encoder",), "data", "1 less the cosine of a query and the centre of the index."),
    Described("rag_questions_total", "counter", ("language",), "data", "Questions by language; none where it cannot be told."),
    Described("rag_question_chars", "histogram", (), "data", "Length of the questions in characters."),
    Described("rag_validation_failures_total", "counter", ("field",), "data", "Requests refused for what a field of theirs held."),
    Described("rag_warnings_total", "counter", ("code",), "data", "Warnings in replies, by code: what was cut, dropped or adjusted."),
    Described("rag_index_documents", "gauge", (), "data", "Documents in the index version that answers now."),
    Described("rag_index_chunks", "gauge", (), "data", "Chunks in the index version that answers now."),
    Described("rag_index_skipped", "gauge", ("reason",), "data", "Inputs that the build of this index version left out, by why."),
    Described("rag_index_built_timestamp_seconds", "gauge", (), "data", "When the index version that answers now was built, as Unix time."),
)  # fmt: skip
