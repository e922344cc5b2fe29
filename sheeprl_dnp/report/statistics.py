"""Statistics of a few seeds (Agarwal et al. 2021, arXiv 2108.13264): each seed is one point.

Intervals are of the stratified percentile bootstrap: each sample (an arm) is resampled within itself. A single point
has none. Those of few points are too narrow: of the mean of 3, 5, 10 normal points, the 95 % interval covers the truth
in 76 %, 82 %, 90 % of cases (simulated). A difference, by which arms are judged, has Student's t interval instead.

An estimate is a row `value, low, high, n`: the 95 % interval (NaN of a single point), and from how many points it is.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 10_000
BATCH = 500  # resamples of many rows that are held at once
ESTIMATE = ["value", "low", "high", "n"]


def mean(samples: pd.DataFrame) -> pd.DataFrame:
    """The mean of each row over the seeds, its columns, that have a value; rows without any are left out."""
    return _of_rows(samples, np.mean)


def interquartile_mean(samples: pd.DataFrame) -> pd.DataFrame:
    """The mean of each row without its lowest and highest quarter, rounded down: fewer than 4 points lose none."""
    return _of_rows(samples, lambda x, axis: stats.trim_mean(x, 0.25, axis=axis))


def probability_of_improvement(sample: pd.Series, baseline: pd.Series) -> pd.Series:
    """`P(X > Y) + P(X = Y) / 2` of a point X of the sample and a point Y of the baseline."""
    x, y = (points.dropna().to_numpy(float) for points in (sample, baseline))
    return pd.Series([*_bootstrap((x, y), _improvement), min(len(x), len(y))], ESTIMATE)


def difference(sample: pd.Series, baseline: pd.Series) -> pd.Series:
    """Of the means, sample - baseline, in pairs of the seeds that both have; Welch's where they share none."""
    x, y = sample.dropna(), baseline.dropna()
    pairs = (x - y).dropna()
    samples = [pairs] if len(pairs) else [x, y]
    n, value = min(map(len, samples)), pairs.mean() if len(pairs) else x.mean() - y.mean()
    if n < 2:
        low = high = np.nan
    elif all(np.allclose(sample, sample.iloc[0], 1e-12, 1e-12) for sample in samples):  # no spread but of rounding
        low = high = value
    else:
        test = stats.ttest_1samp(pairs, 0) if len(pairs) else stats.ttest_ind(x, y, equal_var=False)
        low, high = test.confidence_interval(CONFIDENCE)
    return pd.Series([value, low, high, n], ESTIMATE, dtype=float)


def spearman(x: pd.Series, y: pd.Series) -> float:
    """The rank correlation; NaN where it isn't defined, since one of the two never varies."""
    if x.nunique() < 2 or y.nunique() < 2:
        return np.nan
    return float(stats.spearmanr(x, y).statistic)


def spearman_of_means(x: pd.Series, groups: pd.Series) -> float:
    """The rank correlation of the groups and the means of `x` in them, each group once; NaN as for `spearman`."""
    means = x.groupby(groups).mean()
    return spearman(means, means.index.to_series())


def _of_rows(samples: pd.DataFrame, statistic: Callable[..., np.ndarray]) -> pd.DataFrame:
    known, found = samples.dropna(how="all"), [pd.DataFrame(columns=ESTIMATE, dtype=float)]
    for n, rows in known.groupby(known.count(axis=1)):
        points = rows.to_numpy(float)[rows.notna()].reshape(len(rows), n)
        estimates = np.column_stack([*_bootstrap((points,), statistic, BATCH), np.full(len(rows), n)])
        found.append(pd.DataFrame(estimates, rows.index, ESTIMATE))
    return pd.concat(found[len(found) > 1 :]).reindex(known.index)


def _bootstrap(
    samples: tuple[np.ndarray, ...], statistic: Callable[..., np.ndarray], batch: int | None = None
) -> tuple[np.ndarray, ...]:
    """A statistic of samples, [..., points] each, all rows resampled alike: its value and its interval, [...] each."""
    value = statistic(*samples, axis=-1)
    if min(sample.shape[-1] for sample in samples) == 1:
        return value, np.full_like(value, np.nan), np.full_like(value, np.nan)
    interval = stats.bootstrap(
        samples,
        statistic,
        n_resamples=RESAMPLES,
        batch=batch,
        vectorized=True,
        axis=-1,
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return value, interval.low, interval.high


def _improvement(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    # [..., points of x, points of y]
    x, y = np.moveaxis(x, axis, -1)[..., :, None], np.moveaxis(y, axis, -1)[..., None, :]
    return np.asarray(((x > y) + (x == y) / 2).mean((-2, -1)))
