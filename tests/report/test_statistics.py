"""The statistics against closed forms and brute force."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from sheeprl_dnp.report import statistics


def mean(sample: list[float]) -> pd.Series:
    return statistics.mean(pd.DataFrame([sample])).iloc[0]


def interquartile_mean(sample: list[float]) -> pd.Series:
    return statistics.interquartile_mean(pd.DataFrame([sample])).iloc[0]


def probability_of_improvement(x: list[float], y: list[float]) -> pd.Series:
    return statistics.probability_of_improvement(pd.Series(x), pd.Series(y))


def difference(x: dict[int, float], y: dict[int, float]) -> pd.Series:
    return statistics.difference(pd.Series(x, dtype=float), pd.Series(y, dtype=float))


def spearman(x: list[float], y: list[float]) -> float:
    return statistics.spearman(pd.Series(x, dtype=float), pd.Series(y, dtype=float))


def spearman_of_means(x: list[float], groups: list[int]) -> float:
    return statistics.spearman_of_means(pd.Series(x), pd.Series(groups))


def assert_is(found: pd.Series, *expected: float) -> None:
    assert found[statistics.ESTIMATE].tolist() == pytest.approx(list(expected), nan_ok=True)


SCORES = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.3, 5.8]


def quantiles(values: list[float]) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return float(low), float(high)


def test_the_interquartile_mean_is_the_mean_of_the_middle_half() -> None:
    assert interquartile_mean(SCORES).value == pytest.approx((2.6 + 3.0 + 4.0 + 5.3) / 4)
    assert interquartile_mean([*SCORES[:7], 1e9]).value == pytest.approx((2.6 + 3.0 + 4.0 + 5.3) / 4)
    assert interquartile_mean([1.0, 2.0, 6.0]).value == pytest.approx(3.0)  # too few to cut


@pytest.mark.parametrize("statistic", [mean, interquartile_mean])
def test_the_interval_is_that_of_all_resamples(statistic) -> None:
    sample = [1.0, 2.0, 4.0, 8.0, 16.0]
    resamples = [statistic_of(statistic, draw) for draw in itertools.product(sample, repeat=5)]
    low, high = quantiles(resamples)
    found = statistic(sample)
    assert (found.low, found.high) == pytest.approx((low, high), rel=0.03)
    assert found.low < found.value < found.high and found.n == 5


def statistic_of(statistic, draw: tuple[float, ...]) -> float:
    return float(np.mean(draw)) if statistic is mean else float(np.mean(sorted(draw)[1:-1]))


def test_the_interval_of_many_normal_points_is_the_closed_form() -> None:
    sample = np.random.default_rng(1).normal(size=400)
    found = mean(sample)
    width = 1.96 * sample.std() / math.sqrt(400)
    assert (found.low, found.high) == pytest.approx((sample.mean() - width, sample.mean() + width), abs=0.01)


def test_one_seed_has_a_value_and_no_interval() -> None:
    for alone in (mean([3.0]), interquartile_mean([3.0]), difference({1: 5.0}, {1: 2.0, 2: 7.0})):
        assert_is(alone, 3.0, math.nan, math.nan, 1)
    assert_is(probability_of_improvement([2.0], [1.0, 3.0, 0.0]), 2 / 3, math.nan, math.nan, 1)


def test_equal_values_have_an_interval_of_no_width() -> None:
    for equal in (mean([2.0, 2.0, 2.0]), interquartile_mean([2.0, 2.0, 2.0])):
        assert_is(equal, 2.0, 2.0, 2.0, 3)
    assert_is(probability_of_improvement([2.0, 2.0], [2.0, 2.0]), 0.5, 0.5, 0.5, 2)
    assert_is(difference({1: 2.0, 2: 3.0}, {1: 1.0, 2: 2.0}), 1.0, 1.0, 1.0, 2)


def test_rows_are_estimated_each_from_the_seeds_that_it_has() -> None:
    rows = [[1.0, 2.0, 6.0], [1.0, None, 6.0], [None] * 3, [None, 4.0, None], SCORES[:3]]
    samples = pd.DataFrame(rows, list("abcde"), dtype=float)
    found = statistics.mean(samples)
    assert found["n"].to_dict() == {"a": 3, "b": 2, "d": 1, "e": 3}
    for name in "abde":
        assert_is(found.loc[name], *mean(samples.loc[name].dropna().tolist()))
    many = pd.DataFrame(np.random.default_rng(0).normal(size=(101, 3)))
    assert_is(statistics.mean(many).iloc[-1], *mean(many.iloc[-1].tolist()))


def test_arms_without_values_have_no_difference() -> None:
    assert_is(difference({}, {1: 2.0}), math.nan, math.nan, math.nan, 0)


def test_the_probability_of_improvement_is_that_of_mann_and_whitney() -> None:
    x, y = SCORES, [2.0, 3.0, 3.0, 6.0, 0.5]
    pairs = [(a > b) + (a == b) / 2 for a in x for b in y]
    found = probability_of_improvement(x, y)
    assert found.value == pytest.approx(np.mean(pairs))
    assert found.value == pytest.approx(stats.mannwhitneyu(x, y).statistic / (len(x) * len(y)))
    assert probability_of_improvement(y, x).value == pytest.approx(1 - found.value)
    assert found.n == 5


def test_the_arms_are_resampled_each_within_itself() -> None:
    x, y = [1.0, 3.0, 5.0], [2.0, 2.5, 4.0]
    resamples = [
        float(np.mean([(a > b) + (a == b) / 2 for a in left for b in right]))
        for left in itertools.product(x, repeat=3)
        for right in itertools.product(y, repeat=3)
    ]
    found = probability_of_improvement(x, y)
    assert (found.low, found.high) == pytest.approx(quantiles(resamples), abs=0.06)


def test_separate_arms_improve_for_sure() -> None:
    assert_is(probability_of_improvement([4.0, 5.0], [1.0, 2.0]), 1.0, 1.0, 1.0, 2)


def test_the_difference_is_paired_by_the_seeds_that_both_have() -> None:
    # Seeds differ far more than arms: only the pairing shows the difference
    found = difference({1: 11.0, 2: 101.0, 3: 1002.0, 9: 5e6}, {1: 10.0, 2: 100.0, 3: 1000.0, 7: -5e6})
    assert found.value == pytest.approx(4 / 3) and found.n == 3
    # The pairs 1, 1, 2: standard error 1/3, and 4.303 is Student's t of two degrees of freedom
    assert (found.low, found.high) == pytest.approx((4 / 3 - 4.303 / 3, 4 / 3 + 4.303 / 3), abs=1e-3)


def test_the_difference_of_arms_without_a_common_seed_is_that_of_their_means() -> None:
    found = difference({1: 4.0, 2: 6.0}, {3: 1.0, 4: 2.0, 5: 3.0})
    assert found.value == pytest.approx(3.0) and found.n == 2
    # Welch's: variances of the means 1 and 1/3, degrees of freedom (4/3)**2 / (1 + 1/18)
    error, freedom = math.sqrt(4 / 3), (4 / 3) ** 2 / (1 + 1 / 18)
    assert found.high - 3.0 == pytest.approx(3.0 - found.low) == pytest.approx(error * stats.t.ppf(0.975, freedom))


def test_the_interval_of_a_difference_covers_the_truth_of_few_seeds() -> None:
    seeds = np.random.default_rng(2).normal(size=(500, 2, 5))
    found = [difference(dict(enumerate(x)), dict(enumerate(y))) for x, y in seeds]
    assert np.mean([one.low <= 0 <= one.high for one in found]) == pytest.approx(0.95, abs=0.025)


def test_spearman_is_the_correlation_of_the_ranks() -> None:
    x, y = [1.0, 2.0, 3.0, 4.0, 5.0], [1.0, 30.0, 2.0, 400.0, 5000.0]
    d_squared = sum((a - b) ** 2 for a, b in zip([1, 2, 3, 4, 5], [1, 3, 2, 4, 5], strict=True))
    assert spearman(x, y) == pytest.approx(1 - 6 * d_squared / (5 * 24))
    assert spearman(x, [-value for value in y]) == pytest.approx(-spearman(x, y))


def test_spearman_of_means_ranks_each_group_once_by_its_mean() -> None:
    groups, x = [1, 1, 2, 2, 3], [0.0, 4.0, 9.0, -7.0, 3.0]  # means 2, 1, 3
    assert spearman_of_means(x, groups) == pytest.approx(0.5)
    assert math.isnan(spearman_of_means(x, [1] * 5))


def test_spearman_of_what_never_varies_is_not_defined() -> None:
    assert math.isnan(spearman([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]))
    assert math.isnan(spearman([], []))


def test_the_same_sample_gives_the_same_interval() -> None:
    assert mean(SCORES).equals(mean(SCORES))
