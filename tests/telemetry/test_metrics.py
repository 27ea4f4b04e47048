"""What is counted, under which names, and that no caller can make the number of series grow."""

import dataclasses
import random
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, get_args

import numpy as np
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from rag_service.record import Lineage, Record, Search
from rag_service.telemetry import metric_catalogue
from rag_service.telemetry.gauges import Watched
from rag_service.telemetry.metric_catalogue import CATALOGUE
from rag_service.telemetry.metrics import Metrics
from rag_service.types import Notice, SentenceSupport, SkipReason, SupportLevel

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"

CENTROID = np.array([1, 0, 0, 0], np.float32)

MakeRecord = Callable[..., Record]


def sentence(level: SupportLevel, *, claims: bool = True) -> SentenceSupport:
    return SentenceSupport((0, 5), level, 0.4, (1,), True, claims, ())


def watched(lineage: Callable[[], Lineage | None], **gauges: Callable[[], Any]) -> Watched:
    names = ("in_flight", "concurrency_limit", "queue_depth", "queue_limit", "open_streams", "cache_bytes", "activation_failed")
    zero = dict.fromkeys(names, lambda: 0)
    return Watched(**{"ready": lambda: True, "lineage": lineage, "skipped": lambda: {"empty": 2}, **zero, **gauges})


def families(metrics: Metrics) -> dict[str, Metric]:
    """By the name in the catalogue, as a strict parser of OpenMetrics reads them."""
    body, _ = metrics.exposition(OPENMETRICS)
    suffixes = {"counter": "_total", "info": "_info"}
    return {family.name + suffixes.get(family.type, ""): family for family in parse_openmetrics(body.decode())}


def values(metrics: Metrics) -> dict[str, float]:
    """`rag_answers_total{status=answered}` → value, from the text format."""
    body, _ = metrics.exposition()
    return {
        sample.name
        + (f"{{{','.join(f'{name}={value}' for name, value in sorted(sample.labels.items()))}}}" if sample.labels else ""): sample.value
        for family in parse_text(body.decode())
        for sample in family.samples
        if sample.name.startswith("rag_")
    }


def changed(metrics: Metrics, act: Callable[[], None]) -> dict[str, float]:
    """What `act` added, without buckets; of what is no whole number, what it added to four digits."""
    before = values(metrics)
    act()
    after = values(metrics)
    return {
        name: round(value - before.get(name, 0), 4) for name, value in after.items() if value != before.get(name, 0) and "le=" not in name
    }


def test_the_catalogue_describes_every_metric_that_is_served_and_no_other(lineage: Callable[..., Lineage], make_record: MakeRecord) -> None:
    metrics = Metrics()
    metrics.know(routes=["/ask"], fields=["question"])
    metrics.watch(watched(lineage))
    metrics.measure_from(lambda _: CENTROID)
    metrics.request("/ask", 200, 0.1)
    metrics.answered(make_record())
    served = {name: family for name, family in families(metrics).items() if name.startswith("rag_")}
    assert {entry.name for entry in CATALOGUE} == set(served)
    for entry in CATALOGUE:
        family = served[entry.name]
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert (family.type, labels, family.documentation) == (entry.type, set(entry.labels), entry.help)


def test_the_table_in_the_docstring_is_the_catalogue() -> None:
    table, level = {}, ""
    for line in (metric_catalogue.__doc__ or "").split("\n\n")[2].splitlines():
        level = match[1] if (match := re.match(r" {4}(\w+)", line)) else level
        for name, labels in re.findall(r"(rag_\w+)(?:\{([\w,]+)\})?", line):
            table[name] = (level, tuple(labels.split(",")) if labels else ())
    assert table == {entry.name: (entry.level, entry.labels) for entry in CATALOGUE}


def test_an_answer_counts_for_what_it_told_and_what_it_took(make_record: MakeRecord) -> None:
    metrics = Metrics()
    support = (sentence("supported"), sentence("supported"), sentence("unsupported"), sentence("unsupported", claims=False))
    notices = (Notice("context_truncated", ""), Notice("citation_dropped", ""))
    record = make_record(scores=(0.71, 0.52), notices=notices, support=support, confidence=0.62)
    added = changed(metrics, lambda: metrics.answered(record))
    stages = {"embed": 0.004, "retrieve": 0.0007, "prompt": 0.0002, "generate": 0.12, "cite": 0.0003}
    assert added == {
        "rag_answers_total{status=answered}": 1,
        "rag_tokens_total{kind=prompt}": 310,
        "rag_tokens_total{kind=completion}": 42,
        "rag_citations_total{verbatim=true}": 1,
        "rag_warnings_total{code=context_truncated}": 1,
        "rag_warnings_total{code=citation_dropped}": 1,
        "rag_sentences_total{level=supported}": 2,
        "rag_sentences_total{level=unsupported}": 1,
        "rag_confidence_count": 1,
        "rag_confidence_sum": 0.62,
        "rag_questions_total{language=en}": 1,
        "rag_top_score_count": 1,
        "rag_top_score_sum": 0.71,
        "rag_score_gap_count": 1,
        "rag_score_gap_sum": 0.19,
        "rag_question_chars_count": 1,
        "rag_question_chars_sum": 52,
        "rag_answer_chars_count": 1,
        "rag_answer_chars_sum": 38,
        **{f"rag_stage_duration_seconds_count{{stage={stage}}}": 1 for stage in stages},
        **{f"rag_stage_duration_seconds_sum{{stage={stage}}}": seconds for stage, seconds in stages.items()},
    }


def test_an_answer_from_the_cache_counts_for_what_it_told_alone(make_record: MakeRecord) -> None:
    metrics = Metrics()
    added = changed(metrics, lambda: metrics.answered(make_record(repeats="ans_1")))
    assert added["rag_answers_total{status=answered}"] == added["rag_cache_hits_total"] == added["rag_top_score_count"] == 1
    assert not [name for name in added if "stage" in name or "tokens" in name]


def test_an_abstention_counts_by_its_reason_and_has_neither_answer_nor_scores_it_did_not_find(make_record: MakeRecord) -> None:
    metrics = Metrics()
    record = make_record(scores=(), status="abstained", abstain_reason="no_hits", answer=None, citations=())
    added = changed(metrics, lambda: metrics.answered(record))
    assert added["rag_answers_total{status=abstained}"] == added["rag_abstentions_total{reason=no_hits}"] == 1
    assert not [name for name in added if "score" in name or "answer_chars" in name or "citations" in name]


def test_a_single_hit_has_a_score_and_no_gap(make_record: MakeRecord) -> None:
    metrics = Metrics()
    added = changed(metrics, lambda: metrics.answered(make_record(scores=(0.4,))))
    assert "rag_top_score_count" in added
    assert "rag_score_gap_count" not in added


@pytest.mark.parametrize(("score", "below", "bucket"), [(0.0001, "0.0", "0.1"), (0.35, "0.3", "0.35"), (1.0, "0.95", "1.0")])
def test_the_best_score_falls_into_the_bucket_that_holds_it(make_record: MakeRecord, score: float, below: str, bucket: str) -> None:
    metrics = Metrics()
    metrics.answered(make_record(scores=(score,)))
    found = values(metrics)
    assert (found[f"rag_top_score_bucket{{le={below}}}"], found[f"rag_top_score_bucket{{le={bucket}}}"]) == (0, 1)


def test_a_negative_score_counts_as_zero_so_that_the_sum_never_falls(make_record: MakeRecord) -> None:
    metrics = Metrics()
    added = changed(metrics, lambda: metrics.answered(make_record(scores=(-0.2,))))
    assert added["rag_top_score_count"] == values(metrics)["rag_top_score_bucket{le=0.0}"] == 1
    assert "rag_top_score_sum" not in added


@pytest.mark.parametrize(("confidence", "uncovered"), [(0.0, 1), (0.3499, 1), (0.35, 0), (0.9, 0)])
def test_a_question_is_uncovered_below_the_threshold_of_the_release_whatever_the_request_asked_for(
    make_record: MakeRecord, confidence: float, uncovered: int
) -> None:
    metrics = Metrics()
    record = make_record(confidence=confidence)
    lenient = dataclasses.replace(record.attempt.parameters, min_confidence=0.0)
    metrics.answered(dataclasses.replace(record, attempt=dataclasses.replace(record.attempt, parameters=lenient)))
    assert values(metrics)["rag_uncovered_questions_total"] == uncovered


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("How many days of paid holiday does an employee have?", "en"),
        ("Wie viele Tage Urlaub hat ein Mitarbeiter im Jahr?", "de"),
        ("有多少天的带薪年假？", "zh"),
        ("Πόσες ημέρες άδειας έχω;", "none"),
        ("Curie", "none"),
    ],
)
def test_a_question_counts_by_its_language(make_record: MakeRecord, question: str, language: str) -> None:
    metrics = Metrics()
    added = changed(metrics, lambda: metrics.answered(make_record(question=question)))
    assert {name for name in added if name.startswith("rag_questions_total")} == {f"rag_questions_total{{language={language}}}"}


def test_how_far_a_query_is_from_the_centre_of_the_index_is_counted_for_its_encoder(make_record: MakeRecord) -> None:
    metrics = Metrics()
    metrics.answered(make_record())
    assert not [name for name in values(metrics) if "query_distance" in name], "nothing is known to measure from"
    metrics.measure_from(lambda _: CENTROID)
    added = changed(metrics, lambda: metrics.answered(make_record()))  # its vector is (½, ½, ½, ½)
    encoder = "{encoder=all-MiniLM-L6-v2@aaaaaaaaaaaa}"
    assert (added[f"rag_query_distance_count{encoder}"], added[f"rag_query_distance_sum{encoder}"]) == (1, 0.5)


def test_answers_of_another_release_than_the_one_that_is_watched_have_no_distance(make_record: MakeRecord) -> None:
    metrics, record = Metrics(), make_record()
    metrics.measure_from(lambda lineage: CENTROID if lineage is record.lineage else None)
    metrics.answered(make_record())
    assert not [name for name in values(metrics) if "query_distance" in name]


def test_beyond_eight_encoders_distances_have_one_series_together(make_record: MakeRecord) -> None:
    metrics, record = Metrics(), make_record()
    metrics.measure_from(lambda _: CENTROID)
    for number in range(12):
        embedder = dataclasses.replace(record.lineage.embedder, digest=f"sha256:{number:064x}"[:19], name=f"encoder{number}")
        lineage = dataclasses.replace(record.lineage, embedder=embedder)
        metrics.answered(dataclasses.replace(record, attempt=dataclasses.replace(record.attempt, lineage=lineage)))
    counted = {name: value for name, value in values(metrics).items() if name.startswith("rag_query_distance_count")}
    assert len(counted) == 9
    assert counted["rag_query_distance_count{encoder=other}"] == 4


def test_inputs_that_a_build_left_out_are_shown_by_every_reason_there_is(lineage: Callable[..., Lineage]) -> None:
    metrics = Metrics()
    metrics.watch(watched(lineage, skipped=lambda: {"empty": 3, "duplicate": 1}))
    found = {name: value for name, value in values(metrics).items() if name.startswith("rag_index_skipped")}
    assert found == {
        f"rag_index_skipped{{reason={reason}}}": {"empty": 3, "duplicate": 1}.get(reason, 0) for reason in get_args(SkipReason)
    }


def test_a_search_counts_its_stages_and_not_its_scores(make_record: MakeRecord) -> None:
    metrics = Metrics()
    record = make_record()
    search = Search(record.attempt, None, record.created_at, "q", "q", record.hits, (Notice("question_truncated", ""),), {})
    added = changed(metrics, lambda: metrics.searched(search))
    assert added["rag_searches_total"] == added["rag_warnings_total{code=question_truncated}"] == 1
    assert added["rag_stage_duration_seconds_count{stage=retrieve}"] == 1
    assert not [name for name in added if "score" in name or "answers" in name or "chars" in name]


def test_errors_refusals_and_invalid_fields_are_counted_by_name() -> None:
    metrics = Metrics()
    metrics.know(fields=["history"], codes=["invalid_host"])

    def act() -> None:
        metrics.failed("generator_error", "generate")
        metrics.failed("rate_limited")
        metrics.failed("invalid_host")
        metrics.failed("no_such_code", "no_such_stage")
        metrics.shed("queue_full")
        metrics.validation_failure("history.3.content")
        metrics.validation_failure("'; drop table")

    assert changed(metrics, act) == {
        "rag_errors_total{code=generator_error,stage=generate}": 1,
        "rag_errors_total{code=rate_limited,stage=none}": 1,
        "rag_errors_total{code=invalid_host,stage=none}": 1,
        "rag_errors_total{code=other,stage=other}": 1,
        "rag_shed_total{reason=queue_full}": 1,
        "rag_validation_failures_total{field=history}": 1,
        "rag_validation_failures_total{field=other}": 1,
    }


def test_a_request_is_counted_under_its_template() -> None:
    metrics = Metrics()
    metrics.know(routes=["/traces/{id}"])

    def act() -> None:
        metrics.request("/traces/{id}", 200, 0.25)
        metrics.request("/traces/{id}", 200, 0.5)
        metrics.request("/traces/4bf9", 200, 1.0)
        metrics.request(None, 404, 2.0)

    assert changed(metrics, act) == {
        "rag_request_duration_seconds_count{route=/traces/{id},status=200}": 2,
        "rag_request_duration_seconds_sum{route=/traces/{id},status=200}": 0.75,
        "rag_request_duration_seconds_count{route=other,status=200}": 1,
        "rag_request_duration_seconds_sum{route=other,status=200}": 1.0,
        "rag_request_duration_seconds_count{route=unmatched,status=404}": 1,
        "rag_request_duration_seconds_sum{route=unmatched,status=404}": 2.0,
    }


def test_a_route_that_is_told_later_is_counted_from_then_on() -> None:
    metrics = Metrics()
    metrics.request("/late", 200, 0.1)
    metrics.know(routes=["/late"])
    added = changed(metrics, lambda: metrics.request("/late", 200, 0.1))
    assert added["rag_request_duration_seconds_count{route=/late,status=200}"] == 1


def test_ten_thousand_odd_inputs_make_no_more_than_a_few_series() -> None:
    metrics = Metrics()
    metrics.know(routes=["/ask"], fields=["question"])
    chance = random.Random(7)

    def odd() -> str:
        return "".join(chr(chance.choice((*range(1, 300), 0x2028, 0x1F600))) for _ in range(chance.randrange(1, 12)))

    series = len(values(metrics))
    for _ in range(10_000):
        metrics.request(odd(), chance.randrange(700, 10**9), chance.random(), odd())
        metrics.failed(odd(), odd(), odd())
        metrics.validation_failure(odd())
        metrics.shed(odd())  # type: ignore[arg-type]
    added = set(values(metrics)) - set(name for name in values(Metrics())) - {"rag_validation_failures_total{field=question}"}
    assert {name for name in added if "le=" not in name} == {
        "rag_request_duration_seconds_count{route=other,status=other}",
        "rag_request_duration_seconds_sum{route=other,status=other}",
        "rag_errors_total{code=other,stage=other}",
        "rag_validation_failures_total{field=other}",
        "rag_shed_total{reason=other}",
    }
    assert len(values(metrics)) - series == len(added) < 25


def test_what_can_happen_is_zero_before_it_happens() -> None:
    metrics = Metrics()
    metrics.know(fields=["question"])
    found = values(metrics)
    for name in (
        "rag_answers_total{status=abstained}",
        "rag_abstentions_total{reason=generator_declined}",
        "rag_errors_total{code=storage_failed,stage=none}",
        "rag_errors_total{code=shutting_down,stage=none}",
        "rag_shed_total{reason=expired}",
        "rag_warnings_total{code=citation_missing}",
        "rag_validation_failures_total{field=question}",
        "rag_citations_total{verbatim=false}",
        "rag_sentences_total{level=unsupported}",
        "rag_questions_total{language=ja}",
        "rag_uncovered_questions_total",
        "rag_metric_exports_total{outcome=failed}",
        "rag_stage_duration_seconds_count{stage=condense}",
    ):
        assert found[name] == 0, name


def test_exemplars_lead_from_a_number_to_a_trace(make_record: MakeRecord) -> None:
    metrics = Metrics()
    metrics.know(routes=["/ask"])
    metrics.measure_from(lambda _: CENTROID)
    abstained = {"status": "abstained", "abstain_reason": "low_confidence", "answer": None, "citations": ()}
    record = make_record(scores=(0.2, 0.1), support=(sentence("unsupported"), sentence("supported")), **abstained)
    metrics.request("/ask", 200, 0.3, record.trace_id)
    metrics.request("/ask", 500, 0.3, "not a trace id")
    metrics.answered(record)
    metrics.failed("internal", None, record.trace_id)
    found = [
        (sample.name, sample.labels.get("status"), sample.exemplar.labels, sample.exemplar.value)
        for family in families(metrics).values()
        for sample in family.samples
        if sample.exemplar and "stage_duration" not in sample.name
    ]
    trace = {"trace_id": record.trace_id}
    assert sorted(found, key=lambda each: each[0]) == [
        ("rag_abstentions_total", None, trace, 1.0),
        ("rag_confidence_bucket", None, trace, 0.0),
        ("rag_errors_total", None, trace, 1.0),
        ("rag_query_distance_bucket", None, trace, 0.5),
        ("rag_question_chars_bucket", None, trace, 52.0),
        ("rag_request_duration_seconds_bucket", "200", trace, 0.3),
        ("rag_score_gap_bucket", None, trace, 0.1),
        ("rag_sentences_total", None, trace, 1.0),
        ("rag_top_score_bucket", None, trace, 0.2),
        ("rag_uncovered_questions_total", None, trace, 1.0),
    ]


@pytest.mark.parametrize(
    ("accept", "openmetrics"),
    [
        ("", False),
        ("*/*", False),
        ("text/html,application/xhtml+xml", False),
        ("text/plain;version=0.0.4", False),
        (OPENMETRICS, True),
        ("text/plain;q=0.5, Application/OpenMetrics-Text; version=1.0.0; q=0.75", True),
        ("application/openmetrics-text;q=0, text/plain", False),
        ("application/openmetrics-text;version=\x00x;escaping=\r\nX-Evil: 1", True),
        (";;,=,;q=", False),
    ],
)
def test_the_format_is_the_one_that_was_asked_for_and_its_header_is_ours(accept: str, openmetrics: bool, make_record: MakeRecord) -> None:
    metrics = Metrics()
    metrics.answered(make_record())
    body, content_type = metrics.exposition(accept)
    expected = "application/openmetrics-text; version=1.0.0; charset=utf-8" if openmetrics else "text/plain; version=0.0.4; charset=utf-8"
    assert content_type == expected
    assert body.endswith(b"# EOF\n") == (b" # {trace_id=" in body) == openmetrics


def test_only_the_release_that_answers_now_has_a_series(lineage: Callable[..., Lineage]) -> None:
    metrics = Metrics()
    serving: list[Lineage | None] = [None]
    metrics.watch(watched(lambda: serving[0]))

    def shown() -> list[dict[str, str]]:
        return [sample.labels for family in families(metrics).values() for sample in family.samples if sample.name == "rag_release_info"]

    assert shown() == []
    assert "rag_index_documents" not in values(metrics)
    for version in ("0123456789ab", "ba9876543210"):
        serving[0] = lineage(version)
        assert shown() == [
            {
                "release": serving[0].release.id,
                "index": "handbook",
                "index_version": version,
                "embedding_model": "all-MiniLM-L6-v2",
                "prompt": "answer/1",
                "generator": "extractive",
            }
        ]
    assert values(metrics)["rag_index_built_timestamp_seconds"] == 1767323045  # date -d 2026-01-02T03:04:05Z +%s


def test_gauges_show_what_is_so_at_the_scrape(lineage: Callable[..., Lineage]) -> None:
    metrics = Metrics()
    waiting: list[int] = []
    metrics.watch(watched(lineage, queue_depth=lambda: len(waiting), cache_bytes=lambda: 4096))
    assert values(metrics)["rag_queue_depth"] == 0
    waiting += [1, 2, 3]
    found = values(metrics)
    assert (found["rag_queue_depth"], found["rag_cache_bytes"], found["rag_ready"], found["rag_index_chunks"]) == (3, 4096, 1, 9)


def test_a_gauge_that_cannot_be_read_takes_no_other_with_it(lineage: Callable[..., Lineage], caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()

    def broken() -> int:
        raise OSError("gone")

    metrics.watch(watched(lineage, in_flight=broken))
    found = values(metrics)
    assert "rag_in_flight" not in found
    assert (
        found["rag_ready"]
        == found["rag_deployment_info{commit=c0ffee,environment=dev,image=registry/rag@sha256:%s,version=0.1.0}" % ("a" * 64)]
    )
    assert "rag_in_flight cannot be read" in caplog.text


@pytest.mark.parametrize("problem", ["closed", "date"])
def test_a_release_that_cannot_be_told_takes_no_gauge_with_it(
    lineage: Callable[..., Lineage], caplog: pytest.LogCaptureFixture, problem: str
) -> None:
    def broken() -> Lineage:
        if problem == "closed":
            raise RuntimeError("closed")
        found = lineage()
        return dataclasses.replace(found, index=dataclasses.replace(found.index, built_at="yesterday"))

    metrics = Metrics()
    metrics.watch(watched(broken))
    assert values(metrics)["rag_ready"] == 1
    assert "what answers now cannot be read" in caplog.text


def test_the_process_is_watched_too_and_no_series_says_when_it_was_created() -> None:
    body, _ = Metrics().exposition()
    for name in (b"process_resident_memory_bytes", b"process_cpu_seconds_total", b"python_gc_collections_total", b"python_info"):
        assert b"\n" + name in body
    assert b"_created" not in body


def test_two_services_in_one_process_count_apart() -> None:
    one, other = Metrics(), Metrics()
    one.shed("expired")
    assert values(one)["rag_shed_total{reason=expired}"] == 1
    assert values(other)["rag_shed_total{reason=expired}"] == 0


def test_nothing_is_lost_when_threads_count_at_once(make_record: MakeRecord) -> None:
    metrics = Metrics()
    metrics.know(routes=["/ask"])
    record = make_record()

    def act(_: int) -> None:
        metrics.request("/ask", 200, 0.1, record.trace_id)
        metrics.answered(record)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(act, range(2000)))
    found = values(metrics)
    assert found["rag_answers_total{status=answered}"] == found["rag_request_duration_seconds_count{route=/ask,status=200}"] == 2000
    assert found["rag_tokens_total{kind=completion}"] == 84_000
