"""The verb: reference + window → findings. Pure; the same for the same seed."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rag_service.drift.categories import category_shift, share_shift
from rag_service.drift.features import Feature, Kind, Value, features
from rag_service.drift.multiple import holm
from rag_service.drift.numbers import number_shift
from rag_service.drift.observation import Observation, Sample
from rag_service.drift.permuting import Booleans, Floats, Sides, permuted_sides
from rag_service.drift.report import Bar, Finding, Point, State
from rag_service.drift.vectors import vector_shift

LEAST = 100
DRAWS = 1999
SEED = 20261126
ALPHA = 0.01

_MOST_VECTORS = 500
"""Of each side: their kernel takes the square of it."""
_MOST_POINTS = 150
_BINS = 16
_MOST_BARS = 12


@dataclass(frozen=True, slots=True)
class Policy:
    alpha: float = ALPHA
    """Chance that a report of a window that is like its reference has any alarm at all. Floors make it smaller still."""
    least: int = LEAST
    """Conversations, of either side, below which nothing is said of a feature."""
    draws: int = DRAWS
    """Permutations. The smallest p-value is one in `draws + 1`, times the features."""
    seed: int = SEED


def draws_for(alpha: float) -> int:
    """So many that the smallest p-value, times all features, is at most half of `alpha`: with fewer no alarm could ever be raised."""
    return max(DRAWS, math.ceil(2 * len(features(0.0)) / alpha) - 1)


@dataclass(frozen=True, slots=True)
class _Both:
    """The observations of both sides, those of the reference first."""

    seen: tuple[Observation, ...]
    sides: Sides
    reference: Sample
    window: Sample

    @property
    def known_scales(self) -> frozenset[str]:
        return frozenset(seen.scale for seen in self.reference.observations)


def compare(
    reference: Sample, window: Sample, *, min_confidence: float, policy: Policy = Policy(), traffic: bool = True
) -> tuple[Finding, ...]:
    """`min_confidence` is what counts as covered, on both sides. Without `traffic` in the reference nothing is an alarm: whoever asks may
    ask otherwise than whoever evaluates.
    """
    chosen = features(min_confidence)
    if not reference.observations or not window.observations:
        return tuple(_undefined(feature, "there are no questions", 0, 0) for feature in chosen)
    names = [[seen.conversation for seen in sample.observations] for sample in (reference, window)]
    sides = permuted_sides(*names, draws=policy.draws, seed=policy.seed)
    both = _Both((*reference.observations, *window.observations), sides, reference, window)
    return _judged([_finding(feature, both, policy) for feature in chosen], policy.alpha, "alarm" if traffic else "significant")


def _judged(findings: Sequence[Finding], alpha: float, different: State) -> tuple[Finding, ...]:
    """Alarms are what is sure after all that was looked at, and large enough to matter."""
    p_values = [finding.p_value for finding in findings if finding.p_value is not None]
    adjusted = iter(holm(p_values))
    judged = []
    for finding in findings:
        if finding.p_value is None or finding.effect is None:
            judged.append(finding)
            continue
        p = next(adjusted)
        large = finding.effect >= finding.floor
        state = "quiet" if p > alpha else different if large else "significant"
        judged.append(finding.model_copy(update={"p_adjusted": p, "state": state}))
    return tuple(judged)


def _finding(feature: Feature, both: _Both, policy: Policy) -> Finding:
    if feature.kind == "vectors":
        return _of_vectors(feature, both, policy)
    given = [feature.of(seen) for seen in both.seen]
    chosen, beside = np.array([value is not None for value in given]), ""
    if feature.scaled:
        alike = np.array([seen.scale in both.known_scales for seen in both.seen])
        if (others := int((chosen & ~alike).sum())) > 0:
            beside = f", and {others} were searched for with other settings of retrieval"
        chosen &= alike
    n, m = _counts(both, chosen)
    if why := _too_few(both, chosen, policy.least):
        return _undefined(feature, why + beside, n, m)
    values = [value for value, taken in zip(given, chosen, strict=True) if taken and value is not None]
    found = _OF_KIND[feature.kind](feature, values, both.sides.of(chosen))
    return found.model_copy(update={"n_reference": n, "n_window": m})


def _too_few(both: _Both, chosen: Booleans, least: int) -> str:
    seen = both.sides.seen
    for name, side in (("reference", ~seen), ("window", seen)):
        clusters = len(np.unique(both.sides.clusters[side & chosen]))
        if clusters < least:
            return f"{clusters} conversations of the {name} have one, and it takes {least}"
    return ""


def _counts(both: _Both, chosen: Booleans) -> tuple[int, int]:
    return int((chosen & ~both.sides.seen).sum()), int((chosen & both.sides.seen).sum())


def _base(feature: Feature, *, effect: float | None = None, p_value: float | None = None, reference: str = "", window: str = "") -> Finding:
    return Finding(
        feature=feature.name, title=feature.title, about=feature.about, kind=feature.kind, state="quiet", effect_name=feature.effect,
        floor=feature.floor, effect=effect, p_value=p_value, reference=reference, window=window,
    )  # fmt: skip


def _undefined(feature: Feature, why: str, n: int, m: int) -> Finding:
    return _base(feature).model_copy(update={"state": "undefined", "why": why, "n_reference": n, "n_window": m})


def _of_vectors(feature: Feature, both: _Both, policy: Policy) -> Finding:
    """A random part of each side where there are more than can be compared pair by pair."""
    chosen = np.concatenate([both.reference.has_vector, both.window.has_vector])
    n, m = _counts(both, chosen)
    if why := _too_few(both, chosen, policy.least):
        return _undefined(feature, why, n, m)
    random = np.random.default_rng(policy.seed)
    for side in (~both.sides.seen, both.sides.seen):
        chosen[random.permutation(np.flatnonzero(chosen & side))[_MOST_VECTORS:]] = False
    split = len(both.reference.observations)
    vectors = np.concatenate([both.reference.vectors[chosen[:split]], both.window.vectors[chosen[split:]]])
    sides = both.sides.of(chosen)
    shift = vector_shift(vectors, sides)
    found = _base(feature, effect=shift.auc, p_value=shift.p_value, reference="", window=f"{shift.auc:.0%} told apart")
    return found.model_copy(
        update={"more": {"mmd2": shift.mmd2}, "points": _points(shift.points, sides.seen), "n_reference": n, "n_window": m}
    )


def _points(places: Floats, in_window: Booleans) -> tuple[Point, ...]:
    return tuple(
        Point(x=round(float(x), 3), y=round(float(y), 3), window=side)
        for side in (False, True)
        for x, y in places[in_window == side][:_MOST_POINTS]
    )


def _of_numbers(feature: Feature, values: Sequence[Value], sides: Sides) -> Finding:
    numbers = np.array(values, np.float64)
    shift = number_shift(numbers, sides)
    shown = [f"{_plain(median)}" for median in (shift.reference_median, shift.window_median)]
    found = _base(feature, effect=shift.ks, p_value=shift.p_value, reference=shown[0], window=shown[1])
    more = {"wasserstein": shift.wasserstein}
    if shift.wasserstein_sigma is not None:
        more["wasserstein_sigma"] = shift.wasserstein_sigma
    return found.model_copy(update={"more": more, "bars": _histogram(numbers, sides.seen)})


def _histogram(numbers: Floats, in_window: Booleans) -> tuple[Bar, ...]:
    """Between the 0.5 and the 99.5 percentile of all; what is beyond counts in the outermost class."""
    low, high = (float(bound) for bound in np.quantile(numbers, [0.005, 0.995]))
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    within = np.clip(numbers, edges[0], edges[-1])
    counts = [np.histogram(within[side], edges)[0] / side.sum() for side in (~in_window, in_window)]
    return tuple(
        Bar(label=_plain(float(edge)), reference=round(float(p), 4), window=round(float(q), 4))
        for edge, p, q in zip(edges[:-1], *counts, strict=True)
    )


def _of_shares(feature: Feature, values: Sequence[Value], sides: Sides) -> Finding:
    p, q, p_value = share_shift([bool(value) for value in values], sides)
    found = _base(feature, effect=abs(q - p), p_value=p_value, reference=f"{p:.1%}", window=f"{q:.1%}")
    bars = (Bar(label="yes", reference=round(p, 4), window=round(q, 4)), Bar(label="no", reference=round(1 - p, 4), window=round(1 - q, 4)))
    return found.model_copy(update={"bars": bars})


def _of_categories(feature: Feature, values: Sequence[Value], sides: Sides) -> Finding:
    """`documents` are categories, too many for a distance that chance does not fill."""
    shift = category_shift([str(value) for value in values], sides)
    many = feature.kind == "documents"
    bars = [
        Bar(label=label, reference=round(p, 4), window=round(q, 4))
        for label, p, q in zip(shift.labels, shift.reference, shift.window, strict=True)
    ]
    gained = max(bars, key=lambda bar: bar.window - bar.reference)
    found = _base(
        feature,
        effect=shift.moved if many else shift.js,
        p_value=shift.p_value,
        reference=f"{gained.reference:.1%}",
        window=f"{gained.window:.1%} {gained.label.strip()}",
    )
    more = {"chi2": shift.chi2} if many else {"chi2": shift.chi2, "psi": shift.psi}
    shown = sorted(bars, key=lambda bar: -abs(bar.window - bar.reference))[:_MOST_BARS]
    return found.model_copy(update={"more": more, "bars": tuple(shown if many else sorted(shown, key=lambda bar: bar.label))})


def _plain(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:,.0f}"


_OF_KIND: dict[Kind, Callable[[Feature, Sequence[Value], Sides], Finding]] = {
    "numbers": _of_numbers,
    "shares": _of_shares,
    "categories": _of_categories,
    "documents": _of_categories,
}
