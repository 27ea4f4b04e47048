"""Rows to scores: denominators, counts, warnings, and curves."""

from dataclasses import replace
from typing import Any

import pytest

from eval.metrics.catalogue import GROUPS, METRICS, metric, metric_versions
from eval.metrics.operations import NOT_TIMED, STAGES
from eval.questions import EvalQuestion
from eval.results import Gold, GoldSpan, Row
from eval.sample import Cited, Failure, Judged, Ranked, Sample
from eval.scores import Score, Undefined
from eval.scoring import score
from eval.summary import abstain_reasons, count, error_codes, labels, reliability, risk_coverage, summarise, warn
from rag_service.errors import NotFound
from tests.eval.built import a_row

HIT = Ranked("tower-0", "tower", 0, 70, 0.8)
GOLD = Gold({"tower": 1}, 0, ((GoldSpan("tower", 30, 60),),))
WHEN = EvalQuestion("when", "When?", ("1889",), {"tower": 1}, True, facts=(("1889",),))
NOBODY = EvalQuestion("nobody", "Who?", answerable=False)
ANSWERED = Sample(
    status="answered",
    plain="In 1889.",
    confidence=0.9,
    pool=(HIT,),
    hits=(HIT,),
    shown=1,
    cited=(Cited(1, "tower-0", "tower", 0, 31, True),),
    sentences=(Judged("supported", cited=True, claims=True),),
    prompt_tokens=40,
    completion_tokens=8,
    took_ms={stage: 2.0 for stage in STAGES},
)
ABSTAINED = Sample(status="abstained", abstain_reason="low_confidence", confidence=0.1, pool=(HIT,), hits=(HIT,), took_ms={"total": 1.0})
BROKEN = Sample(status="error", pool=(HIT,), failures=(Failure("ask", "generator_error", "gone", "generate"),))


def scored(question: EvalQuestion, sample: Sample, gold: Gold | None = None, *, answers: bool = True, **more: Any) -> Row:
    known = gold or (Gold({}, 0) if question.answerable is False else GOLD)
    return a_row(question, sample, score(question, known, sample, texts={"tower-0": "In 1889."}, answers=answers), gold=known, **more)


def many(*samples: tuple[EvalQuestion, Sample], **more: Any) -> list[Row]:
    return [scored(replace(question, id=f"{number}"), sample, **more) for number, (question, sample) in enumerate(samples)]


EVERYTHING = many((WHEN, ANSWERED), (NOBODY, ABSTAINED), (WHEN, BROKEN), (WHEN, replace(ANSWERED, hits=(), shown=0, plain="")))


def test_all_that_is_scored_or_summarised_is_in_the_catalogue_and_the_other_way_round() -> None:
    per_question = {name for row in EVERYTHING for name in row.scores}
    assert per_question == {name for name, declared in METRICS.items() if declared.per_question}
    summarised = {name: group for group, scores in summarise(EVERYTHING, answers=True).items() for name in scores}
    assert summarised == {name: declared.group for name, declared in METRICS.items()}


def test_groups_and_metrics_are_in_the_order_of_the_catalogue() -> None:
    groups = summarise(EVERYTHING, answers=True)
    assert list(groups) == list(GROUPS)
    assert [name for scores in groups.values() for name in scores] == [
        name for group in GROUPS for name, declared in METRICS.items() if declared.group == group
    ]


def test_a_failed_question_stays_in_every_denominator() -> None:
    groups = summarise(many((WHEN, ANSWERED), (WHEN, ANSWERED), (WHEN, BROKEN), (NOBODY, ABSTAINED)), answers=True)
    assert groups["answers"]["contains"] == Score(2 / 3, 3, 2, n_error=1)
    assert groups["answers"]["correct"] == Score(3 / 4, 4, 3, n_error=1)
    assert groups["grounding"]["supported"] == Score(2 / 3, 4, 2, n_undefined=1, n_error=1)
    assert groups["retrieval"]["recall@5"] == Score(1.0, 3, 3)


def test_a_failure_does_not_improve_what_is_better_the_lower_it_is() -> None:
    unsupported = replace(ANSWERED, sentences=(Judged("unsupported", cited=True, claims=True),))
    groups = summarise(many((WHEN, unsupported), (WHEN, BROKEN)), answers=True)
    assert groups["grounding"]["unsupported_answers"] == Score(1.0, 2, 1, n_error=1)


def test_the_halves_of_squad_are_given_where_there_are_two() -> None:
    both = summarise(many((WHEN, ANSWERED), (NOBODY, ABSTAINED), (NOBODY, ANSWERED)), answers=True)["answers"]
    assert both["squad_em"].value == pytest.approx(1 / 3)
    assert [both[f"squad_{half}_em"] for half in ("has", "no")] == [Score(0.0, 1, 1), Score(0.5, 2, 2)]
    assert [both[f"squad_{half}_f1"].value for half in ("has", "no")] == pytest.approx([2 / 3, 0.5])
    assert not [name for name in summarise(many((WHEN, ANSWERED)), answers=True)["answers"] if name.startswith("squad_has")]


def test_without_answers_there_are_scores_of_retrieval_alone() -> None:
    rows = many((WHEN, Sample(status="not_asked", pool=(HIT,))), answers=False)
    groups = summarise(rows, answers=False)
    assert list(groups) == ["retrieval", "passages"]
    assert groups["passages"]["passage_success@1"].value == 1.0
    assert "prompt_recall" not in groups["passages"]


def test_what_no_question_has_is_undefined_or_left_out() -> None:
    rows = [scored(EvalQuestion("q", "Where?"), replace(ANSWERED, took_ms={}), Gold({}, 0))]
    groups = summarise(rows, answers=True)
    assert groups["retrieval"]["ndcg@10"].value == Undefined("no question names what is relevant to it")
    assert groups["answers"]["em"].value == Undefined("no answerable question has a reference answer")
    assert groups["abstention"]["abstain_recall"].value == Undefined("no question of the set is known to be unanswerable")
    assert {"facts", "kilt_f1"}.isdisjoint(groups["answers"])
    assert "prompt_recall" not in groups["passages"]


def test_times_are_those_of_the_timing_pass() -> None:
    timed = summarise(many((WHEN, ANSWERED), (WHEN, ABSTAINED), (WHEN, replace(ANSWERED, took_ms={}))), answers=True)["operations"]
    assert timed["p50_ms"] == Score(1.5, 2, 2)
    assert timed["max_ms"] == Score(2.0, 2, 2)
    assert timed["generate_p50_ms"] == Score(2.0, 1, 1)
    assert isinstance(timed["p95_ms"].value, Undefined)
    untimed = summarise(many((WHEN, replace(ANSWERED, took_ms={}))), answers=True)["operations"]
    assert untimed["p50_ms"] == Score(NOT_TIMED, 0, 0)
    assert "generate_p50_ms" not in untimed


def test_questions_that_failed_in_a_whole_timing_pass_are_shown_beside_its_times() -> None:
    assert summarise(many((WHEN, ANSWERED), (WHEN, BROKEN)), answers=True)["operations"]["p50_ms"] == Score(2.0, 2, 1, n_error=1)


def test_tokens_are_averaged_over_the_prompts_that_were_made() -> None:
    more = replace(ANSWERED, prompt_tokens=80)
    operations = summarise(many((WHEN, ANSWERED), (WHEN, more), (WHEN, ABSTAINED), (WHEN, BROKEN)), answers=True)["operations"]
    assert operations["prompt_tokens"] == Score(60.0, 4, 2, n_undefined=1, n_error=1)


def test_confidence_is_judged_by_answers_and_by_whether_there_was_one() -> None:
    wrong = replace(ANSWERED, plain="In 1999.", confidence=0.7)
    rows = many((WHEN, ANSWERED), (WHEN, wrong), (NOBODY, ABSTAINED), (WHEN, BROKEN))
    abstention = summarise(rows, answers=True)["abstention"]
    assert abstention["aurc"] == Score(0.25, 3, 2, n_error=1)  # (0 + 1/2) / 2
    assert abstention["accuracy@80"].value == 0.5
    assert abstention["ece"] == Score(pytest.approx((0.1 + 0.3 + 0.1) / 3), 3, 3)
    assert [(point.coverage, point.risk) for point in risk_coverage(rows)] == [(0.5, 0.0), (1.0, 0.5)]
    assert sum(each.count for each in reliability(rows)) == 3


def test_calibration_needs_both_kinds_of_question() -> None:
    rows = many((WHEN, ANSWERED))
    assert reliability(rows) == ()
    assert isinstance(summarise(rows, answers=True)["abstention"]["ece"].value, Undefined)


def test_questions_are_counted_by_what_is_known_and_what_became_of_them() -> None:
    lost = scored(replace(WHEN, id="lost"), ABSTAINED, replace(GOLD, missing=1))
    found = count([*EVERYTHING, lost])
    assert (found.questions, found.answerable, found.unanswerable, found.with_gold, found.gold_not_in_index) == (5, 4, 1, 4, 1)
    assert (found.answered, found.abstained, found.not_asked, found.errors) == (2, 2, 0, 1)
    assert abstain_reasons([*EVERYTHING, lost]) == {"low_confidence": 2}
    assert error_codes([*EVERYTHING, lost]) == {"generator_error": 1}


def test_labels_are_counted_in_the_order_in_which_they_are_tried() -> None:
    rows = [replace(row, label=label) for row, label in zip(EVERYTHING, ("right", "right_abstain", "infra_error", "right"), strict=True)]
    assert list(labels(rows).items()) == [("infra_error", 1), ("right_abstain", 1), ("right", 2)]


def test_a_ranking_without_any_relevant_document_and_a_shallow_one_are_warned_of() -> None:
    rows = many((replace(WHEN, relevant={"no-such": 1}), ANSWERED), gold=Gold({"no-such": 1}, 0))
    assert [warning.split(":")[0] for warning in warn(rows, documents=40)] == [
        "no relevant document was retrieved for any of 1 question",
        "for 1 question the retrieved chunks belong to fewer than 10 documents",
    ]
    assert warn(many((WHEN, ANSWERED)), documents=1) == []


def test_a_misspelt_metric_is_answered_with_what_may_have_been_meant() -> None:
    assert metric("ndcg@10").source == "trec_eval ndcg_cut"
    with pytest.raises(NotFound, match="no metric 'ndcg@1'") as raised:
        metric("ndcg@1")
    assert "ndcg@10" in raised.value.hint


def test_every_metric_has_a_version() -> None:
    assert metric_versions() == dict.fromkeys(METRICS, 1)
    assert all(declared.name == name for name, declared in METRICS.items())
