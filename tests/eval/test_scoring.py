"""One question, scored from what came of it."""

from dataclasses import replace

import pytest

from eval.metrics import grounding
from eval.metrics.answers import ANSWERS, SQUAD
from eval.metrics.catalogue import METRICS
from eval.metrics.passages import IN_POOL, IN_PROMPT
from eval.metrics.retrieval import RETRIEVAL
from eval.questions import EvalQuestion
from eval.results import Gold, GoldSpan
from eval.sample import Cited, Failure, Judged, Ranked, Sample
from eval.scores import Failed, Outcome, Undefined
from eval.scoring import MISSING_GOLD, MOST_ANSWER_TOKENS, NO_PROMPT, NO_TOKEN, correct, score
from rag_service.types import Notice

QUESTION = EvalQuestion("when", "When was the tower finished?", ("1889",), {"tower": 1}, True)
GOLD = Gold({"tower": 1}, 0, ((GoldSpan("tower", 30, 60),),))
POOL = (
    Ranked("river-0", "river", 0, 45, 0.9),
    Ranked("tower-0", "tower", 0, 70, 0.8),
    Ranked("tower-1", "tower", 60, 110, 0.7),
)
TEXTS = {"river-0": "The Danube flows through Vienna.", "tower-0": "The tower was finished in 1889.", "tower-1": "It is tall."}
RIGHT = Sample(
    status="answered",
    answer="It was finished in 1889 [2].",
    plain="It was finished in 1889.",
    confidence=0.8,
    pool=POOL,
    hits=(POOL[0], POOL[1]),
    shown=2,
    cited=(Cited(2, "tower-0", "tower", 0, 31, True),),
    sentences=(Judged("supported", cited=True, claims=True),),
    prompt_tokens=40,
    completion_tokens=8,
)
ABSTAINED = Sample(status="abstained", abstain_reason="low_confidence", pool=POOL, hits=RIGHT.hits)
BROKEN = Sample(status="error", pool=POOL, failures=(Failure("ask", "generator_error", "the provider is gone", "generate"),))
UNANSWERABLE = replace(QUESTION, answers=(), relevant={}, answerable=False)


def scores_of(sample: Sample, question: EvalQuestion = QUESTION, gold: Gold = GOLD, *, answers: bool = True) -> dict[str, Outcome]:
    return dict(score(question, gold, sample, texts=TEXTS, answers=answers))


def test_a_right_answer_is_scored_at_every_point_of_its_way() -> None:
    found = scores_of(RIGHT)
    expected = {
        "rr@10": 0.5,
        "passage_rr@10": 0.5,
        "span_recall@5": 1.0,
        "span_precision@5": 30 / 165,
        "hits_recall": 1.0,
        "prompt_all": 1.0,
        "answer_in_prompt": 1.0,
        "redundancy": 0.0,
        "correct": 1.0,
        "contains": 1.0,
        "em": 0.0,
        "numbers_match": 1.0,
        "kilt_f1": found["f1"],
        "answer_tokens": 5.0,
        "citation_validity": 1.0,
        "gold_citation_recall": 1.0,
        "supported": 1.0,
        "answer_on_hit": 1.0,
        "coverage": 1.0,
        "selective_accuracy": 1.0,
        "context_truncated": 0.0,
        "prompt_tokens": 40.0,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert "abstain_on_miss" not in found
    assert "facts" not in found


def test_every_value_is_a_float_and_every_metric_is_in_the_catalogue() -> None:
    for sample in (RIGHT, ABSTAINED, BROKEN):
        found = scores_of(sample)
        assert set(found) <= {name for name, metric in METRICS.items() if metric.per_question}
        assert all(isinstance(value, float | Undefined | Failed) for value in found.values())


def test_without_answers_only_the_pool_is_scored() -> None:
    wanted = {*RETRIEVAL, *IN_POOL, "span_recall@5", "span_precision@5", "span_iou@5"}
    assert set(scores_of(RIGHT, answers=False)) == wanted
    assert set(scores_of(Sample(status="not_asked", pool=POOL))) == wanted


def test_where_only_documents_are_known_passages_are_not_scored() -> None:
    found = scores_of(RIGHT, gold=Gold({"tower": 1}, 0))
    assert not {*IN_POOL, *IN_PROMPT} & set(found)
    assert (found["kilt_em"], found["gold_citation_precision"]) == (0.0, 1.0)


def test_credit_of_kilt_needs_all_gold_in_the_prompt() -> None:
    two = Gold(GOLD.relevant, 0, (*GOLD.groups, (GoldSpan("metal", 0, 10),)))
    found = scores_of(replace(RIGHT, plain="1889"), gold=two)
    assert (found["em"], found["kilt_em"], found["prompt_recall"], found["prompt_all"]) == (1.0, 0.0, 0.5, 0.0)
    assert found["abstain_on_miss"] == 0.0


def test_an_abstention_is_an_empty_answer_and_grounded_in_nothing() -> None:
    found = scores_of(ABSTAINED)
    assert [found[name] for name in (*ANSWERS, *SQUAD, "correct", "kilt_f1", "coverage", "answer_on_hit")] == [0.0] * 9
    grounded = [name for name, metric in METRICS.items() if metric.group == "grounding"]
    assert {found[name] for name in grounded} == {grounding.NO_ANSWER}
    assert found["answer_tokens"] == grounding.NO_ANSWER
    assert {found[name] for name in ("answer_in_prompt", "redundancy", "prompt_tokens", "context_truncated")} == {NO_PROMPT}


def test_gold_that_the_service_abstained_on_before_there_was_a_prompt_counts_as_shown() -> None:
    assert scores_of(ABSTAINED)["prompt_recall"] == 1.0


def test_a_failure_fails_every_metric_of_the_answer_and_none_of_the_pool() -> None:
    found = scores_of(BROKEN)
    assert found["rr@10"] == 0.5
    asked = [name for name in found if name not in scores_of(BROKEN, answers=False)]
    assert {found[name] for name in asked} == {Failed("generator_error")}
    assert set(scores_of(RIGHT)) <= set(found)  # it leaves no denominator
    assert {found["answer_on_hit"], found["abstain_on_miss"]} == {Failed("generator_error")}


def test_where_the_search_failed_the_pool_was_not_scored() -> None:
    failed = replace(RIGHT, pool=(), failures=(Failure("search", "embedder_error", "gone", None),))
    found = scores_of(failed)
    assert {found[name] for name in (*RETRIEVAL, *IN_POOL)} == {Failed("embedder_error")}
    assert found["correct"] == 1.0


def test_gold_that_is_not_in_the_index_leaves_retrieval_undefined_and_the_answer_wrong() -> None:
    found = scores_of(ABSTAINED, gold=replace(GOLD, missing=1))
    assert {found[name] for name in (*RETRIEVAL, *IN_POOL, *IN_PROMPT, "hits_recall")} == {MISSING_GOLD}
    assert (found["correct"], found["abstain_on_miss"]) == (0.0, 1.0)
    assert scores_of(BROKEN, gold=replace(GOLD, missing=1))["prompt_all"] == MISSING_GOLD


def test_unanswerable_questions_are_right_when_abstained_on() -> None:
    abstained, answered = (scores_of(sample, UNANSWERABLE, Gold({}, 0)) for sample in (ABSTAINED, RIGHT))
    names = ("correct", "squad_em", "squad_f1", "abstain_recall", "net_utility", "abstain_on_miss")
    assert [abstained[name] for name in names] == [1.0] * 6
    assert [answered[name] for name in names] == [0.0, 0.0, 0.0, 0.0, -1.0, 0.0]
    assert (answered["false_answer_rate"], answered["selective_accuracy"]) == (1.0, 0.0)
    assert not {*RETRIEVAL, *IN_POOL, *ANSWERS, "coverage", "gold_citation_recall"} & set(answered)


def test_all_facts_make_an_answer_right_whatever_the_references_say() -> None:
    question = replace(QUESTION, facts=(("1889",), ("Paris", "the French capital")))
    half, whole = (replace(RIGHT, plain=text) for text in ("In 1889.", "In 1889, in the French capital."))
    assert (scores_of(half, question)["facts"], scores_of(half, question)["correct"]) == (0.5, 0.0)
    assert (scores_of(whole, question)["facts"], scores_of(whole, question)["correct"]) == (1.0, 1.0)


def test_whoever_recites_everything_is_not_right() -> None:
    recited = replace(RIGHT, plain="1889 " + "word " * (MOST_ANSWER_TOKENS - 1))
    assert correct(QUESTION, recited) == 1.0
    too_long = scores_of(replace(RIGHT, plain=(recited.plain or "") + "more"))
    assert (too_long["contains"], too_long["correct"]) == (1.0, 0.0)


def test_of_a_question_without_references_only_what_needs_none_is_scored() -> None:
    found = scores_of(RIGHT, EvalQuestion("q", "Where?"), Gold({}, 0))
    assert correct(EvalQuestion("q", "Where?"), RIGHT) is None
    assert set(found) == {
        "redundancy",
        "answer_tokens",
        "citation_validity",
        "citation_coverage",
        "supported",
        "unsupported_answers",
        "verbatim",
        "coverage",
        "context_truncated",
        "prompt_tokens",
        "completion_tokens",
    }


def test_references_without_a_token_are_undefined() -> None:
    found = scores_of(RIGHT, replace(QUESTION, answers=("the",)))
    assert {found[name] for name in (*ANSWERS, *SQUAD, "rouge_l", "kilt_em", "answer_in_prompt")} == {NO_TOKEN}
    assert isinstance(found["correct"], Undefined)
    assert "net_utility" not in found


def test_a_passage_whose_text_is_not_known_may_hold_the_answer() -> None:
    sample = replace(RIGHT, hits=(POOL[0], Ranked("gone", "tower", 0, 70, 0.8)))
    assert isinstance(scores_of(sample)["answer_in_prompt"], Undefined)
    assert scores_of(replace(RIGHT, shown=1))["answer_in_prompt"] == 0.0


def test_notices_tell_of_dropped_citations_and_of_a_prompt_that_was_too_long() -> None:
    notices = (Notice("citation_dropped", "marker 9 names no passage"), Notice("context_truncated", "3 of 5 passages did not fit"))
    found = scores_of(replace(RIGHT, notices=notices, prompt_tokens=None))
    assert (found["citation_validity"], found["context_truncated"]) == (0.5, 1.0)
    assert isinstance(found["prompt_tokens"], Undefined)


def test_scores_depend_on_the_sample_alone() -> None:
    assert scores_of(RIGHT) == scores_of(replace(RIGHT, took_ms={"total": 3.0}, prompt_digest="sha256:0"))
