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
ESTIMATE = ["value", "low", "high", "n"]


def mean(samples: pd.DataFrame) -> pd.DataFrame:
    """The mean of each row over the seeds, its columns, that have a value; rows without any are left out."""
    return _of_rows(samples, lambda x: x.mean(-1))


def interquartile_mean(samples: pd.DataFrame) -> pd.DataFrame:
    """The mean of each row without its lowest and highest quarter, rounded down: fewer than 4 points lose none."""
    return _of_rows(samples, lambda x: stats.trim_mean(x, 0.25, axis=-1))


def probability_of_improvement(sample: pd.Series, baseline: pd.Series) -> pd.Series:
    """`P(X > Y) + P(X = Y) / 2` of a point X of the sample and a point Y of the baseline."""
    x, y = (points.dropna().to_numpy(float) for points in (sample, baseline))
    return pd.Series(_bootstrap(_improvement, x, y), ESTIMATE)


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
    known = samples.dropna(how="all")
    found = [_bootstrap(statistic, row[~np.isnan(row)]) for row in known.to_numpy(float)]
    return pd.DataFrame(found, known.index, ESTIMATE, dtype=float)


def _bootstrap(statistic: Callable[..., np.ndarray], *samples: np.ndarray) -> tuple[float, float, float, int]:
    """An estimate of a statistic of samples, which it takes as [..., points] each."""
    value, n = float(statistic(*samples)), min(map(len, samples))
    if n == 1:
        return value, np.nan, np.nan, n
    rng = np.random.default_rng(0)
    resamples = [sample[rng.integers(len(sample), size=(RESAMPLES, len(sample)))] for sample in samples]
    low, high = np.quantile(statistic(*resamples), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return value, low, high, n


def _improvement(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = x[..., :, None], y[..., None, :]  # [..., points of x, points of y]
    return np.asarray(((x > y) + (x == y) / 2).mean((-2, -1)))
