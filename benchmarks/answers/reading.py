"""Whether the sentence that answers is quoted, how long replies are, and the weights that choose it."""

from dataclasses import astuple, fields

import numpy as np
import numpy.typing as npt

from benchmarks.answers.intervals import shown
from benchmarks.answers.sets import Asked, asked_of, pipeline_of, without_abstention
from rag_service.expected import expected
from rag_service.languages import LANGUAGES
from rag_service.question import Question
from rag_service.reading import WEIGHTS, Traits, held_by_headings, traits_of
from rag_service.record import Record
from rag_service.terms import terms

_SET = "squad2"  # the one whose answers are words of a sentence
_STEPS = 400
_Floats = npt.NDArray[np.float64]


def report() -> list[str]:
    """Rows of a Markdown table, end to end: abstentions count as misses."""
    pipeline = pipeline_of(_SET)
    asked = [one for one in asked_of(_SET) if one.answerable]
    records = [pipeline.ask(Question(one.question.question)) for one in asked]
    lines = ["| squad2, answerable | questions | answer is in the reply | tokens, median | abstained |", "|---|---|---|---|---|"]
    for label, halves in (("second half", (1,)), ("first half", (0,)), ("all", (0, 1))):
        chosen = [number for number, one in enumerate(asked) if one.half in halves]
        held = shown([float(_holds(records[n], asked[n])) for n in chosen], [asked[n].cluster for n in chosen])
        tokens = np.median([pipeline.embedder.tokenizer.count(answer) - 2 for n in chosen if (answer := records[n].answer) is not None])
        abstained = np.mean([records[n].answer is None for n in chosen])
        lines.append(f"| {label} | {len(chosen)} | {held} | {tokens:.0f} | {abstained:.1%} |")
    return lines


def _holds(record: Record, asked: Asked) -> bool:
    answer = (record.answer or "").casefold()
    return any(wanted.casefold() in answer for wanted in asked.question.answers)


def fit() -> None:
    """Maximum likelihood of the sentences that hold the answer, by a softmax over all sentences of the passages; then what margin does."""
    pipeline = without_abstention(pipeline_of(_SET))
    questions = [one for one in asked_of(_SET) if one.answerable and one.half == 0]
    tables = [table for one in questions if (table := _table(pipeline.search(Question(one.question.question)).hits, one)) is not None]
    weights, moment, square = np.array(astuple(WEIGHTS)), np.zeros(len(fields(Traits))), np.zeros(len(fields(Traits)))
    for step in range(1, _STEPS + 1):  # Adam (Kingma and Ba 2015, arXiv 1412.6980)
        slope = sum((_slope(traits, right, weights) for traits, right, _ in tables), np.zeros(len(weights))) / len(tables)
        moment, square = 0.9 * moment + 0.1 * slope, 0.99 * square + 0.01 * slope**2
        weights = weights - 0.05 * (moment / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
    print(", ".join(f"{field.name}={weight:.2f}" for field, weight in zip(fields(Traits), weights, strict=True)))
    for margin in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 2.0):
        held, length = zip(*(_replied(traits @ weights, right, sizes, margin) for traits, right, sizes in tables), strict=True)
        print(f"margin {margin:.1f}: held {np.mean(held) * len(tables) / len(questions):.3f}, characters, median {np.median(length):.0f}")


def _table(hits: object, one: Asked) -> tuple[_Floats, npt.NDArray[np.bool_], _Floats] | None:
    """Traits of each sentence of the hits, which hold the answer, and their lengths; None where none does."""
    question, kind = one.question.question, expected(one.question.question)
    wanted = frozenset(terms(question, LANGUAGES))
    rows, right, sizes = [], [], []
    found = list(hits)  # type: ignore[call-overload]
    for hit in found:
        before = held_by_headings(wanted, hit.chunk)
        for sentence in hit.sentences:
            text = hit.chunk.text[sentence.start : sentence.end]
            rows.append(astuple(traits_of(question, text, sentence, before, kind=kind, behind=found[0].score - hit.score)))
            right.append(any(answer.casefold() in text.casefold() for answer in one.question.answers))
            sizes.append(len(text))
            before = sentence.coverage
    return (np.array(rows), np.array(right), np.array(sizes, np.float64)) if any(right) else None


def _slope(traits: _Floats, right: npt.NDArray[np.bool_], weights: _Floats) -> _Floats:
    logits = traits @ weights
    chance = np.exp(logits - logits.max())
    chance /= chance.sum()
    wanted = chance * right / (chance * right).sum()
    return traits.T @ (chance - wanted)


def _replied(scores: _Floats, right: npt.NDArray[np.bool_], sizes: _Floats, margin: float) -> tuple[bool, float]:
    picked = [n for n in np.argsort(-scores, kind="stable")[:2] if scores[n] >= scores.max() - margin]
    return bool(right[picked].any()), float(sizes[picked].sum())
