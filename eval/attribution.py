"""The verb: one question with all that came of it → one label, with the evidence in words.

The first label that fits is taken. What failed before anything was judged is an `infra_error`; an unanswerable question is
`right_abstain` or `should_have_abstained`; a right answer is `lucky` where the gold was not in the prompt, `right_bad_citation` or
`right`. What is wrong is blamed on the first part of the service at which the gold was lost, whether the service then abstained or made
something up (the evidence says which):

    corpus_gap          it is in no document of the index
    chunk_split         no chunk covers enough of it
    retrieval_miss      it is not among the passages that are considered for an answer
    rerank_drop         it is, and not among those that were taken
    context_truncated   it was taken, and did not fit into the prompt
    false_abstain       it was in the prompt, and the service abstained
    distracted          it was in the prompt; with the gold alone the answer is right
    reader_miss         it was in the prompt; with the gold alone the answer is wrong, too, or nobody asked

Where no gold is known, a reference answer in the prompt stands for it. If none is there, nobody can say where it was lost:
`right_abstain_on_miss` where the service abstained, `hallucinated` where it answered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from eval.counting import counted
from eval.metrics.passages import all_found, evidence, found_ranks
from eval.results import Gold, Label, Row
from eval.sample import Ranked, Sample
from eval.scoring import correct

RIGHT: Final[frozenset[Label]] = frozenset({"right", "right_bad_citation", "lucky", "right_abstain"})
"""Those of questions that are `correct`."""

_SHOWN_CHARS: Final = 80
"""Of an answer, in evidence."""

Judgement = tuple[Label, str]


@dataclass(frozen=True, slots=True)
class GoldState:
    """What is to be known of the index for one question."""

    indexed: bool
    """Its gold is in the documents of the index."""
    covered: bool
    """Of every group of its gold, some chunk covers enough of a place (see `passages.covers`). True where only documents are known."""


def attribute(row: Row, state: GoldState, *, considered: int | None = None) -> Judgement:
    """Of a row with its scores. `considered` are the passages of the pool from which the release makes its hits: as many as its reranker
    reads, or `top_k` without one; None: the whole pool, of whatever depth.
    """
    sample, right = row.sample, row.scores.get("correct")
    if sample.status == "error" or (sample.status == "not_asked" and sample.failures):
        return "infra_error", "; ".join(f"{each.during} failed with {each.code}: {each.message}" for each in sample.failures)
    if row.question.answerable is False:
        return _unanswerable(sample)
    if right == 1.0:
        return _right(row)
    if sample.status == "answered" and right != 0.0:
        return "not_judged", "the question has no reference answer that could be compared"
    if not (row.gold.relevant or row.gold.groups or row.gold.missing):
        return _without_gold(row)
    return _lost(row, state, considered) or _in_prompt(row)


def _unanswerable(sample: Sample) -> Judgement:
    if sample.status == "not_asked":
        return "not_judged", "no answer was asked for"
    if sample.status == "abstained":
        return "right_abstain", f"unanswerable, and the service abstained{_why_abstained(sample)}"
    return "should_have_abstained", f"unanswerable, and answered{_confidence(sample)}: {_quoted(sample)}"


def _right(row: Row) -> Judgement:
    found = all_found(evidence(row.sample), row.gold)
    weak = row.scores.get("answer_in_prompt")
    if found is False:
        elsewhere = "; a reference stands in another passage: the gold may be incomplete" if weak == 1.0 else ""
        return "lucky", f"right, without {_missing(row.gold, evidence(row.sample))} in the prompt{elsewhere}{_parametric(row)}"
    if found is None and weak == 0.0:
        return "lucky", f"right, but no passage of the prompt holds a reference answer{_parametric(row)}"
    if problem := _citation_problem(row):
        return "right_bad_citation", f"right, but {problem}"
    return "right", "right, with the gold in the prompt" if found else "right; no gold is known"


def _citation_problem(row: Row) -> str:
    validity = row.scores.get("citation_validity")
    if not row.sample.cited:
        return "it cites no passage"
    if isinstance(validity, float) and validity < 1.0:
        return "a citation names no passage"
    return "it cites no passage with gold" if row.scores.get("gold_citation_recall") == 0.0 else ""


def _parametric(row: Row) -> str:
    if row.closed_book is None:
        return ""
    known = correct(row.question, row.closed_book) == 1.0
    return "; the model knows it without documents" if known else "; without documents the model does not know it"


def _lost(row: Row, state: GoldState, considered: int | None) -> Judgement | None:
    """Where the gold was lost before it could be read; None where it was not."""
    sample, did = row.sample, _did(row.sample)
    if not state.indexed:
        return "corpus_gap", f"{counted(row.gold.missing, 'gold place')} in no document of the index{did}"
    if not state.covered:
        return "chunk_split", f"no chunk covers half of {_named(row.gold, _places(row.gold))}{did}"
    pool, hits = found_ranks(sample.pool, row.gold), found_ranks(sample.hits, row.gold)
    shown = found_ranks(evidence(sample), row.gold)
    lost = [number for number, rank in enumerate(shown) if rank is None]
    if sample.status == "not_asked":
        missed = [number for number in lost if not _is_considered(pool[number], considered)]
        return _retrieval_miss(row, missed, pool, considered) if missed else ("not_judged", "no answer was asked for")
    missed = [number for number in lost if hits[number] is None and not _is_considered(pool[number], considered)]
    dropped = [number for number in lost if hits[number] is None and number not in missed]
    if missed:
        return _retrieval_miss(row, missed, pool, considered)
    if dropped:
        group = dropped[0]
        return "rerank_drop", f"{_named(row.gold, [group])}: rank {pool[group]} of the pool, and not among the {len(sample.hits)} hits{did}"
    if lost:
        group = lost[0]
        where = f"rank {hits[group]} of the hits, of which {sample.shown} stood in the prompt"
        return "context_truncated", f"{_named(row.gold, [group])}: {where}{did}"
    return None


def _retrieval_miss(row: Row, groups: Sequence[int], pool: Sequence[int | None], considered: int | None) -> Judgement:
    sample, rank, did = row.sample, pool[groups[0]], _did(row.sample)
    named = _named(row.gold, groups)
    if rank is not None:
        return "retrieval_miss", f"{named}: rank {rank} of the pool, of which {considered} are considered{did}"
    if sample.pool:
        return "retrieval_miss", f"{named}: not among the {len(sample.pool)} passages of the pool{did}"
    if failed := [each for each in sample.failures if each.during == "search"]:
        return "infra_error", f"{named}: not among the hits, and the search for the pool failed with {failed[0].code}: {failed[0].message}"
    return "retrieval_miss", f"{named}: not among the {len(sample.hits)} hits; the pool is empty, or not known{did}"


def _is_considered(rank: int | None, considered: int | None) -> bool:
    return rank is not None and (considered is None or rank <= considered)


def _in_prompt(row: Row) -> Judgement:
    if row.sample.status == "abstained":
        return "false_abstain", f"the service abstained{_why_abstained(row.sample)}, with the gold among its passages"
    return _misread(row)


def _misread(row: Row) -> Judgement:
    said = f"answered wrongly: {_quoted(row.sample)}"
    if row.oracle is None:
        return "reader_miss", f"{said}; no oracle was run, so it is not known whether other passages distracted"
    if row.oracle.status == "error":
        return "reader_miss", f"{said}; the oracle failed"
    if correct(row.question, row.oracle) == 1.0:
        return "distracted", f"{said}; right with the gold alone: {_quoted(row.oracle)}"
    alone = "abstained" if row.oracle.status == "abstained" else f"wrong, too: {_quoted(row.oracle)}"
    return "reader_miss", f"{said}; with the gold alone {alone}"


def _without_gold(row: Row) -> Judgement:
    sample, weak = row.sample, row.scores.get("answer_in_prompt")
    if sample.status == "not_asked" or (sample.status == "abstained" and not row.question.answerable and "correct" not in row.scores):
        return "not_judged", "nothing is known of a right answer" if sample.status == "abstained" else "no answer was asked for"
    if weak == 0.0:
        label: Label = "right_abstain_on_miss" if sample.status == "abstained" else "hallucinated"
        return label, f"no passage of the prompt holds a reference answer{_did(sample)}"
    if sample.status == "abstained":
        where = "with a reference answer in the prompt" if weak == 1.0 else "and no gold is known"
        return "false_abstain", f"answerable; the service abstained{_why_abstained(sample)}, {where}"
    label, why = _misread(row)
    return label, why if weak == 1.0 else f"{why}; no gold is known, so it is not known whether it was shown"


def _did(sample: Sample) -> str:
    if sample.status == "abstained":
        return f"; the service abstained{_why_abstained(sample)}"
    return f"; it answered all the same: {_quoted(sample)}" if sample.status == "answered" else ""


def _why_abstained(sample: Sample) -> str:
    return f" ({sample.abstain_reason}{_confidence(sample)})" if sample.abstain_reason else ""


def _confidence(sample: Sample) -> str:
    return "" if sample.confidence is None else f", confidence {sample.confidence:.2f}"


def _quoted(sample: Sample) -> str:
    text = " ".join((sample.plain or "").split())
    return f"“{text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + '…'}”"


def _missing(gold: Gold, passages: Sequence[Ranked]) -> str:
    if gold.missing:
        return f"gold ({counted(gold.missing, 'place')} in no document of the index)"
    return _named(gold, [number for number, rank in enumerate(found_ranks(passages, gold)) if rank is None])


def _places(gold: Gold) -> Sequence[int]:
    return range(len(gold.groups))


def _named(gold: Gold, groups: Sequence[int]) -> str:
    """The first place of the first group, and how many more there are."""
    if not gold.groups:
        first, *more = [document for document, grade in gold.relevant.items() if grade > 0]
        return first + (f" or {counted(len(more), 'other document')}" if more else "")
    places = gold.groups[groups[0]]
    others = f" or {counted(len(places) - 1, 'other place')}" if len(places) > 1 else ""
    more_groups = f" and {counted(len(groups) - 1, 'more group')}" if len(groups) > 1 else ""
    return f"{places[0].document} [{places[0].start}, {places[0].end}){others}{more_groups}"
