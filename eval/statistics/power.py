"""Before anything is spent: how small a difference so many questions can show, how many a difference needs, and whether asking more
questions or asking each more often helps.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean, variance

POWER = 0.8
ALPHA = 0.05


def detectable(
    sd: float, n: int, *, mean_cluster: float = 1.0, intracluster: float = 0.0, power: float = POWER, alpha: float = ALPHA
) -> float:
    """The smallest true mean difference that `n` paired questions show with probability `power` in a two-sided test at `alpha`:
    (z₁₋α⸝₂ + z_power) · sd / √n_eff, which is 2.80 · sd / √n_eff by default, with n_eff = n / (1 + (m − 1) · ICC) (Kish 1965).

    `sd` is that of the differences, see `sd_of_discordance`; `mean_cluster` is m, see `grouped.mean_cluster`; `intracluster` is the ICC
    of the differences. For 30 clusters and more; with fewer it promises a little too much. Raises `ValueError` outside the domain.
    """
    if n < 1 or sd < 0:
        raise ValueError(f"{n} questions with a standard deviation of {sd} show nothing")
    return _reach(power, alpha) * sd * math.sqrt(_design_effect(mean_cluster, intracluster) / n)


def questions_needed(
    effect: float, sd: float, *, mean_cluster: float = 1.0, intracluster: float = 0.0, power: float = POWER, alpha: float = ALPHA
) -> int:
    """The fewest questions to which a true difference of `effect` is `detectable`, at least 1. The new ones are about new documents, as
    many about each as now: more questions about the same documents help less. Raises `ValueError` unless `effect` is positive.
    """
    if effect <= 0 or sd < 0:
        raise ValueError(f"an effect of {effect} with a standard deviation of {sd} needs no questions")
    exact = (_reach(power, alpha) * sd / effect) ** 2 * _design_effect(mean_cluster, intracluster)
    return max(1, math.ceil(exact - 1e-9 * exact))


def sd_of_discordance(discordance: float) -> float:
    """Of the differences between two runs with values of 0 and 1 that are equally good and disagree at this share of the questions: its
    root. It is a little less where one of them is better.
    """
    if not 0 <= discordance <= 1:
        raise ValueError(f"{discordance} is no share of the questions")
    return math.sqrt(discordance)


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Where the variance of a paired difference comes from (Miller 2024, arXiv 2411.00640, section 4)."""

    questions: float
    """ω²: true differences differ from question to question. Only more questions help."""
    base: float
    """σ²_A: the value of one question differs from one time it is asked to the next. More epochs help, too."""
    candidate: float
    """σ²_B."""


def noise_sources(base: Sequence[Sequence[float]], candidate: Sequence[Sequence[float]]) -> Noise:
    """From the values of every question, each asked twice or more of both: `base[i][k]` is the k-th value of question i.

    ω² is what the variance of the mean differences leaves when sampling is taken away; 0 where it leaves nothing. Raises `ValueError` for
    unequal lengths, fewer than two questions, and a question that was asked once: what sampling adds cannot be known then.
    """
    if len(base) != len(candidate) or len(base) < 2:
        raise ValueError(f"{len(base)} and {len(candidate)} questions: give the same ones for both, two at least")
    if any(len(values) < 2 for values in (*base, *candidate)):
        raise ValueError("a question was asked once: ask every one at least twice to see how its answers differ")
    of_base, of_candidate = fmean(map(variance, base)), fmean(map(variance, candidate))
    sampling = fmean(variance(values) / len(values) for values in base) + fmean(variance(values) / len(values) for values in candidate)
    seen = variance([fmean(one) - fmean(other) for one, other in zip(candidate, base, strict=True)])
    return Noise(questions=max(0.0, seen - sampling), base=of_base, candidate=of_candidate)


def questions_with_epochs(effect: float, noise: Noise, *, epochs: int, power: float = POWER, alpha: float = ALPHA) -> int:
    """Independent questions that a true difference of `effect` needs where each is asked `epochs` times of both:
    (z₁₋α⸝₂ + z_power)² · (ω² + σ²_A/K + σ²_B/K) / effect² (Miller 2024, section 5). Raises `ValueError` outside the domain.
    """
    if epochs < 1:
        raise ValueError(f"{epochs} epochs: a question is asked once at least")
    spread = math.sqrt(noise.questions + (noise.base + noise.candidate) / epochs)
    return questions_needed(effect, spread, power=power, alpha=alpha)


def _reach(power: float, alpha: float) -> float:
    if not (0 < power < 1 and 0 < alpha < 1):
        raise ValueError(f"a power of {power} at {alpha} cannot be had")
    return NormalDist().inv_cdf(1 - alpha / 2) + NormalDist().inv_cdf(power)


def _design_effect(mean_cluster: float, intracluster: float) -> float:
    if mean_cluster < 1 or not 0 <= intracluster <= 1:
        raise ValueError(f"clusters of {mean_cluster} questions that are alike by {intracluster} do not exist")
    return 1 + (mean_cluster - 1) * intracluster
