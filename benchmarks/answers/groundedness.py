"""Balanced accuracy of `rag_service.support` on BEGIN (N. Dziri et al., 2022): a response is the answer, its source the passage it cites.

A response is judged by its least supported sentence. Rows are split in two by a hash of their source. Weights and thresholds are chosen
on the one half, those of the baselines too; what counts was measured on the other. Uses ../shared/data and says so where it is absent.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import log

import numpy as np
import numpy.typing as npt

from benchmarks.inputs import DATA, default_settings, encoder_folder
from eval.statistics.clustered import percentiles
from eval.statistics.drawing import drawn_positions
from rag_service.embedders.onnx import OnnxEmbedder
from rag_service.facts import is_question
from rag_service.sentences import words
from rag_service.support import PARTLY_FROM, SUPPORTED_FROM, WITH_ENCODER, WITHOUT_ENCODER, Measured, Similar, judge, measure
from rag_service.types import Chunk, ChunkId, Citation, DocumentId, Passage, Positions

Numbers = npt.NDArray[np.float64]
Truths = npt.NDArray[np.bool_]

PENALTY = 5.0
"""Of the squared standardised weights. A cross-validation within the first half could not tell 1, 3, 5, 10 and 20 apart."""
STEPS = 3000
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Row:
    source: str
    response: str
    grounded: bool
    first_half: bool
    worded: tuple[Measured, ...]
    """Measured without the encoder, and with it."""
    encoded: tuple[Measured, ...]


def run() -> None:
    path = DATA / "groundedness" / "begin-dev.jsonl"
    if not path.is_file():
        print("skipped: there is no ../shared/data/groundedness")
        return
    rows = _rows([json.loads(line) for line in path.read_text("utf-8").splitlines()])
    first, second = [row for row in rows if row.first_half], [row for row in rows if not row.first_half]
    _print_weights(first)
    one, other = _verdicts(first, second), _verdicts(second, first, refit=True)
    _print_table("chosen on the first half, measured on the second", second, one)
    _print_table("the halves exchanged, with weights fitted again", first, other)
    both = {name: np.concatenate([one[name], other[name]]) for name in one}
    _print_table("both together, each half judged by what was chosen on the other", [*second, *first], both)
    _print_levels(second)


def fit(rows: Sequence[Row], model: Iterable[str], measured: Callable[[Row], Sequence[Measured]]) -> dict[str, float]:
    """Weights by name of signal, and `intercept`, by gradient ascent (Adam, D. P. Kingma & J. Ba, 2015).

    A response is grounded with the product of the probabilities of its sentences, and both classes weigh the same. At the end the intercept
    is moved so that the threshold that judges these rows best is `SUPPORTED_FROM`.
    """
    names = [name for name in model if name != "intercept"]
    units = [(index, each) for index, row in enumerate(rows) for each in measured(row) if each.claims and not each.verbatim]
    owner = np.array([index for index, _ in units])
    values = np.array([[getattr(each.signals, name) or 0.0 for name in names] for _, each in units])
    mean, spread = values.mean(axis=0), values.std(axis=0)
    design = np.column_stack([np.ones(len(values)), (values - mean) / spread])
    grounded = np.array([row.grounded for row in rows])
    balance = np.where(grounded, 0.5 / grounded.mean(), 0.5 / (1 - grounded.mean()))
    weights, momentum, square = (np.zeros(design.shape[1]) for _ in range(3))
    for step in range(1, STEPS + 1):
        logarithm = -np.logaddexp(0, -(design @ weights))
        product = np.exp(np.minimum(np.bincount(owner, logarithm, len(rows)), -1e-9))
        slope = np.where(grounded, 1.0, -product / (1 - product)) * balance
        gradient = design.T @ (slope[owner] * (1 - np.exp(logarithm))) - PENALTY * np.concatenate([[0], weights[1:]])
        momentum, square = 0.9 * momentum + 0.1 * gradient, 0.999 * square + 0.001 * gradient**2
        weights = weights + 0.02 * (momentum / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    plain = weights[1:] / spread
    found = {"intercept": float(weights[0] - plain @ mean)} | dict(zip(names, plain.tolist(), strict=True))
    scores = np.array([response_score(measured(row), found) for row in rows])
    threshold = _best_threshold(grounded, scores)
    found["intercept"] -= log(threshold / (1 - threshold)) - log(SUPPORTED_FROM / (1 - SUPPORTED_FROM))
    return {name: round(value, 3) for name, value in found.items()}


def response_score(measured: Sequence[Measured], model: Mapping[str, float] | None = None) -> float:
    """That of the least supported sentence. `Yes.` claims nothing and does not count; BEGIN calls no question grounded."""
    counted = [each for each in measured if each.claims or is_question(each.claim.text)]
    return min((judge(each, model).score for each in counted), default=0.0)


def _rows(raw: Sequence[Mapping[str, object]]) -> list[Row]:
    embedder = OnnxEmbedder.open(encoder_folder(default_settings()))
    rows: list[Row] = []
    spent_s = [0.0, 0.0]
    for each in raw:
        source, response = str(each["source"]), str(each["response"])
        both: list[tuple[Measured, ...]] = []
        for index, similar in enumerate((None, embedder.embed_passages)):
            began_s = time.process_time()
            both.append(_measured(source, response, similar))
            spent_s[index] += time.process_time() - began_s
        first_half = hashlib.sha256(source.encode()).digest()[-1] % 2 == 0
        rows.append(Row(source, response, bool(each["grounded"]), first_half, *both))
    count = sum(len(row.worded) for row in rows)
    worded, encoded = (1000 * each / count for each in spent_s)
    print(f"{len(rows)} responses, {count} sentences; {worded:.1f} CPU-ms a sentence without the encoder, {encoded:.1f} with it")
    return rows


def _measured(source: str, response: str, similar: Similar | None) -> tuple[Measured, ...]:
    chunk = Chunk(ChunkId("c"), DocumentId("d"), 0, 0, len(source), source, "", (), "d", None, source, 1)
    answer = f"{response} [1]"
    citation = Citation(1, chunk, 1.0, (len(answer) - 3, len(answer)), "", (0, 0), (0, 0), verbatim=False)
    return tuple(measure(answer, [citation], [Passage(1, chunk)], similar)[0])


def _print_weights(rows: Sequence[Row]) -> None:
    for name, model, fitted in (
        ("WITHOUT_ENCODER", WITHOUT_ENCODER, fit(rows, WITHOUT_ENCODER, lambda row: row.worded)),
        ("WITH_ENCODER", WITH_ENCODER, fit(rows, WITH_ENCODER, lambda row: row.encoded)),
    ):
        print(f"{name} fitted: {fitted}{'' if fitted == dict(model) else f', but the module has {dict(model)}'}")
    least = min(response_score(row.encoded) for row in rows if row.grounded)
    print(f"the least score of a grounded response is {least:.3f}, PARTLY_FROM is {PARTLY_FROM}")


def _verdicts(chosen_on: Sequence[Row], measured_on: Sequence[Row], *, refit: bool = False) -> dict[str, Truths]:
    """By name of what judges. The weights of the module were fitted on the first half: for the other one, `refit`."""
    grounded = np.array([row.grounded for row in chosen_on])
    said: dict[str, Truths] = {"always grounded": np.ones(len(measured_on), np.bool_)}
    for name, score in BASELINES.items():
        threshold = _best_threshold(grounded, np.array([score(row) for row in chosen_on]))
        said[name] = np.array([score(row) >= threshold for row in measured_on])
    worded = fit(chosen_on, WITHOUT_ENCODER, lambda row: row.worded) if refit else WITHOUT_ENCODER
    encoded = fit(chosen_on, WITH_ENCODER, lambda row: row.encoded) if refit else WITH_ENCODER
    said["support, no encoder"] = np.array([response_score(row.worded, worded) >= SUPPORTED_FROM for row in measured_on])
    said["support"] = np.array([response_score(row.encoded, encoded) >= SUPPORTED_FROM for row in measured_on])
    return said


def _print_table(title: str, rows: Sequence[Row], said: Mapping[str, Truths]) -> None:
    grounded = np.array([row.grounded for row in rows])
    sources = [row.source for row in rows]
    print(f"{title}: {len(rows)} responses, {int(grounded.sum())} of them grounded, {len(set(sources))} sources")
    print(f"  {'':<22} balanced accuracy     of the grounded  of the others  what support gains on it")
    for name, verdicts in said.items():
        low, high = _interval(sources, partial(_accuracy_of, grounded, verdicts))
        right = f"{verdicts[grounded].mean():>15.3f}  {(~verdicts)[~grounded].mean():>13.3f}"
        gain = partial(_gain, grounded, said["support"], verdicts)
        least, most = _interval(sources, gain)
        gained = "" if name == "support" else f"  {gain(np.arange(len(rows))):+.3f} [{least:+.3f}, {most:+.3f}]"
        print(f"  {name:<22} {balanced_accuracy(grounded, verdicts):.3f} [{low:.3f}, {high:.3f}]  {right}{gained}")


def _accuracy_of(grounded: Truths, verdicts: Truths, rows: Positions) -> float:
    return balanced_accuracy(grounded[rows], verdicts[rows])


def _gain(grounded: Truths, verdicts: Truths, others: Truths, rows: Positions) -> float:
    return _accuracy_of(grounded, verdicts, rows) - _accuracy_of(grounded, others, rows)


def _print_levels(rows: Sequence[Row]) -> None:
    print(f"levels on the second half, of the least supported sentence:\n  {'':<14} supported  partly  unsupported")
    for grounded in (True, False):
        scores = [response_score(row.encoded) for row in rows if row.grounded == grounded]
        supported = sum(score >= SUPPORTED_FROM for score in scores)
        partly = sum(PARTLY_FROM <= score < SUPPORTED_FROM for score in scores)
        print(f"  {'grounded' if grounded else 'not grounded':<14} {supported:>9} {partly:>7} {len(scores) - supported - partly:>12}")


def balanced_accuracy(grounded: Truths, verdicts: Truths) -> float:
    """Mean of the shares of either class that are judged right."""
    return float((verdicts[grounded].mean() + (~verdicts)[~grounded].mean()) / 2)


def _best_threshold(grounded: Truths, scores: Numbers) -> float:
    values = np.unique(scores)
    candidates = [values[0], *((values[1:] + values[:-1]) / 2).tolist()]
    return float(max(candidates, key=lambda threshold: balanced_accuracy(grounded, scores >= threshold)))


def _interval(sources: Sequence[str], score: Callable[[Positions], float]) -> tuple[float, float]:
    """95 % percentile bootstrap over sources: the rows of one are drawn together."""
    return percentiles(np.array([score(rows) for rows in drawn_positions(sources, draws=RESAMPLES)]), 0.025)


def _unigram_overlap(row: Row) -> float:
    said, there = set(words(row.response)), set(words(row.source))
    return len(said & there) / max(1, len(said))


def _least(row: Row, signal: str) -> float:
    """Of the sentences that claim something. What stands word for word in the source is not embedded: 1."""
    values = [getattr(each.signals, signal) for each in row.encoded if each.claims]
    return min((1.0 if value is None else float(value) for value in values), default=0.0)


BASELINES: dict[str, Callable[[Row], float]] = {
    "unigram overlap": _unigram_overlap,
    # Not trivial: this module's own terms, windows and notion of what claims something.
    "best window's wording": lambda row: _least(row, "window"),
    "encoder cosine": lambda row: _least(row, "similarity"),
}
