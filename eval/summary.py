"""Rows to scores. Pure, so that scores can be taken again from a stored run."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, get_args

from eval.counting import counted
from eval.metrics import curves
from eval.metrics.abstention import ABSTENTION, NONE_UNANSWERABLE, Decision
from eval.metrics.catalogue import GROUPS, METRICS, NOTHING, Metric
from eval.metrics.curves import Bin, Judgement, Point
from eval.metrics.operations import percentiles
from eval.metrics.retrieval import DEEPEST_CUT, POOL_SUCCESS, by_best_rank
from eval.results import Counts, Label, Row
from eval.scores import Outcome, Score, Value, mean, median

Groups = Mapping[str, Mapping[str, Score]]

_ALWAYS: Final = frozenset({"documents", "references", "right answers", "answers", "answerable", "unanswerable"})
"""What metrics need that are listed even where no question has it, with the reason why there is no value."""


def summarise(rows: Sequence[Row], *, answers: bool) -> Groups:
    """Group → metric → score, in the order of `catalogue`. A group that nothing was measured of is left out. Without answers, those of
    retrieval.
    """
    of_set = _of_set(rows) if answers else {}
    groups: dict[str, dict[str, Score]] = {group: {} for group in GROUPS}
    for name, metric in METRICS.items():
        if name in of_set:
            groups[metric.group][name] = of_set[name]
        elif metric.per_question and (found := _of_questions(rows, metric, answers=answers)) is not None:
            groups[metric.group][name] = found
    return {group: scores for group, scores in groups.items() if scores}


def count(rows: Sequence[Row]) -> Counts:
    status = Counter(row.sample.status for row in rows)
    answerable = Counter(row.question.answerable for row in rows)
    return Counts(
        questions=len(rows),
        answerable=answerable[True],
        unanswerable=answerable[False],
        with_gold=sum(row.question.answerable is not False and bool(row.gold.relevant or row.gold.missing) for row in rows),
        gold_not_in_index=sum(row.gold.missing > 0 for row in rows),
        answered=status["answered"],
        abstained=status["abstained"],
        not_asked=status["not_asked"],
        errors=sum(bool(row.sample.failures) for row in rows),
    )


def warn(rows: Sequence[Row], *, documents: int) -> list[str]:
    """What a reader should know before trusting the scores. `documents` is how many the index holds; the rows have their whole pools."""
    warnings: list[str] = []
    searched = [row for row in rows if isinstance(row.scores.get(POOL_SUCCESS), float)]
    if searched and not any(row.scores[POOL_SUCCESS] for row in searched):
        warnings.append(
            f"no relevant document was retrieved for any of {counted(len(searched), 'question')}: "
            "are the ids of the question set those of this index?"
        )
    least = min(DEEPEST_CUT, documents)
    shallow = sum(len(by_best_rank(passage.document_id for passage in row.sample.pool)) < least for row in searched)
    if shallow:
        warnings.append(
            f"for {counted(shallow, 'question')} the retrieved chunks belong to fewer than {least} documents: "
            "a larger --depth may score more"
        )
    return warnings


def abstain_reasons(rows: Sequence[Row]) -> dict[str, int]:
    return _by_name(row.sample.abstain_reason for row in rows if row.sample.abstain_reason)


def error_codes(rows: Sequence[Row]) -> dict[str, int]:
    """Questions by the code of the first failure."""
    return _by_name(row.sample.failures[0].code for row in rows if row.sample.failures)


def labels(rows: Sequence[Row]) -> dict[str, int]:
    """Label → questions, in the order in which labels are tried; without those that no question has."""
    found = Counter(row.label for row in rows)
    return {label: found[label] for label in get_args(Label) if found[label]}


def risk_coverage(rows: Sequence[Row]) -> tuple[Point, ...]:
    """The curve of the answers that can be judged, to be drawn; empty where there is none."""
    return curves.risk_coverage(_judgements(rows))


def reliability(rows: Sequence[Row]) -> tuple[Bin, ...]:
    """How often the documents held an answer, by the confidence that they do. Empty unless both kinds of question were asked."""
    known = [row for row in rows if row.question.answerable is not None and row.sample.confidence is not None]
    if len({row.question.answerable for row in known}) < 2:
        return ()
    return curves.reliability([row.sample.confidence or 0.0 for row in known], [row.question.answerable is True for row in known])


def _by_name(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _of_questions(rows: Sequence[Row], metric: Metric, *, answers: bool) -> Score | None:
    outcomes = [row.scores[metric.name] for row in rows if metric.name in row.scores]
    if not outcomes and (metric.needs not in _ALWAYS or not (answers or metric.group == "retrieval")):
        return None
    return taken(metric, outcomes)


def taken(metric: Metric, outcomes: Sequence[Outcome]) -> Score:
    """One score of a metric that is known of each question. What is better the lower it is leaves failures out: see `mean`."""
    nothing = NOTHING[metric.needs]
    if metric.taken == "median":
        return median(outcomes, nothing=nothing)
    return mean(outcomes, nothing=nothing, failures_count=metric.higher_is_better)


def _of_set(rows: Sequence[Row]) -> dict[str, Score]:
    return {
        **_squad_halves(rows),
        **{name: measure(_decisions(rows)) for name, measure in ABSTENTION.items()},
        **_of_confidence(rows),
        **_times(rows),
    }


def _squad_halves(rows: Sequence[Row]) -> dict[str, Score]:
    """Only of sets that hold unanswerable questions, as the SQuAD 2.0 script gives them."""
    if not any(row.question.answerable is False for row in rows):
        return {}
    halves = {}
    for half, answerable in (("has", True), ("no", False)):
        of_half = [row for row in rows if (row.question.answerable is not False) == answerable]
        for measure in ("em", "f1"):
            outcomes = [row.scores[f"squad_{measure}"] for row in of_half if f"squad_{measure}" in row.scores]
            halves[f"squad_{half}_{measure}"] = mean(outcomes, nothing=NOTHING["references or unanswerable"])
    return halves


def _decisions(rows: Sequence[Row]) -> list[Decision]:
    return [Decision(made=row.sample.status, answerable=row.question.answerable) for row in rows if row.sample.status != "not_asked"]


def _judgements(rows: Sequence[Row]) -> list[Judgement]:
    """Of what was answered; where the service abstained there is no answer that could be wrong."""
    return [
        Judgement(row.sample.confidence, 1.0 - right)
        for row in rows
        if row.sample.status == "answered" and row.sample.confidence is not None and isinstance(right := row.scores.get("correct"), float)
    ]


def _of_confidence(rows: Sequence[Row]) -> dict[str, Score]:
    judged = _judgements(rows)
    if not any(row.sample.confidence is not None for row in rows):
        return {}
    failed = sum(row.sample.status == "error" and "correct" in row.scores for row in rows)
    answered: Mapping[str, Callable[[Sequence[Judgement]], Value]] = {
        "aurc": curves.aurc,
        "e_aurc": curves.excess_aurc,
        "accuracy@80": lambda each: curves.accuracy_at(each, 0.8),
        "accuracy@90": lambda each: curves.accuracy_at(each, 0.9),
    }
    scores = {name: Score(measure(judged), len(judged) + failed, len(judged), n_error=failed) for name, measure in answered.items()}
    bins = reliability(rows)
    n = sum(each.count for each in bins)
    return scores | {"ece": Score(curves.ece(bins), n, n) if bins else Score(NONE_UNANSWERABLE, 0, 0)}


def _times(rows: Sequence[Row]) -> dict[str, Score]:
    """Of the questions that were timed. Those that failed count as such where all others were."""
    timed = [row.sample.took_ms for row in rows if row.sample.took_ms]
    failed = sum(row.sample.status == "error" for row in rows)
    durations_ms: dict[str, list[float]] = {}
    for took_ms in timed:
        for stage, duration_ms in took_ms.items():
            durations_ms.setdefault(stage, []).append(duration_ms)
    return percentiles(durations_ms, n_error=failed if timed and len(timed) + failed == len(rows) else 0)
