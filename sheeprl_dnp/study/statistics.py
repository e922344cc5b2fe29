"""Statistics of a few seeds (Agarwal et al. 2021, arXiv 2108.13264): each seed is one point.

Intervals are of the stratified percentile bootstrap: each sample (an arm) is resampled within itself. A single point
has none. Those of few points are too narrow: of the mean of 3, 5, 10 normal points, the 95 % interval covers the truth
in 76 %, 82 %, 90 % of cases (simulated). A difference, by which arms are judged, has Student's t interval instead.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 10_000


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % interval (None where there is too little to resample), and from how many points it is."""

    value: float
    low: float | None
    high: float | None
    n: int


def mean(sample: Sequence[float]) -> Estimate:
    return _bootstrap([sample], np.mean)


def interquartile_mean(sample: Sequence[float]) -> Estimate:
    """The mean without the lowest and highest quarter, rounded down: fewer than 4 points lose none."""
    return _bootstrap([sample], _interquartile_mean)


def probability_of_improvement(sample: Sequence[float], baseline: Sequence[float]) -> Estimate:
    """`P(X > Y) + P(X = Y) / 2` of a point X of the sample and a point Y of the baseline."""
    return _bootstrap([sample, baseline], _probability_of_improvement)


def difference(sample: Mapping[int, float], baseline: Mapping[int, float]) -> Estimate:
    """Of the means, sample - baseline: in pairs, of the seeds that both have; Welch's where they share none."""
    shared = sorted(sample.keys() & baseline.keys())
    if shared:
        pairs = [sample[seed] - baseline[seed] for seed in shared]
        return _estimate([pairs], np.mean, lambda x: stats.ttest_1samp(x, 0).confidence_interval(CONFIDENCE))
    return _estimate(
        [list(sample.values()), list(baseline.values())],
        lambda x, y: x.mean() - y.mean(),
        lambda x, y: stats.ttest_ind(x, y, equal_var=False).confidence_interval(CONFIDENCE),
    )


def spearman(x: Sequence[float], y: Sequence[float]) -> float | None:
    """The rank correlation; None where it isn't defined, since one of the two never varies."""
    if len(set(x)) < 2 or len(set(y)) < 2:
        return None
    return float(stats.spearmanr(x, y).statistic)


def spearman_of_means(x: Sequence[float], groups: Sequence[float]) -> float | None:
    """The rank correlation of the groups and the means of `x` in them, each group once; None as for `spearman`."""
    members: dict[float, list[float]] = {}
    for value, group in zip(x, groups, strict=True):
        members.setdefault(group, []).append(value)
    return spearman([fmean(values) for values in members.values()], list(members))


def _bootstrap(samples: Sequence[Sequence[float]], statistic: Callable[..., np.ndarray]) -> Estimate:
    def interval(*data: np.ndarray) -> Any:
        return stats.bootstrap(
            data,
            statistic,
            n_resamples=RESAMPLES,
            confidence_level=CONFIDENCE,
            method="percentile",
            vectorized=True,
            rng=np.random.default_rng(0),
        ).confidence_interval

    return _estimate(samples, lambda *data: statistic(*data, axis=-1), interval)


def _estimate(
    samples: Sequence[Sequence[float]], statistic: Callable[..., Any], interval: Callable[..., Any]
) -> Estimate:
    """The statistic of the samples, with the `interval` (its `low` and `high`) that is computed from them.

    Raises:
        ValueError: a sample is empty, or has a value that isn't finite.
    """
    data = [np.asarray(sample, float) for sample in samples]
    if not all(len(sample) and np.isfinite(sample).all() for sample in data):
        raise ValueError(f"{samples} are not samples of finite numbers")
    value, n = float(statistic(*data)), min(map(len, data))
    if n == 1:
        return Estimate(value, None, None, n)
    if all(np.ptp(sample) == 0 for sample in data):  # and so there is nothing to estimate a spread from
        return Estimate(value, value, value, n)
    found = interval(*data)
    return Estimate(value, float(found.low), float(found.high), n)


def _interquartile_mean(x: np.ndarray, axis: int) -> np.ndarray:
    return stats.trim_mean(x, 0.25, axis=axis)


def _probability_of_improvement(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    # [..., points of x, points of y]
    x, y = np.moveaxis(x, axis, -1)[..., :, None], np.moveaxis(y, axis, -1)[..., None, :]
    return ((x > y) + (x == y) / 2).mean((-2, -1))
