"""Where the gold was lost, by what became of it at each step; and what moved between two candidates."""

from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.attribution import RIGHT, GoldState, attribute
from eval.questions import EvalQuestion
from eval.results import Gold, GoldSpan, Label, Row
from eval.sample import Cited, Failure, Ranked, Sample
from eval.scoring import score
from eval.waterfall import CAUSES, Step, waterfall
from rag_service.errors import Mismatch
from tests.eval.built import a_row

QUESTION = EvalQuestion("when", "When was the tower finished?", ("1889",), {"tower": 1}, True)
GOLD = Gold({"tower": 1}, 0, ((GoldSpan("tower", 30, 60),),))
GOLD_HIT = Ranked("tower-0", "tower", 0, 70, 0.8)
NOISE = tuple(Ranked(f"river-{number}", "river", 100 * number, 100 * number + 100, 0.5) for number in range(8))
THERE = GoldState(indexed=True, covered=True)
TEXTS = {"tower-0": "The tower was finished in 1889.", **{noise.chunk_id: "The Danube flows through Vienna." for noise in NOISE}}

WRONG = Sample(status="answered", plain="In 1999.", confidence=0.7, pool=(GOLD_HIT, *NOISE), hits=(GOLD_HIT, *NOISE[:2]), shown=3)
RIGHTLY = replace(WRONG, plain="In 1889.", cited=(Cited(1, "tower-0", "tower", 0, 31, True),))
ABSTAINED = replace(WRONG, status="abstained", abstain_reason="generator_declined", plain=None)
ELSEWHERE = {"pool": NOISE, "hits": NOISE[:3]}


def a_scored_row(sample: Sample, question: EvalQuestion = QUESTION, gold: Gold = GOLD, **more: Any) -> Row:
    return a_row(question, sample, score(question, gold, sample, texts=TEXTS, answers=True), gold=gold, **more)


def label_of(
    sample: Sample, question: EvalQuestion = QUESTION, gold: Gold = GOLD, state: GoldState = THERE, **more: Any
) -> tuple[str, str]:
    return attribute(a_scored_row(sample, question, gold, **more), state, considered=5)


@pytest.mark.parametrize(
    ("sample", "state", "label", "evidence"),
    [
        (WRONG, GoldState(indexed=False, covered=False), "corpus_gap", "in no document of the index"),
        (WRONG, GoldState(indexed=True, covered=False), "chunk_split", "no chunk covers half of tower [30, 60)"),
        (
            replace(WRONG, **ELSEWHERE),
            THERE,
            "retrieval_miss",
            "not among the 8 passages of the pool; it answered all the same: “In 1999.”",
        ),
        (replace(ABSTAINED, **ELSEWHERE), THERE, "retrieval_miss", "the service abstained (generator_declined, confidence 0.70)"),
        (
            replace(WRONG, pool=(*NOISE[:5], GOLD_HIT), hits=NOISE[:3]),
            THERE,
            "retrieval_miss",
            "rank 6 of the pool, of which 5 are considered",
        ),
        (replace(WRONG, pool=(*NOISE[:4], GOLD_HIT), hits=NOISE[:3]), THERE, "rerank_drop", "rank 5 of the pool, and not among the 3 hits"),
        (replace(WRONG, hits=(*NOISE[:2], GOLD_HIT), shown=2), THERE, "context_truncated", "rank 3 of the hits, of which 2 stood"),
        (ABSTAINED, THERE, "false_abstain", "with the gold among its passages"),
        (replace(ABSTAINED, shown=0, abstain_reason="low_confidence"), THERE, "false_abstain", "low_confidence"),
        (WRONG, THERE, "reader_miss", "no oracle was run"),
        (RIGHTLY, THERE, "right", "with the gold in the prompt"),
        (replace(RIGHTLY, **ELSEWHERE), THERE, "lucky", "right, without tower [30, 60) in the prompt"),
        (replace(RIGHTLY, cited=()), THERE, "right_bad_citation", "it cites no passage"),
        (replace(RIGHTLY, cited=(Cited(2, "river-0", "river", 0, 9, True),)), THERE, "right_bad_citation", "no passage with gold"),
    ],
)
def test_the_first_step_at_which_gold_was_lost_is_to_blame(sample: Sample, state: GoldState, label: Label, evidence: str) -> None:
    found, why = label_of(sample, state=state)
    assert found == label
    assert evidence in why


def test_a_reranker_takes_the_gold_that_retrieval_ranked_low() -> None:
    lifted = replace(RIGHTLY, pool=(*NOISE, GOLD_HIT))
    assert label_of(lifted)[0] == "right"
    assert label_of(replace(lifted, plain="In 1999."))[0] == "reader_miss"


def test_without_knowing_how_many_are_considered_the_whole_pool_is() -> None:
    row = a_scored_row(replace(WRONG, pool=(*NOISE, GOLD_HIT), hits=NOISE[:3]))
    assert attribute(row, THERE)[0] == "rerank_drop"


def test_every_group_must_come_through_and_the_earliest_loss_is_told() -> None:
    gold = Gold(GOLD.relevant, 0, (*GOLD.groups, (GoldSpan("metal", 0, 10),)))
    found, why = label_of(replace(WRONG, hits=(*NOISE[:2], GOLD_HIT), shown=2), gold=gold)
    assert (found, why.split(":")[0]) == ("retrieval_miss", "metal [0, 10)")


def test_where_documents_are_gold_any_of_their_passages_will_do() -> None:
    gold = Gold({"tower": 1, "other": 1}, 0)
    assert label_of(WRONG, gold=gold)[0] == "reader_miss"
    found, why = label_of(replace(WRONG, **ELSEWHERE), gold=gold)
    assert (found, why.split(":")[0]) == ("retrieval_miss", "tower or 1 other document")


def test_the_oracle_tells_distraction_from_misreading() -> None:
    alone = replace(RIGHTLY, pool=(), hits=(GOLD_HIT,), shown=1)
    assert label_of(WRONG, oracle=alone) == ("distracted", "answered wrongly: “In 1999.”; right with the gold alone: “In 1889.”")
    assert label_of(WRONG, oracle=replace(alone, plain="In 1879."))[0] == "reader_miss"
    assert label_of(WRONG, oracle=replace(alone, status="abstained", plain=None))[1].endswith("with the gold alone abstained")
    broken = Sample(status="error", failures=(Failure("ask", "generator_error", "gone", None),))
    assert label_of(WRONG, oracle=broken)[1].endswith("the oracle failed")


def test_a_lucky_answer_says_whether_the_model_knows_it_anyway() -> None:
    lucky = replace(RIGHTLY, **ELSEWHERE)
    assert label_of(lucky, closed_book=RIGHTLY)[1].endswith("the model knows it without documents")
    assert label_of(lucky, closed_book=WRONG)[1].endswith("without documents the model does not know it")


def test_a_reference_in_another_passage_makes_the_gold_doubtful() -> None:
    passage = Ranked("copy-0", "copy", 0, 70, 0.9)
    row = replace(a_scored_row(replace(RIGHTLY, hits=(passage,), shown=1)), scores={"correct": 1.0, "answer_in_prompt": 1.0})
    found, why = attribute(row, THERE)
    assert (found, "the gold may be incomplete" in why) == ("lucky", True)


def test_unanswerable_questions_are_right_when_abstained_on() -> None:
    nobody = EvalQuestion("nobody", "Who?", answerable=False)
    nothing = Gold({}, 0)
    assert label_of(ABSTAINED, nobody, nothing)[0] == "right_abstain"
    assert label_of(WRONG, nobody, nothing) == ("should_have_abstained", "unanswerable, and answered, confidence 0.70: “In 1999.”")
    assert label_of(Sample(status="not_asked"), nobody, nothing)[0] == "not_judged"


def test_a_failure_is_nobodys_fault_but_the_systems() -> None:
    broken = Sample(status="error", failures=(Failure("ask", "generator_error", "the provider is gone", "generate"),))
    assert label_of(broken) == ("infra_error", "ask failed with generator_error: the provider is gone")
    search = Failure("search", "embedder_error", "gone", None)
    assert label_of(Sample(status="not_asked", failures=(search,)))[0] == "infra_error"
    assert label_of(replace(RIGHTLY, pool=(), failures=(search,)))[0] == "right"
    assert label_of(replace(WRONG, pool=(), hits=NOISE[:3], failures=(search,)))[0] == "infra_error"


def test_of_a_service_whose_pool_is_not_known_the_hits_decide() -> None:
    found, why = label_of(replace(WRONG, pool=(), hits=NOISE[:3]))
    assert (found, "the pool is empty, or not known" in why) == ("retrieval_miss", True)


WITHOUT = Gold({}, 0)


@pytest.mark.parametrize(
    ("sample", "label"),
    [
        (replace(WRONG, **ELSEWHERE), "hallucinated"),
        (replace(ABSTAINED, **ELSEWHERE), "right_abstain_on_miss"),
        (replace(RIGHTLY, **ELSEWHERE), "lucky"),
        (WRONG, "reader_miss"),
        (ABSTAINED, "false_abstain"),
        (replace(ABSTAINED, shown=0), "false_abstain"),
        (RIGHTLY, "right"),
    ],
)
def test_without_gold_a_reference_answer_in_the_prompt_stands_for_it(sample: Sample, label: Label) -> None:
    assert label_of(sample, replace(QUESTION, relevant={}), WITHOUT)[0] == label


def test_what_cannot_be_judged_is_not() -> None:
    unknown = EvalQuestion("q", "Where?")
    assert [label_of(sample, unknown, WITHOUT)[0] for sample in (WRONG, ABSTAINED, Sample(status="not_asked"))] == ["not_judged"] * 3
    assert label_of(WRONG, replace(QUESTION, answers=()))[0] == "not_judged"
    assert label_of(ABSTAINED, replace(QUESTION, answers=()))[0] == "false_abstain"


def test_a_search_alone_tells_what_it_missed() -> None:
    assert label_of(Sample(status="not_asked", pool=NOISE))[0] == "retrieval_miss"
    assert label_of(Sample(status="not_asked", pool=(GOLD_HIT,))) == ("not_judged", "no answer was asked for")


def test_evidence_of_a_long_answer_is_cut() -> None:
    assert len(label_of(replace(WRONG, plain="word " * 100))[1]) < 200


RANKINGS = st.permutations([GOLD_HIT, *NOISE[:4]])


@given(
    pool=RANKINGS,
    hits=RANKINGS,
    n=st.integers(0, 5),
    shown=st.integers(0, 5),
    status=st.sampled_from(["answered", "abstained"]),
    plain=st.sampled_from(["In 1889.", "In 1999."]),
    gold=st.sampled_from([GOLD, Gold({"tower": 1}, 0), Gold({}, 0), replace(GOLD, missing=1)]),
    answerable=st.sampled_from([True, False, None]),
)
def test_a_label_is_right_exactly_where_the_question_is_correct(gold: Gold, answerable: bool | None, **given: Any) -> None:
    hits = tuple(given["hits"][: given["n"]])
    answered = given["status"] == "answered"
    sample = replace(
        WRONG,
        status=given["status"],
        plain=given["plain"] if answered else None,
        pool=tuple(given["pool"]),
        hits=hits,
        shown=min(given["shown"], len(hits)),
    )
    question = replace(QUESTION, answerable=answerable, answers=() if answerable is False else QUESTION.answers)
    row = a_scored_row(sample, question, gold)
    label, evidence = attribute(row, GoldState(indexed=not gold.missing, covered=True), considered=3)
    assert (label in RIGHT) == (row.scores["correct"] == 1.0)
    assert evidence


def _labelled(*labels: Label) -> list[Row]:
    return [replace(a_row(replace(QUESTION, id=f"{number}"), WRONG, {}), label=label) for number, label in enumerate(labels)]


def test_a_waterfall_worked_by_hand() -> None:
    base = _labelled("retrieval_miss", "retrieval_miss", "right", "right", "right_abstain", "reader_miss", "lucky")
    candidate = _labelled("right", "right_bad_citation", "rerank_drop", "right", "should_have_abstained", "distracted", "right")
    found = waterfall(base, candidate[::-1])
    assert (found.base, found.candidate) == (4, 4)
    assert found.steps == (Step("retrieval_miss", 2, 0), Step("rerank_drop", 0, 1), Step("should_have_abstained", 0, 1))
    assert str(found) == "+2 from retrieval, −1 from rerank drops, −1 from false answers"
    assert found.moves["reader_miss"] == {"distracted": 1}


def test_between_a_candidate_and_itself_nothing_moves() -> None:
    rows = _labelled("right", "reader_miss", "not_judged")
    found = waterfall(rows, rows)
    assert (found.steps, str(found)) == ((), "no difference")


def test_candidates_that_were_asked_other_questions_do_not_compare() -> None:
    with pytest.raises(Mismatch, match="1 questions were asked of one"):
        waterfall(_labelled("right", "right"), _labelled("right"))


LABELS = st.sampled_from(get_args(Label))


@given(st.lists(st.tuples(LABELS, LABELS), max_size=30))
def test_the_steps_sum_to_the_difference_of_right_answers(pairs: list[tuple[Label, Label]]) -> None:
    found = waterfall(_labelled(*(before for before, _ in pairs)), _labelled(*(after for _, after in pairs)))
    assert sum(step.net for step in found.steps) == found.candidate - found.base
    assert sum(n for after in found.moves.values() for n in after.values()) == len(pairs)


def test_every_label_is_right_or_has_a_cause() -> None:
    assert {*RIGHT, *CAUSES} == set(get_args(Label))
    assert not RIGHT & set(CAUSES)
