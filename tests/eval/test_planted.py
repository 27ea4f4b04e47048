"""Candidates that were planted: whoever cannot answer must lose, and whoever is better must win, through pipelines that really answer."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from eval.asking import answered, sample_of
from eval.attribution import GoldState, attribute
from eval.candidate import Trivial
from eval.decision import Decision
from eval.gate import decide
from eval.gold import resolve_gold
from eval.policy import Policy
from eval.questions import EvalQuestion
from eval.results import Measured, Row
from eval.sample import Failure, Ranked
from eval.scoring import score
from eval.trivial import trivial_pipeline
from rag_service.ask import Pipeline
from rag_service.question import Question
from rag_service.release import Retrieval
from tests.eval.built import a_candidate, a_run

MakePipeline = Callable[..., Pipeline]

TOWNS = [
    "Aldorf", "Bremmen", "Corvia", "Dunholt", "Elmshall", "Farnow", "Gellick", "Hastow", "Ilmenau", "Jorvik",
    "Kelheim", "Lorrach", "Marbeck", "Nordhem", "Oberau", "Pillau", "Quedlin", "Rastow", "Sulgau", "Torgelow",
    "Ulmen", "Velden", "Wismar", "Xanten", "Ypern", "Zossen", "Ahlbeck", "Birkau", "Cottbus", "Demmin",
]  # fmt: skip
TRADES = ["amber", "barrels", "candles", "dyes", "enamel", "felt", "glass", "hemp", "ink", "jute"]
PAGES = {
    town.lower(): [
        f"{town} lies on the river {town[:3]}a. The mayor of {town} is called Mister {town[::-1].title()}.",
        f"The craftsmen of {town} have been selling {TRADES[number % 10]} since {1400 + 7 * number}.",
        f"{town} holds a fair in autumn, and its bridge was rebuilt by {town[:2]}{number} masons.",
    ]
    for number, town in enumerate(TOWNS)
}
POLICY = Policy(draws=1000)
TRIVIAL: tuple[Trivial, ...] = ("always_abstain", "echo_context", "copy_question", "random_retrieval")


def questions() -> list[EvalQuestion]:
    """Two of every town that can be answered, and one that names what no page knows."""
    asked = []
    for number, town in enumerate(TOWNS):
        page = town.lower()
        mayor, trade = f"Mister {town[::-1].title()}", f"since {1400 + 7 * number}"
        asked += [
            EvalQuestion(
                id=f"mayor-{page}",
                question=f"What is the mayor of {town} called?",
                answers=(mayor,),
                answerable=True,
                gold_texts=("\n\n".join(PAGES[page]),),
            ),
            EvalQuestion(
                id=f"trade-{page}",
                question=f"Since when have the craftsmen of {town} been selling?",
                answers=(trade,),
                answerable=True,
                gold_texts=("\n\n".join(PAGES[page]),),
            ),
            EvalQuestion(id=f"none-{page}", question=f"Zyx{number} quorl vand{number} brith?", answerable=False),
        ]
    return asked


def measured(name: str, pipeline: Pipeline) -> Measured:
    """Every question asked and scored, as a run does it."""
    texts: dict[str, str] = {}
    asked = questions()
    rows = []
    for question, gold in zip(asked, resolve_gold(asked, pipeline.chunks, index="towns"), strict=True):
        record = answered(pipeline, question.question, None)
        assert not isinstance(record, Failure), record
        texts.update((hit.chunk.id, hit.chunk.text) for hit in record.hits)
        found = pipeline.search(Question(question.question, top_k=20)).hits
        pool = tuple(Ranked(hit.chunk.id, hit.chunk.document_id, hit.chunk.start, hit.chunk.end, hit.score) for hit in found)
        sample = replace(sample_of(record), pool=pool)
        row = Row(
            question=question,
            gold=gold,
            cluster=question.id.partition("-")[2],
            sample=sample,
            scores=score(question, gold, sample, texts=texts, answers=True),
        )
        label, evidence = attribute(row, GoldState(indexed=not gold.missing, covered=True))
        rows.append(replace(row, label=label, evidence=evidence))
    return a_candidate(name, rows, release=pipeline.lineage.release)


def correct(candidate: Measured) -> float:
    return sum(float(row.scores["correct"]) for row in candidate.rows) / len(candidate.rows)  # type: ignore[arg-type]


def labelled(candidate: Measured) -> dict[str, int]:
    found: dict[str, int] = {}
    for row in candidate.rows:
        found[row.label] = found.get(row.label, 0) + 1
    return found


def decided(base: Measured, candidate: Measured, policy: Policy = POLICY) -> Decision:
    return decide(a_run(base, candidate), base.name, candidate.name, policy)


@pytest.fixture
def good(make_pipeline: MakePipeline) -> Pipeline:
    return make_pipeline(PAGES)


def test_the_good_pipeline_is_good(good: Pipeline) -> None:
    """Else nothing below says anything."""
    assert correct(measured("good", good)) > 0.9


@pytest.mark.parametrize("kind", TRIVIAL)
def test_a_trivial_candidate_never_takes_the_place_of_a_good_one(good: Pipeline, kind: Trivial) -> None:
    base, trivial = measured("good", good), measured(kind, trivial_pipeline(good, kind))
    decision = decided(base, trivial)
    assert decision.verdict == "REJECT"
    assert correct(trivial) < correct(base)


@pytest.mark.parametrize("kind", ["echo_context", "copy_question"])
def test_a_candidate_that_answers_without_knowing_does_not_even_beat_one_that_never_answers(good: Pipeline, kind: Trivial) -> None:
    base, trivial = (measured(each, trivial_pipeline(good, each)) for each in ("always_abstain", kind))
    decision = decided(base, trivial)
    assert decision.verdict == "REJECT"
    assert next(rule for rule in decision.rules if rule.metric == "false_answer_rate").state == "failed"


def test_a_truly_better_candidate_is_promoted(good: Pipeline, make_pipeline: MakePipeline) -> None:
    """The base knows two thirds of the documents."""
    base = measured(
        "weak", make_pipeline({town: PAGES[town] for town in list(PAGES)[:20]}, retrieval=Retrieval(top_k=2, min_confidence=0.2))
    )
    better = measured("good", good)
    decision = decided(base, better)
    assert decision.verdict == "PROMOTE", decision.reasons
    assert correct(better) - correct(base) == pytest.approx(20 / 90, abs=0.05)


def test_a_candidate_without_a_third_of_the_documents_is_rejected_with_the_right_label(good: Pipeline, make_pipeline: MakePipeline) -> None:
    base = measured("good", good)
    broken = measured(
        "broken", make_pipeline({town: PAGES[town] for town in list(PAGES)[:20]}, retrieval=Retrieval(top_k=2, min_confidence=0.2))
    )
    decision = decided(base, broken)
    assert decision.verdict == "REJECT", decision.reasons
    assert labelled(broken)["corpus_gap"] == 20
    assert len(decision.broken) >= 18
    assert {row.label for row in broken.rows if row.id in decision.broken} == {"corpus_gap"}


def test_a_candidate_that_is_too_timid_is_rejected_for_its_coverage(good: Pipeline, make_pipeline: MakePipeline) -> None:
    base = measured("good", good)
    timid = measured("timid", make_pipeline(PAGES, retrieval=Retrieval(top_k=3, min_confidence=1.0)))
    decision = decided(base, timid)
    assert decision.verdict == "REJECT"
    coverage = next(rule for rule in decision.rules if rule.metric == "coverage")
    assert coverage.state == "failed"
    assert labelled(timid)["false_abstain"] > 30


def test_the_same_candidate_twice_is_nothing_to_promote(good: Pipeline) -> None:
    decision = decided(measured("good", good), measured("again", good))
    assert decision.verdict == "INVALID"
    assert decision.reasons[0].startswith("release: the candidate is the base")


def test_equal_candidates_are_promoted_in_fewer_than_5_of_100_repeats(good: Pipeline) -> None:
    """Each is right at a random two thirds of the questions, with whole towns easy or hard: the questions of one hang together."""
    random = np.random.default_rng(2026)
    rows = measured("good", good).rows
    clusters = sorted({row.cluster for row in rows})
    policy = Policy(draws=1000, guardrails={"coverage": 1.0, "false_answer_rate": 1.0}, max_new_failures=1000)
    promoted = 0
    for _ in range(100):
        pair = []
        for name, top_k in (("one", 1), ("other", 2)):
            easy = dict(zip(clusters, random.random(len(clusters)) < 0.6, strict=True))
            drawn = [
                replace(row, scores={**row.scores, "correct": float(random.random() < (0.95 if easy[row.cluster] else 0.2))})
                for row in rows
            ]
            release = good.lineage.release
            release = release.model_copy(update={"retrieval": release.retrieval.model_copy(update={"top_k": top_k})})
            pair.append(a_candidate(name, drawn, release=release))
        promoted += decided(pair[0], pair[1], policy).verdict == "PROMOTE"
    assert promoted < 5
