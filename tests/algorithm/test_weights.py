"""The halting weights outside the loss of the actor: the critic, the percentiles, the moments."""

import pytest
import torch
from lightning.fabric import Fabric
from sheeprl.algos.dreamer_v3 import dreamer_v3
from sheeprl.algos.dreamer_v3.utils import Moments
from tiny_actors import Imagined
from tiny_mdp import flat_gradient
from torch import Tensor, nn

from sheeprl_dnp.dreamer_v3_ponder.loss import critic_loss, halting_weighted_mean
from sheeprl_dnp.dreamer_v3_ponder.utils import WeightedMoments, weighted_quantiles


def test_the_loss_of_the_critic_is_dreamer_v3s_under_the_halting_probabilities() -> None:
    imagined = Imagined("sample")
    imagination, n, m = imagined.imagination, imagined.max_halts, len(imagined.roots)
    critic, target = nn.Linear(5, 255), nn.Linear(5, 255)
    one_row = [
        dreamer_v3.critic_loss(critic, target, *(x[:, row : row + 1] for x in (imagination[0], *imagination[3:5])))
        for row in range(n * m)
    ]
    expected = (imagined.halting_probs(imagined.roots).T * torch.stack(one_row).view(n, m)).sum(0).mean()
    ours = critic_loss(critic, target, imagination)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(flat_gradient(ours, critic), flat_gradient(expected, critic))


def test_the_halting_weighted_mean_sums_over_halts_and_averages_the_rest() -> None:
    x, weights = torch.randn(4, 3 * 5, 1), torch.rand(3, 5)
    expected = sum(weights[n, m] * x[:, n * 5 + m].mean() for n in range(3) for m in range(5)) / 5
    torch.testing.assert_close(halting_weighted_mean(x, weights), expected)


def weighted_quantile(values: Tensor, weights: Tensor, q: float) -> Tensor:
    return weighted_quantiles(values, weights, (q,))[0]


QUANTILES = (0.01, 0.05, 0.3, 0.5, 0.95, 0.99)


@pytest.mark.parametrize("q", QUANTILES)
@pytest.mark.parametrize("count", [2, 7, 1000])
def test_with_equal_weights_the_quantile_is_torchs(q: float, count: int) -> None:
    values = torch.randn(count, generator=torch.Generator().manual_seed(count))
    torch.testing.assert_close(weighted_quantile(values, torch.full((count,), 0.3), q), torch.quantile(values, q))


@pytest.mark.parametrize("q", QUANTILES)
def test_a_weight_of_k_counts_like_k_equal_values(q: float) -> None:
    g = torch.Generator().manual_seed(0)
    values, weights = torch.randn(20_000, generator=g), torch.randint(0, 5, (20_000,), generator=g)
    expected = torch.quantile(values.repeat_interleave(weights), q)
    torch.testing.assert_close(weighted_quantile(values, weights, q), expected, atol=5e-3, rtol=0)


def test_the_lowest_value_is_finite_where_it_weighs_nothing() -> None:
    values, weights = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 0.0, 1.0])
    assert 1 <= weighted_quantile(values, weights, 0.0) <= 3


def test_values_without_weight_dont_move_the_quantile() -> None:
    values, weights = torch.randn(20_000, generator=torch.Generator().manual_seed(0)), torch.ones(20_000)
    values[::2], weights[::2] = 100.0, 0.0
    expected = torch.quantile(values[1::2], 0.95)
    torch.testing.assert_close(weighted_quantile(values, weights, 0.95), expected, atol=1e-3, rtol=0)


def test_the_quantile_doesnt_depend_on_the_order() -> None:
    g = torch.Generator().manual_seed(0)
    values, weights, order = torch.randn(50, generator=g), torch.rand(50, generator=g), torch.randperm(50, generator=g)
    for q in QUANTILES:
        assert weighted_quantile(values, weights, q) == weighted_quantile(values[order], weights[order], q)


def test_the_quantile_of_mirrored_values_is_the_mirrored_quantile() -> None:
    g = torch.Generator().manual_seed(0)
    values, weights = torch.randn(5, generator=g), torch.rand(5, generator=g)
    for q in QUANTILES:
        torch.testing.assert_close(weighted_quantile(-values, weights, 1 - q), -weighted_quantile(values, weights, q))


def test_the_moments_are_dreamer_v3s_on_the_returns_of_the_weighted_mixture() -> None:
    fabric, returns = Fabric(accelerator="cpu", devices=1), torch.randn(15, 2 * 500, 1)
    returns[:, 500:] += 3  # ponder step 2 is better
    equal, mixed, theirs, theirs_mixed = WeightedMoments(), WeightedMoments(), Moments(), Moments()
    torch.testing.assert_close(equal(returns, fabric, torch.full((1000,), 0.5)), theirs(returns, fabric))
    weights = torch.tensor([0.2, 0.8]).repeat_interleave(500)
    mixture = torch.cat((returns[:, :500], returns[:, 500:].repeat(1, 4, 1)), 1)
    torch.testing.assert_close(mixed(returns, fabric, weights), theirs_mixed(mixture, fabric), atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("weights", [None, torch.tensor([[0.2] * 50, [0.8] * 50])])
def test_the_moments_stay_where_compiled_code_reads_them(weights: Tensor | None) -> None:
    moments, fabric = WeightedMoments(decay=0.5), Fabric(accelerator="cpu", devices=1)
    places, known = (moments.low.data_ptr(), moments.high.data_ptr()), []
    for n in range(2):
        returns = torch.randn(15, 100, 1, generator=torch.Generator().manual_seed(n))
        _, scale = moments(returns, fabric, weights)
        known.append(scale.clone())
        assert (moments.low.data_ptr(), moments.high.data_ptr()) == places
        torch.testing.assert_close(moments.scale, scale)
    assert known[0] != known[1]
