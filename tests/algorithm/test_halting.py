"""When a PonderNet halts: the distribution, its prior and the divergence from it, against brute force."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sheeprl_dnp.halting import expected_steps, halting_head, halting_log_probs, kl_from_prior, log_prior
from sheeprl_dnp.pondernet import PonderLoss

BATCH, HIDDEN = 16, 5

lambdas = st.floats(0.001, 0.999)
wild_logits = st.lists(st.sampled_from([-100.0, 0.0, 100.0]) | st.floats(-100, 100), min_size=1, max_size=32)
mild_logits = st.lists(st.floats(-20, 20), min_size=1, max_size=32)
each_example = settings(max_examples=100, deadline=None, derandomize=True)


def brute_force_probs(logits: Tensor) -> Tensor:
    """`p_n = lambda_n prod_{i<n} (1 - lambda_i)`, the last step taking what is left."""
    left, probs = torch.ones_like(logits[..., 0]), []
    for n in range(logits.shape[-1] - 1):
        probs.append(left * torch.sigmoid(logits[..., n]))
        left = left * torch.sigmoid(-logits[..., n])
    return torch.stack([*probs, left], -1)


def assert_close(actual: Any, expected: Any, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


# The halting distribution


@each_example
@given(wild_logits)
def test_halting_probabilities_sum_to_one_however_large_the_logits(logits: list[float]) -> None:
    assert abs(halting_log_probs(torch.tensor(logits)).exp().sum().item() - 1) < 4e-6
    assert abs(halting_log_probs(torch.tensor(logits, dtype=torch.float64)).exp().sum().item() - 1) < 1e-13


@each_example
@given(mild_logits)
def test_log_probabilities_are_those_of_the_products_of_lambdas(logits: list[float]) -> None:
    tensor = torch.tensor(logits, dtype=torch.float64)
    assert_close(halting_log_probs(tensor), brute_force_probs(tensor).log(), 1e-11)


def kl(log_probs: Tensor) -> Tensor:
    return kl_from_prior(log_probs, 0.2)


def entropy(log_probs: Tensor) -> Tensor:
    return -(log_probs.exp() * log_probs).sum(-1)


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(prediction, target, reduction="none")


def loss(log_probs: Tensor) -> Tensor:
    outputs = torch.linspace(-3, 3, log_probs.shape[-1])[None, :, None]
    return PonderLoss(mse, 0.2, 1.0)(outputs, log_probs.exp()[None], torch.ones(1, 1))[0]


@pytest.mark.parametrize("function", [Tensor.sum, kl, entropy, loss])
@each_example
@given(wild_logits)
def test_values_and_gradients_are_finite_however_large_the_logits(
    function: Callable[[Tensor], Tensor], logits: list[float]
) -> None:
    tensor = torch.tensor(logits, requires_grad=True)
    value = function(halting_log_probs(tensor))
    value.backward()
    assert value.isfinite()
    assert tensor.grad.isfinite().all(), tensor.grad


@pytest.mark.parametrize("function", [Tensor.sum, kl, entropy, loss])
@each_example
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8))
def test_gradients_are_those_of_the_products_of_lambdas(
    function: Callable[[Tensor], Tensor], logits: list[float]
) -> None:
    ours, theirs = (torch.tensor(logits, dtype=torch.float64, requires_grad=True) for _ in range(2))
    function(halting_log_probs(ours)).backward()
    function(brute_force_probs(theirs).log()).backward()
    assert_close(ours.grad, theirs.grad)


def test_the_last_step_always_halts() -> None:
    logits = torch.tensor([-1.0, 0.5, 2.0], requires_grad=True)
    log_probs = halting_log_probs(logits)
    log_probs[-1].backward()
    assert torch.equal(log_probs, halting_log_probs(torch.tensor([-1.0, 0.5, -50.0])))
    assert logits.grad[-1] == 0


def test_expected_steps_counts_from_one() -> None:
    probs = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.25, 0.25]])
    assert_close(expected_steps(probs), torch.tensor([1.0, 3.0, 1.75]))


# The prior and the regulariser


@each_example
@given(lambdas, st.integers(1, 32))
def test_the_prior_is_the_geometric_distribution_cut_and_renormalised(lambda_p: float, max_steps: int) -> None:
    left = 1 - lambda_p
    expected = [lambda_p * left**n / (1 - left**max_steps) for n in range(max_steps)]
    assert_close(log_prior(max_steps, lambda_p).exp(), torch.tensor(expected))


@each_example
@given(wild_logits, lambdas)
def test_kl_is_never_negative(logits: list[float], lambda_p: float) -> None:
    assert kl_from_prior(halting_log_probs(torch.tensor(logits)), lambda_p) >= -1e-5


@each_example
@given(lambdas, st.integers(1, 32))
def test_kl_is_zero_and_stationary_at_the_prior(lambda_p: float, max_steps: int) -> None:
    prior = ((1 - lambda_p) ** torch.arange(max_steps, dtype=torch.float64)).clamp(min=1e-60)
    reached = prior.flip(0).cumsum(0).flip(0)
    logits = (prior / reached).clamp(max=1 - 1e-12).logit().float().requires_grad_()
    divergence = kl_from_prior(halting_log_probs(logits), lambda_p)
    divergence.backward()
    assert abs(divergence.item()) < 1e-5
    assert logits.grad.abs().max() < 1e-5


def test_kl_goes_from_p_to_the_prior_and_not_the_reverse() -> None:
    p, prior = (0.9, 0.1), (2 / 3, 1 / 3)  # lambda_p = 0.5, two steps
    forward = sum(a * math.log(a / b) for a, b in zip(p, prior, strict=True))
    reverse = sum(b * math.log(b / a) for a, b in zip(p, prior, strict=True))
    assert abs(forward - reverse) > 0.05
    assert_close(kl_from_prior(torch.tensor(p).log(), 0.5).item(), forward)
    _, parts = PonderLoss(mse, 0.5)(torch.zeros(1, 2, 1), torch.tensor([p]), torch.zeros(1, 1))
    assert_close(parts["kl_divergence"].item(), forward)


@each_example
@given(lambdas)
def test_a_halting_head_starts_at_lambda_p_whatever_the_state(lambda_p: float) -> None:
    logits = halting_head(HIDDEN, lambda_p)(torch.randn(BATCH, HIDDEN))
    assert_close(torch.sigmoid(logits), torch.full((BATCH, 1), lambda_p))
