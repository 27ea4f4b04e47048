"""How well confidence tells questions that the documents answer from those that they do not."""

from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields

import numpy as np
import numpy.typing as npt

from benchmarks.answers.intervals import shown
from benchmarks.answers.sets import Asked, asked_of, names, pipeline_of
from rag_service.abstention import COEFFICIENTS, INTERCEPT, LOOKED_AT, Signs, signs
from rag_service.retrieval import Retrieved

FOREIGN_A_SET = 300
"""Questions of each other set that are asked of a set's documents."""
_BINS = 10
_Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Judged:
    documents: str
    kind: str
    """`answerable`, `foreign`, or `unanswerable`: written from a paragraph that does not hold the answer (SQuAD 2.0)."""
    cluster: str
    half: int
    signs: Signs
    confidence: float


def judged() -> list[Judged]:
    return [one for name in names() for one in _of(name)]


def _of(documents: str) -> Iterator[Judged]:
    pipeline = pipeline_of(documents)
    retriever = pipeline.retriever

    def judge(kind: str, one: Asked, cluster: str) -> Judged:
        text = one.question.question
        found: Retrieved = retriever.find(text, pipeline.embedder.embed_query(text), LOOKED_AT)
        seen = signs(found.hits, found.unknown, unrelated=retriever.unrelated)
        return Judged(documents, kind, cluster, one.half, seen, found.confidence)

    for one in asked_of(documents):
        if one.answerable or one.question.answerable is False:
            yield judge("answerable" if one.answerable else "unanswerable", one, one.cluster)
    for other in names():
        if other != documents:
            foreign = [one for one in asked_of(other) if one.answerable]
            step = max(len(foreign) // FOREIGN_A_SET, 1)
            for one in foreign[::step][:FOREIGN_A_SET]:
                yield judge("foreign", one, f"{other}: {one.cluster}")


def report(found: Sequence[Judged], threshold: float) -> list[str]:
    lines = [f"At the default `min_confidence` of {threshold:g}, second halves:", ""]
    lines += [
        "| documents | answerable, lost | foreign, abstained | SQuAD unanswerable, abstained | area under ROC, foreign |",
        "|---|---|---|---|---|",
    ]
    for documents in (*names(), "all"):
        of = [one for one in found if one.half == 1 and documents in (one.documents, "all")]
        cells = [_share(of, kind, threshold) for kind in ("answerable", "foreign", "unanswerable")]
        lines.append(f"| {documents} | {' | '.join(cells)} | {_auc(of):.3f} |")
    lines += ["", "Reliability: answerable and foreign questions of the second halves, as many of each counted.", ""]
    lines += ["| confidence | questions | mean confidence | answerable |", "|---|---|---|---|"]
    lines += _reliability([one for one in found if one.half == 1 and one.kind != "unanswerable"])
    return lines


def _share(of: Sequence[Judged], kind: str, threshold: float) -> str:
    chosen = [one for one in of if one.kind == kind]
    if not chosen:
        return "–"
    return shown([float(one.confidence < threshold) for one in chosen], [one.cluster for one in chosen])


def _auc(of: Sequence[Judged]) -> float:
    """Probability that an answerable question has the higher confidence of a pair (Mann and Whitney)."""
    right = np.array([one.confidence for one in of if one.kind == "answerable"])
    wrong = np.sort([one.confidence for one in of if one.kind == "foreign"])
    below = np.searchsorted(wrong, right, "left") + np.searchsorted(wrong, right, "right")
    return float(below.mean() / 2 / len(wrong))


def _reliability(of: Sequence[Judged]) -> list[str]:
    confidence, right = np.array([one.confidence for one in of]), np.array([one.kind == "answerable" for one in of])
    weight = _balanced(right)
    lines, error = [], 0.0
    for number in range(_BINS):
        inside = (confidence >= number / _BINS) & ((confidence < (number + 1) / _BINS) | (number == _BINS - 1))
        if inside.any():
            mean, share = np.average(confidence[inside], weights=weight[inside]), np.average(right[inside], weights=weight[inside])
            error += abs(mean - share) * weight[inside].sum() / weight.sum()
            lines.append(f"| {number / _BINS:.1f}–{(number + 1) / _BINS:.1f} | {inside.sum()} | {mean:.3f} | {share:.3f} |")
    return [*lines, "", f"Expected calibration error: {error:.3f}."]


def _balanced(right: npt.NDArray[np.bool_]) -> _Floats:
    return np.where(right, 0.5 / right.sum(), 0.5 / (~right).sum()) * len(right)


def fit(found: Sequence[Judged]) -> None:
    """Logistic regression with a ridge, by Newton's method, on the first halves; each kind counts as much in each set."""
    of = [one for one in found if one.half == 0 and one.kind != "unanswerable"]
    table = np.array([[*astuple(one.signs), 1.0] for one in of])
    right = np.array([one.kind == "answerable" for one in of])
    weight = np.zeros(len(of))
    for documents in names():
        inside = np.array([one.documents == documents for one in of])
        weight[inside] = _balanced(right[inside]) / inside.sum()
    ridge = 1e-3 * np.eye(table.shape[1])
    ridge[-1, -1] = 0.0
    solved = np.array([*astuple(COEFFICIENTS), INTERCEPT])
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(table @ solved, -30, 30)))
        slope = table.T @ (weight * (chance - right)) + ridge @ solved
        curve = (table * (weight * chance * (1 - chance))[:, None]).T @ table + ridge
        solved = solved - np.linalg.solve(curve, slope)
    print(
        ", ".join(f"{field.name}={value:.2f}" for field, value in zip(fields(Signs), solved, strict=False)), f"intercept {solved[-1]:.2f}"
    )
    chance = 1 / (1 + np.exp(-(table @ solved)))
    for threshold in (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        lost = [f"{np.mean(chance[right & np.array([one.documents == d for one in of])] < threshold):.3f}" for d in names()]
        caught = [f"{np.mean(chance[~right & np.array([one.documents == d for one in of])] < threshold):.3f}" for d in names()]
        print(f"threshold {threshold}: lost {' '.join(lost)}, foreign abstained {' '.join(caught)}")
