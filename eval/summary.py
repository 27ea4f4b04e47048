"""Rows to scores. Pure, so that scores can be taken again from a stored report."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from eval.metrics.abstention import ABSTENTION, Decision
from eval.metrics.answers import ANSWERS, SQUAD, tokens
from eval.metrics.latency import PERCENTILES, percentile
from eval.metrics.retrieval import DEEPEST_CUT, POOL_SUCCESS, RETRIEVAL
from eval.metrics.scores import Score, mean, median
from eval.report import Counts, Row

Groups = Mapping[str, Mapping[str, Score]]


def summarise(rows: Sequence[Row], *, answers: bool) -> Groups:
    """Group → metric → score. Without answers, retrieval and its latency alone."""
    groups: dict[str, Mapping[str, Score]] = {"retrieval": _means(rows, RETRIEVAL, nothing="no question names what is relevant to it")}
    if answers:
        groups["answers"] = _answers(rows)
        groups["abstention"] = {name: measure(_decisions(rows)) for name, measure in ABSTENTION.items()}
    groups["latency"] = _latency(rows)
    return groups


def count(rows: Sequence[Row]) -> Counts:
    status = Counter(row.status for row in rows)
    return Counts(
        questions=len(rows),
        answerable=sum(row.answerable is True for row in rows),
        unanswerable=sum(row.answerable is False for row in rows),
        with_gold=sum(row.answerable is not False and bool(row.relevant or row.missing_gold) for row in rows),
        gold_not_in_index=sum(row.missing_gold > 0 for row in rows),
        answered=status["answered"],
        abstained=status["abstained"],
        not_asked=status["not_asked"],
        errors=sum(bool(row.failures) for row in rows),
    )


def warn(rows: Sequence[Row], *, documents: int) -> list[str]:
    """What a reader should know before trusting the scores. `documents` is how many the index holds."""
    warnings: list[str] = []
    found = [row.scores[POOL_SUCCESS] for row in rows if isinstance(row.scores.get(POOL_SUCCESS), float)]
    if found and not any(found):
        warnings.append(
            f"no relevant document was retrieved for any of {len(found):,} questions: are the ids of the question set those of this index?"
        )
    shallow = sum(len(row.retrieved) < min(DEEPEST_CUT, documents) for row in rows if isinstance(row.scores.get(POOL_SUCCESS), float))
    if shallow:
        warnings.append(
            f"for {shallow:,} questions the retrieved chunks belong to fewer than {DEEPEST_CUT} documents: a larger --depth may score more"
        )
    return warnings


def abstain_reasons(rows: Sequence[Row]) -> dict[str, int]:
    return _counted(row.abstain_reason for row in rows if row.abstain_reason)


def error_codes(rows: Sequence[Row]) -> dict[str, int]:
    """Questions by the code of the first failure."""
    return _counted(row.failures[0].code for row in rows if row.failures)


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _means(rows: Sequence[Row], names: Iterable[str], *, nothing: str) -> dict[str, Score]:
    return {name: mean([row.scores[name] for row in rows if name in row.scores], nothing=nothing) for name in names}


def _answers(rows: Sequence[Row]) -> dict[str, Score]:
    scores = _means(rows, ANSWERS, nothing="no answerable question has a reference answer")
    if any(row.answerable is False for row in rows):
        scores |= _means(rows, SQUAD, nothing="no question has a reference answer or is known to be unanswerable")
    lengths = [float(len(tokens(row.answer))) for row in rows if row.answer is not None]
    return scores | {"answer_tokens": median(lengths, nothing="no question was answered")}


def _decisions(rows: Sequence[Row]) -> list[Decision]:
    return [
        Decision(answerable=row.answerable, made=row.status) for row in rows if row.answerable is not None and row.status != "not_asked"
    ]


def _latency(rows: Sequence[Row]) -> dict[str, Score]:
    durations_ms = [row.total_ms for row in rows if row.total_ms is not None]
    failed = sum(row.total_ms is None for row in rows)
    return {name: percentile(durations_ms, percent, n_error=failed) for name, percent in PERCENTILES.items()}
