"""PonderNet against brute force: its halting distribution, prior, loss, and the three ways to act."""

import copy
import inspect
import math
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from sheeprl_dnp.pondernet import (
    Halted,
    PonderLoss,
    PonderNet,
    expected_steps,
    halting_head,
    halting_log_probs,
    kl_from_prior,
    log_prior,
)

BATCH, INPUTS, HIDDEN, OUTPUTS, STEPS = 16, 4, 5, 3, 6
CHI_SQUARE = 21.1  # three degrees of freedom: exceeded once in 10,000 draws

lambdas = st.floats(0.001, 0.999)
wild_logits = st.lists(st.sampled_from([-100.0, 0.0, 100.0]) | st.floats(-100, 100), min_size=1, max_size=32)
mild_logits = st.lists(st.floats(-20, 20), min_size=1, max_size=32)
each_example = settings(max_examples=150, deadline=None, derandomize=True)


class Recurrent(nn.Module):
    """A GRU and a linear head, which keeps the number of rows that each call computed."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(INPUTS, HIDDEN)
        self.head = nn.Linear(HIDDEN, OUTPUTS)
        self.rows: list[int] = []

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        self.rows.append(len(x))
        state = self.cell(x, state)
        return self.head(state), state


class Scripted(nn.Module):
    """Its state begins with the logit of the step: step n takes the n-th column of the input."""

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        state = x if state is None else state.roll(-1, 1)
        return state, state


class First(nn.Module):
    def forward(self, state: Tensor) -> Tensor:
        return state[:, :1]


def network(max_steps: int = STEPS) -> PonderNet:
    torch.manual_seed(0)
    net = PonderNet(Recurrent(), nn.Linear(HIDDEN, 1), max_steps, lambda_p=0.2)
    nn.init.normal_(net.halting_module.weight, std=2)
    nn.init.constant_(net.halting_module.bias, -1)
    return net


def inputs(rows: int = BATCH) -> Tensor:
    return torch.randn(rows, INPUTS, generator=torch.Generator().manual_seed(1))


def given_steps() -> Tensor:
    return torch.arange(BATCH) % STEPS + 1


def at(steps: Tensor, values: Tensor) -> Tensor:
    """`values[row, steps[row]]`, the steps counted from 1."""
    return values[torch.arange(len(steps)), steps - 1]


def brute_force_probs(logits: Tensor) -> Tensor:
    """`p_n = lambda_n prod_{i<n} (1 - lambda_i)`, the last step taking what is left."""
    left, probs = torch.ones_like(logits[..., 0]), []
    for n in range(logits.shape[-1] - 1):
        probs.append(left * torch.sigmoid(logits[..., n]))
        left = left * torch.sigmoid(-logits[..., n])
    return torch.stack([*probs, left], -1)


def scripted(halting_probs: list[list[float]]) -> tuple[PonderNet, Tensor]:
    """A network with these conditional halting probabilities `lambda_n`, and the input that makes it use them."""
    return PonderNet(Scripted(), First(), max_steps=len(halting_probs[0])), torch.tensor(halting_probs).logit()


def gradients(value: Tensor, net: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(value, list(net.parameters())))


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


def bernoulli_entropy(log_probs: Tensor) -> Tensor:
    return -(log_probs.exp() * log_probs).sum(-1)


def loss_of(log_probs: Tensor) -> Tensor:
    outputs = torch.linspace(-3, 3, log_probs.shape[-1])[None, :, None]
    return PonderLoss(F.mse_loss_per_row, 0.2)(outputs, log_probs.exp()[None], torch.ones(1, 1))[0]
