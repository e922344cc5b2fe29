"""Statistics of a few seeds (Agarwal et al. 2021, arXiv 2108.13264): each seed is one point.

Intervals are of the stratified percentile bootstrap: each sample (an arm) is resampled within itself. A single point
has none. Those of few points are too narrow: of the mean of 3, 5, 10 normal points, the 95 % interval covers the truth
in 76 %, 82 %, 90 % of cases (simulated). A difference, by which arms are judged, has Student's t interval instead.

An estimate is a row `value, low, high, n`: the 95 % interval (NaN of a single point), and from how many points it is.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 10_000
ROWS_AT_ONCE = 50  # of a bootstrap, which holds `RESAMPLES` samples of each
ESTIMATE = ["value", "low", "high", "n"]

Statistic = Callable[..., np.ndarray]
Comparison = Callable[[pd.Series, pd.Series], pd.Series]  # of the seeds of two arms


def mean(samples: pd.DataFrame) -> pd.DataFrame:
    """The mean of each row over its columns, the seeds; NaN where a row has none."""
    return _estimates(samples, np.mean)


def interquartile_mean(samples: pd.DataFrame) -> pd.DataFrame:
    """The mean of each row without its lowest and highest quarter, rounded down: fewer than 4 points lose none."""
    return _estimates(samples, lambda x, axis: stats.trim_mean(x, 0.25, axis=axis))


def probability_of_improvement(sample: pd.Series, baseline: pd.Series) -> pd.Series:
    """`P(X > Y) + P(X = Y) / 2` of a point X of the sample and a point Y of the baseline."""
    x, y = (checked(points.dropna().to_numpy(float)) for points in (sample, baseline))
    value = float(_improvement(x, y, axis=-1))
    if min(len(x), len(y)) == 1:
        return estimate(value, np.nan, np.nan, 1)
    if np.ptp(x) == np.ptp(y) == 0:
        return estimate(value, value, value, min(len(x), len(y)))
    low, high = _interval((x, y), _improvement)
    return estimate(value, low, high, min(len(x), len(y)))


def difference(sample: pd.Series, baseline: pd.Series) -> pd.Series:
    """Of the means, sample - baseline, in pairs of the seeds that both have; Welch's where they share none."""
    sample, baseline = sample.dropna(), baseline.dropna()
    if sample.empty or baseline.empty:
        return estimate(np.nan, np.nan, np.nan, 0)
    pairs = checked((sample - baseline).dropna().to_numpy(float))
    if len(pairs):
        return _t_estimate(pairs.mean(), (pairs,), lambda: stats.ttest_1samp(pairs, 0))
    x, y = (checked(points.to_numpy(float)) for points in (sample, baseline))
    return _t_estimate(x.mean() - y.mean(), (x, y), lambda: stats.ttest_ind(x, y, equal_var=False))


def spearman(x: pd.Series, y: pd.Series) -> float:
    """The rank correlation; NaN where it isn't defined, since one of the two never varies."""
    if x.nunique() < 2 or y.nunique() < 2:
        return np.nan
    return float(stats.spearmanr(x, y).statistic)


def spearman_of_means(x: pd.Series, groups: pd.Series) -> float:
    """The rank correlation of the groups and the means of `x` in them, each group once; NaN as for `spearman`."""
    means = x.groupby(groups).mean()
    return spearman(means, means.index.to_series())


def estimate(value: float, low: float, high: float, n: int) -> pd.Series:
    return pd.Series([value, low, high, n], ESTIMATE)


def checked(points: np.ndarray) -> np.ndarray:
    """
    Raises:
        ValueError: a point isn't finite.
    """
    if not np.isfinite(points).all():
        raise ValueError(f"{points} is not a sample of finite numbers")
    return points


def _t_estimate(value: float, samples: tuple[np.ndarray, ...], test: Callable) -> pd.Series:
    n = min(map(len, samples))
    if n < 2:
        return estimate(value, np.nan, np.nan, n)
    if all(np.ptp(sample) == 0 for sample in samples):  # and so there is nothing to estimate a spread from
        return estimate(value, value, value, n)
    interval = test().confidence_interval(CONFIDENCE)
    return estimate(value, float(interval.low), float(interval.high), n)


def _estimates(samples: pd.DataFrame, statistic: Statistic) -> pd.DataFrame:
    """The statistic of each row, of the columns where it has a value."""
    found = pd.DataFrame(np.nan, samples.index, ESTIMATE)
    for rows, points in _equally_many(samples):
        value = statistic(points, axis=-1)
        varies = (np.ptp(points, axis=-1) > 0) & (points.shape[-1] > 1)
        low = high = value if points.shape[-1] > 1 else np.full_like(value, np.nan)
        if varies.any():
            low, high = low.copy(), high.copy()
            low[varies], high[varies] = _interval((points[varies],), statistic)
        found.iloc[rows] = np.column_stack([value, low, high, np.full_like(value, points.shape[-1])])
    return found


def _equally_many(samples: pd.DataFrame) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The positions of some rows that have equally many values, and those: [rows, values]."""
    values = samples.to_numpy(float)
    known = ~np.isnan(values)
    checked(values[known])
    counts = known.sum(-1)
    for count in np.unique(counts[counts > 0]):
        rows = np.flatnonzero(counts == count)
        for some in np.array_split(rows, -(-len(rows) // ROWS_AT_ONCE)):
            yield some, values[some][known[some]].reshape(len(some), count)


def _interval(samples: tuple[np.ndarray, ...], statistic: Statistic) -> tuple[np.ndarray, np.ndarray]:
    """Of each row, all resampled alike: [..., points] to [...]."""
    found = stats.bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        axis=-1,
        rng=np.random.default_rng(0),
    ).confidence_interval
    return found.low, found.high


def _improvement(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    # [..., points of x, points of y]
    x, y = np.moveaxis(x, axis, -1)[..., :, None], np.moveaxis(y, axis, -1)[..., None, :]
    return ((x > y) + (x == y) / 2).mean((-2, -1))
