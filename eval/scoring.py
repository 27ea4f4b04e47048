"""The verb: one question, what is known of it, and what came of it → its scores. Pure: samples can be scored again at any time, and a
metric that changes asks nothing anew.

Every metric of `catalogue` that is known of one question is here; those of a set alone are in `summary`.
"""

from collections.abc import Mapping
from typing import Final, Literal

from eval.metrics import grounding, spans
from eval.metrics.abstention import DECISIONS, Decision
from eval.metrics.answers import ANSWERS, SQUAD, AnswerMetric, containment, exact_match, fact_recall, token_f1, tokens, usable
from eval.metrics.numbers import numbers_match
from eval.metrics.passages import IN_HITS, IN_POOL, IN_PROMPT, PassageMetric, all_found, evidence, found_ranks
from eval.metrics.retrieval import RETRIEVAL, by_best_rank
from eval.metrics.spans import SPANS, SPANS_AT, overlap
from eval.metrics.wording import WORDING
from eval.questions import EvalQuestion
from eval.results import Gold
from eval.sample import Ranked, Sample
from eval.scores import Failed, Outcome, Undefined

MISSING_GOLD = Undefined("gold not in index")
NO_TOKEN = Undefined("no reference answer has a token to compare")
NO_PROMPT = Undefined("the service abstained before there was a prompt")
NOT_COUNTED = Undefined("the generator counts no tokens")

MOST_ANSWER_TOKENS: Final = 200
"""Of an answer that counts as right. Who recites every passage answers nothing, however surely the answer is among them: of answers that
do, to the questions over our own documentation, 1 % count as right. The longest that the extractive generator gives there has 105 tokens.
"""

_REFERENCES: Mapping[str, AnswerMetric] = {**ANSWERS, **WORDING, "numbers_match": numbers_match, **SQUAD}
_KILT: Mapping[str, AnswerMetric] = {"kilt_em": exact_match, "kilt_f1": token_f1}

_Scores = dict[str, Outcome]


def score(question: EvalQuestion, gold: Gold, sample: Sample, *, texts: Mapping[str, str], answers: bool) -> Mapping[str, Outcome]:
    """Every metric that applies, by its name. `texts` holds those of the chunks that stood in the prompt, by their ids. Without
    `answers`, what the pool says and no more.
    """
    scores = _pool_scores(question, gold, sample)
    if not answers or sample.status == "not_asked":
        return scores
    asked = {
        **_shown_scores(question, gold, sample, texts),
        **_answer_scores(question, gold, sample),
        **_grounding_scores(question, gold, sample),
        **_decision_scores(question, gold, sample),
        **_usage_scores(sample),
    }
    if sample.status == "error":
        failed = Failed(_code(sample))
        asked = {name: MISSING_GOLD if outcome == MISSING_GOLD else failed for name, outcome in asked.items()}
    return scores | asked


def correct(question: EvalQuestion, sample: Sample) -> Outcome | None:
    """1 if right, 0 if wrong: the headline. An unanswerable question: abstained. Any other: the answer has at most `MOST_ANSWER_TOKENS`
    tokens, and holds every fact of the question or, where it lists none, a reference answer. None where nothing tells.
    """
    if sample.status == "not_asked" or (question.answerable is not False and not (question.answers or question.facts)):
        return None
    if sample.status == "error":
        return Failed(_code(sample))
    if question.answerable is False:  # decided by status: an answer of nothing but punctuation is an answer all the same
        return float(sample.status == "abstained")
    answer = sample.plain or ""
    held = fact_recall(answer, question.facts) if question.facts else containment(answer, question.answers)
    return held if isinstance(held, Undefined) else float(held == 1.0 and len(tokens(answer)) <= MOST_ANSWER_TOKENS)


def _pool_scores(question: EvalQuestion, gold: Gold, sample: Sample) -> _Scores:
    """Of questions with gold. An unanswerable one has none, whatever paragraph it was written from: nothing there answers it."""
    if question.answerable is False:
        return {}
    scores: _Scores = {}
    undone = _undone(gold) or next((Failed(each.code) for each in sample.failures if each.during == "search"), None)
    if gold.missing or gold.relevant:
        ranked = by_best_rank(passage.document_id for passage in sample.pool)
        scores |= {name: undone or measure(ranked, gold.relevant) for name, measure in RETRIEVAL.items()}
    if gold.groups:
        scores |= _found_scores(IN_POOL, sample.pool, gold, undone)
        scores |= _span_scores(f"@{SPANS_AT}", sample.pool[:SPANS_AT], gold, undone)
    return scores


def _shown_scores(question: EvalQuestion, gold: Gold, sample: Sample, texts: Mapping[str, str]) -> _Scores:
    """Of what the release ranked, and of what it decided on."""
    scores: _Scores = {"redundancy": spans.redundancy(sample.in_prompt) if sample.shown else NO_PROMPT}
    if question.answerable is False:
        return scores
    if gold.groups:
        scores |= _found_scores(IN_HITS, sample.hits, gold, _undone(gold))
        scores |= _found_scores(IN_PROMPT, evidence(sample), gold, _undone(gold))
        scores |= _span_scores("@prompt", evidence(sample), gold, _undone(gold))
    if question.answers:
        scores["answer_in_prompt"] = _answer_in_prompt(question, sample, texts)
    return scores


def _undone(gold: Gold) -> Outcome | None:
    return MISSING_GOLD if gold.missing else None


def _found_scores(metrics: Mapping[str, PassageMetric], passages: tuple[Ranked, ...], gold: Gold, undone: Outcome | None) -> _Scores:
    ranks = found_ranks(passages, gold)
    return {name: undone or measure(ranks) for name, measure in metrics.items()}


def _span_scores(point: str, passages: tuple[Ranked, ...], gold: Gold, undone: Outcome | None) -> _Scores:
    sizes = overlap(passages, gold.groups)
    return {name + point: undone or measure(sizes) for name, measure in SPANS.items()}


def _answer_in_prompt(question: EvalQuestion, sample: Sample, texts: Mapping[str, str]) -> Outcome:
    if not sample.shown:
        return NO_PROMPT
    if not usable(question.answers):
        return NO_TOKEN
    known = [texts[passage.chunk_id] for passage in sample.in_prompt if passage.chunk_id in texts]
    if any(containment(text, question.answers) == 1.0 for text in known):
        return 1.0
    return 0.0 if len(known) == len(sample.in_prompt) else Undefined("the text of a passage of the prompt is not known")


def _answer_scores(question: EvalQuestion, gold: Gold, sample: Sample) -> _Scores:
    """Not answering is the empty text."""
    answer = sample.plain or ""
    scores: _Scores = {"answer_tokens": grounding.NO_ANSWER if sample.status == "abstained" else float(len(tokens(answer)))}
    if (right := correct(question, sample)) is not None:
        scores["correct"] = right
    if question.answerable is False:
        return scores | dict.fromkeys(SQUAD, float(sample.status == "abstained"))
    if question.answers:
        held = all_found(evidence(sample), gold)
        metrics = _REFERENCES if held is None else {**_REFERENCES, **_KILT}
        credited = {name: held or name not in _KILT for name in metrics}
        comparable = bool(usable(question.answers))
        for name, measure in metrics.items():
            scores[name] = NO_TOKEN if not comparable else measure(answer, question.answers) if credited[name] else 0.0
    if question.facts:
        scores["facts"] = fact_recall(answer, question.facts)
    return scores


def _grounding_scores(question: EvalQuestion, gold: Gold, sample: Sample) -> _Scores:
    dropped = sum(notice.code == "citation_dropped" for notice in sample.notices)
    scores: _Scores = {
        "citation_validity": grounding.citation_validity(sample.cited, dropped),
        "citation_coverage": grounding.citation_coverage(sample.sentences),
        "supported": grounding.supported(sample.sentences),
        "unsupported_answers": grounding.unsupported(sample.sentences),
        "verbatim": grounding.verbatim(sample.cited),
    }
    if question.answerable is not False and (gold.groups or gold.relevant or gold.missing):
        cited = grounding.cited_passages(sample.cited, sample.hits)
        scores["gold_citation_precision"] = _undone(gold) or grounding.gold_citation_precision(cited, gold)
        scores["gold_citation_recall"] = _undone(gold) or grounding.gold_citation_recall(cited, gold)
    return dict.fromkeys(scores, grounding.NO_ANSWER) if sample.status == "abstained" else scores


def _decision_scores(question: EvalQuestion, gold: Gold, sample: Sample) -> _Scores:
    right = correct(question, sample)
    made: Mapping[str, Literal["answered", "abstained", "error"]] = {"answered": "answered", "abstained": "abstained"}
    decision = Decision(
        made=made.get(sample.status, "error"),
        answerable=question.answerable,
        right=None if right is None or isinstance(right, Undefined) else right == 1.0,
        shown=False if question.answerable is False else all_found(evidence(sample), gold),
        code=_code(sample),
    )
    decided = {name: measure(decision) for name, measure in DECISIONS.items()}
    return {name: outcome for name, outcome in decided.items() if outcome is not None}


def _usage_scores(sample: Sample) -> _Scores:
    if not sample.shown:
        return dict.fromkeys(("context_truncated", "prompt_tokens", "completion_tokens"), NO_PROMPT)
    counted = {"prompt_tokens": sample.prompt_tokens, "completion_tokens": sample.completion_tokens}
    return {
        "context_truncated": float(any(notice.code == "context_truncated" for notice in sample.notices)),
        **{name: NOT_COUNTED if count is None else float(count) for name, count in counted.items()},
    }


def _code(sample: Sample) -> str:
    """Of what failed while the question was asked; empty where nothing did."""
    failures = sorted(sample.failures, key=lambda each: each.during != "ask")
    return failures[0].code if failures else ""
