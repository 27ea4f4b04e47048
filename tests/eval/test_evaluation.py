"""A whole run over a pipeline of small real parts."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from eval.metrics.retrieval import RETRIEVAL
from eval.metrics.scores import Failed, Score, Undefined
from eval.questions import EvalQuestion, QuestionSet
from eval.report import Report, from_json, to_json
from eval.run import evaluate
from rag_service.ask import Pipeline
from rag_service.digests import digest_bytes
from rag_service.errors import GeneratorFailed, InvalidInput, Mismatch
from rag_service.generators.extractive import ExtractiveGenerator
from rag_service.release import Retrieval
from rag_service.types import Completion, Prompt

WHERE = EvalQuestion("where", "Where does the Eiffel Tower stand?", ("Paris", "in Paris"), {"tower": 1}, True)
WHEN = EvalQuestion("when", "When was the Eiffel Tower finished?", ("1889",), {"tower": 2}, True)
MELTS = EvalQuestion(
    "melts",
    "At how many degrees Celsius melts Tungsten?",
    ("3422",),
    {},
    True,
    gold_texts=("Tungsten melts at 3422 degrees Celsius.\r\n",),
)
NOBODY = EvalQuestion("nobody", "zzyzx qwxv jkjk", (), {}, False)
UNKNOWN = EvalQuestion("unknown", "What flies from pole to pole?")


def _set(*questions: EvalQuestion) -> QuestionSet:
    return QuestionSet("questions.jsonl", "native", None, digest_bytes(b"questions"), questions)


ALL = _set(WHERE, WHEN, MELTS, NOBODY, UNKNOWN)


class BrokenAt:
    """The extractive generator, but for one question at which its provider is gone."""

    name = "broken"
    context_tokens = 1_000_000
    follows_instructions = False

    def __init__(self, inner: ExtractiveGenerator, question: str) -> None:
        self._inner = inner
        self._question = question
        self.digest = inner.digest
        self.parameters = inner.parameters

    def count_tokens(self, text: str) -> int:
        return self._inner.count_tokens(text)

    def generate(self, prompt: Prompt, **options: Any) -> Completion:
        if prompt.question == self._question:
            raise GeneratorFailed("the provider is gone")
        return self._inner.generate(prompt, **options)


@pytest.fixture
def report(pipeline: Pipeline, progress: Any) -> Report:
    return evaluate(pipeline, ALL, progress=progress)


def test_every_question_is_asked_in_order_and_progress_is_told(pipeline: Pipeline, progress: Any) -> None:
    report = evaluate(pipeline, ALL, progress=progress)
    assert [row.id for row in report.rows] == ["where", "when", "melts", "nobody", "unknown"]
    assert [row.status for row in report.rows] == ["answered", "answered", "answered", "abstained", "answered"]
    assert (progress.told, progress.done) == ([("asking", 5)], 5)


def test_retrieval_is_scored_where_gold_is_known(report: Report) -> None:
    where, when, melts, nobody, unknown = report.rows
    assert where.retrieved[0] == "tower"
    assert len(where.retrieved) == len(set(where.retrieved)) == 4  # two chunks of one document are one
    assert where.scores["recall@5"] == where.scores["ndcg@10"] == where.scores["rr@10"] == 1.0
    assert when.scores["success@1"] == 1.0
    assert melts.relevant == {"metal": 1}
    assert melts.scores["rr@10"] == 1.0
    assert not RETRIEVAL.keys() & {*nobody.scores, *unknown.scores}
    assert report.metrics["retrieval"]["recall@5"] == Score(1.0, 3, 3)


def test_an_unanswerable_question_has_no_gold_even_where_its_paragraph_is_known(pipeline: Pipeline, progress: Any) -> None:
    written_from_a_paragraph = replace(NOBODY, gold_texts=MELTS.gold_texts)
    report = evaluate(pipeline, _set(MELTS, written_from_a_paragraph), progress=progress)
    assert report.metrics["retrieval"]["recall@5"].n_scored == 1
    assert report.counts.with_gold == 1


def test_answers_are_scored_without_their_citation_markers(report: Report) -> None:
    where, when, *_ = report.rows
    assert where.answer == "The Eiffel Tower stands in Paris."
    assert where.scores["contains"] == when.scores["contains"] == 1.0
    assert where.scores["em"] == 0.0
    assert where.scores["f1"] == pytest.approx(4 / 7)  # "in paris" of "eiffel tower stands in paris": P 2/5, R 1
    assert report.metrics["answers"]["contains"] == Score(1.0, 3, 3)
    assert report.metrics["answers"]["answer_tokens"].n_scored == 4


def test_abstaining_on_what_has_no_answer_is_right(report: Report) -> None:
    nobody = report.rows[3]
    assert nobody.abstain_reason == "low_confidence"
    assert nobody.scores == {"squad_em": 1.0, "squad_f1": 1.0}
    assert report.abstain_reasons == {"low_confidence": 1}
    values = {name: score.value for name, score in report.metrics["abstention"].items()}
    assert values == {
        "abstain_precision": 1.0,
        "abstain_recall": 1.0,
        "abstain_f1": 1.0,
        "false_abstain_rate": 0.0,
        "false_answer_rate": 0.0,
    }
    assert report.metrics["answers"]["squad_em"] == Score(1 / 4, 4, 4)


def test_a_question_of_which_nothing_is_known_is_asked_and_timed_only(report: Report) -> None:
    unknown = report.rows[4]
    assert (unknown.status, unknown.scores) == ("answered", {})
    assert report.metrics["latency"]["p95_ms"].n_scored == 5


def test_a_failure_at_one_question_is_a_row_and_counts_against_the_scores(
    make_pipeline: Callable[..., Pipeline], pipeline: Pipeline, progress: Any
) -> None:
    broken = BrokenAt(ExtractiveGenerator(pipeline.embedder, max_sentences=1), WHERE.question)
    report = evaluate(make_pipeline(generator=broken), ALL, progress=progress)
    where = report.rows[0]
    assert where.status == "error"
    [failure] = where.failures
    assert (failure.during, failure.code, failure.stage) == ("ask", "generator_error", "generate")
    assert failure.message == "the provider is gone"
    assert where.scores["em"] == where.scores["squad_f1"] == Failed("generator_error")
    assert where.scores["recall@5"] == 1.0  # retrieval did not fail
    assert report.metrics["answers"]["contains"] == Score(2 / 3, 3, 2, n_error=1)
    assert report.metrics["latency"]["p50_ms"].n_error == 1
    assert (report.counts.errors, report.error_codes, progress.done) == (1, {"generator_error": 1}, 5)


def test_a_question_that_cannot_even_be_searched_for_fails_in_retrieval_too(make_pipeline: Callable[..., Pipeline], progress: Any) -> None:
    report = evaluate(make_pipeline(max_question_chars=len(WHERE.question)), _set(WHERE, WHEN), progress=progress)
    assert [failure.during for failure in report.rows[1].failures] == ["ask", "search"]
    assert report.counts.errors == 1
    assert report.metrics["retrieval"]["recall@5"] == Score(1 / 2, 2, 1, n_error=1)


def test_an_answer_that_takes_too_long_is_an_error(pipeline: Pipeline, progress: Any) -> None:
    report = evaluate(pipeline, _set(WHERE), timeout_s=0.0, progress=progress)
    assert report.error_codes == {"deadline_exceeded": 1}


def test_gold_that_the_index_lacks_is_counted_and_not_scored(pipeline: Pipeline, progress: Any) -> None:
    lost = replace(MELTS, id="lost", gold_texts=("Iron melts at 1538 degrees.",))
    report = evaluate(pipeline, _set(MELTS, lost), progress=progress)
    assert report.counts.gold_not_in_index == 1
    assert report.rows[1].missing_gold == 1
    assert report.metrics["retrieval"]["rr@10"] == Score(1.0, 2, 1, n_undefined=1)
    assert report.rows[1].scores["rr@10"] == Undefined("gold not in index")


def test_a_question_set_of_another_index_is_refused_before_anything_is_asked(pipeline: Pipeline, progress: Any) -> None:
    foreign = [replace(MELTS, id=str(number), gold_texts=(f"Foreign {number}.",)) for number in range(3)]
    with pytest.raises(Mismatch, match="none of the 3 gold paragraphs of this question set is a document of index 'little'") as refused:
        evaluate(pipeline, _set(*foreign), progress=progress)
    assert "one document" in refused.value.hint
    assert progress.told == []


def test_ids_that_are_never_retrieved_raise_a_warning(pipeline: Pipeline, progress: Any) -> None:
    foreign = [replace(WHERE, id=str(number), relevant={f"doc-{number}": 1}) for number in range(3)]
    [warning] = evaluate(pipeline, _set(*foreign), progress=progress).warnings
    assert warning.startswith("no relevant document was retrieved for any of 3 questions")
    assert evaluate(pipeline, _set(*foreign, WHERE), progress=progress).warnings == ()


def test_a_depth_that_reaches_too_few_documents_raises_a_warning(pipeline: Pipeline, progress: Any) -> None:
    [warning] = evaluate(pipeline, _set(WHERE), depth=2, progress=progress).warnings
    assert "--depth" in warning


def test_retrieval_alone_asks_for_no_answer(pipeline: Pipeline, progress: Any) -> None:
    report = evaluate(pipeline, ALL, answers=False, progress=progress)
    assert list(report.metrics) == ["retrieval", "latency"]
    assert {row.status for row in report.rows} == {"not_asked"}
    assert report.metrics["retrieval"]["recall@5"] == Score(1.0, 3, 3)
    assert report.metrics["latency"]["p50_ms"].n_scored == 5


def test_a_limit_asks_the_first_questions_of_the_same_set(pipeline: Pipeline, progress: Any) -> None:
    report = evaluate(pipeline, ALL, limit=2, progress=progress)
    assert [row.id for row in report.rows] == ["where", "when"]
    assert (report.questions.n_asked, report.questions.n_questions) == (2, 5)
    assert report.questions.digest == ALL.digest


def test_what_cannot_be_computed_is_undefined_with_a_reason(pipeline: Pipeline, progress: Any) -> None:
    report = evaluate(pipeline, _set(UNKNOWN), progress=progress)
    undefined = {
        name: score.value.reason for group in report.metrics.values() for name, score in group.items() if isinstance(score.value, Undefined)
    }
    assert undefined["recall@5"] == "no question names what is relevant to it"
    assert undefined["f1"] == "no answerable question has a reference answer"
    assert undefined["false_abstain_rate"] == "no question of the set is known to be answerable"


def test_references_of_nothing_but_articles_are_undefined(pipeline: Pipeline, progress: Any) -> None:
    report = evaluate(pipeline, _set(replace(WHERE, answers=("The",))), progress=progress)
    assert report.metrics["answers"]["f1"].n_undefined == 1


def test_the_report_says_which_release_and_index_were_measured(pipeline: Pipeline, report: Report) -> None:
    assert report.release.digest == pipeline.lineage.release.digest == report.release.content.digest
    assert (report.index.name, report.index.version) == ("little", "0" * 12)
    assert report.questions.digest == ALL.digest


def test_another_setting_is_another_release(make_pipeline: Callable[..., Pipeline], report: Report, progress: Any) -> None:
    other = evaluate(make_pipeline(retrieval=Retrieval(top_k=3, min_confidence=1.0)), ALL, progress=progress)
    assert other.release.id != report.release.id
    assert other.counts.abstained > report.counts.abstained


def test_a_report_survives_being_written_and_read(report: Report) -> None:
    assert from_json(to_json(report)) == report


def test_the_json_follows_its_schema(report: Report) -> None:
    written = json.loads(to_json(report))
    assert written["schema"] == "rag.eval/v1"
    assert list(written) == [
        "schema", "created_at", "duration_s", "release", "index", "deployment", "questions", "parameters", "counts",
        "abstain_reasons", "error_codes", "metrics", "warnings", "rows",
    ]  # fmt: skip
    assert written["metrics"]["retrieval"]["ndcg@10"] == {
        "value": 1.0, "n_applicable": 3, "n_scored": 3, "n_undefined": 0, "n_error": 0,
    }  # fmt: skip
    row = written["rows"][0]
    assert re.fullmatch(r"ans_[0-9a-f]{32}", row["answer_id"])
    assert re.fullmatch(r"[0-9a-f]{32}", row["trace_id"])
    assert row["status"] == "answered"
    assert row["scores"]["contains"] == 1.0


def test_undefined_and_failed_values_are_written_as_such(pipeline: Pipeline, progress: Any) -> None:
    report = evaluate(pipeline, _set(UNKNOWN, WHERE), timeout_s=0.0, progress=progress)
    written = json.loads(to_json(report))
    assert written["metrics"]["latency"]["p50_ms"]["value"] == {"undefined": "no question was timed"}
    assert written["rows"][1]["scores"]["em"] == {"failed": "deadline_exceeded"}
    assert from_json(to_json(report)) == report


def test_two_runs_differ_in_times_and_ids_alone(pipeline: Pipeline, report: Report, progress: Any) -> None:
    again = evaluate(pipeline, ALL, progress=progress)
    assert _without_times_and_ids(again) == _without_times_and_ids(report)


def _without_times_and_ids(report: Report) -> Report:
    rows = tuple(replace(row, answer_id=None, trace_id=None, total_ms=None) for row in report.rows)
    metrics = {group: scores for group, scores in report.metrics.items() if group != "latency"}
    return replace(report, created_at="", duration_s=0.0, rows=rows, metrics=metrics)


@pytest.mark.parametrize("text", ["", "{}", '{"schema": "rag.eval/v2"}'])
def test_what_is_no_report_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"not a report of the schema rag\.eval/v1"):
        from_json(text)
