"""The loss of PonderNet, bad arguments, precision and copies."""

import copy
import math
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_halting import assert_close, mse
from test_pondernet import (
    BATCH,
    HIDDEN,
    INPUTS,
    OUTPUTS,
    STEPS,
    WAYS,
    Recurrent,
    act_by_sampling,
    gradients,
    inputs,
    network,
)
from torch import Tensor, nn

from sheeprl_dnp.halting import halting_head, halting_log_probs
from sheeprl_dnp.pondernet import Halted, PonderLoss, PonderNet


@pytest.mark.parametrize("kind", ["regression", "classes"])
def test_the_loss_is_that_of_the_paper(kind: str) -> None:
    outputs, targets = torch.randn(BATCH, STEPS, OUTPUTS), torch.randn(BATCH, OUTPUTS)
    loss_fn, row_loss = mse, lambda y, target: ((y - target) ** 2).mean()
    if kind == "classes":
        targets = torch.arange(BATCH) % OUTPUTS
        loss_fn, row_loss = per_row_cross_entropy, lambda y, target: -y.log_softmax(0)[target]
    probs = torch.randn(BATCH, STEPS).softmax(1)
    prior = [0.3 * 0.7**n / (1 - 0.7**STEPS) for n in range(STEPS)]
    reconstruction = divergence = steps = 0.0
    for row in range(BATCH):
        for n in range(STEPS):
            p = probs[row, n].item()
            reconstruction += p * row_loss(outputs[row, n], targets[row]).item() / BATCH
            divergence += p * math.log(p / prior[n]) / BATCH
            steps += p * (n + 1) / BATCH
    total, parts = PonderLoss(loss_fn, lambda_p=0.3, beta=0.05)(outputs, probs, targets)
    assert_close(total.item(), reconstruction + 0.05 * divergence)
    expected = {"reconstruction_loss": reconstruction, "kl_divergence": divergence, "avg_steps": steps}
    assert_close({k: v.item() for k, v in parts.items()}, {"total_loss": total.item()} | expected)


def per_row_cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(prediction, target, reduction="none")


def test_only_the_total_carries_gradients_and_to_every_parameter() -> None:
    net = network()
    _, probs, outputs, _ = net(inputs())
    total, parts = PonderLoss(mse)(outputs, probs, torch.zeros(BATCH, OUTPUTS))
    assert not any(part.requires_grad for part in parts.values())
    assert all(gradient.abs().sum() > 0 for gradient in gradients(total, net))


def test_the_loss_moves_the_halting_to_the_step_that_is_right() -> None:
    logits = torch.zeros(1, 3, requires_grad=True)
    outputs = torch.tensor([[[1.0], [0.0], [1.0]]])
    PonderLoss(mse, beta=0.0)(outputs, halting_log_probs(logits).exp(), torch.zeros(1, 1))[0].backward()
    assert logits.grad[0, 0] > 0 > logits.grad[0, 1]


# Bad arguments, precision, copies


@pytest.mark.parametrize(
    "arguments", [{"max_steps": 0}, {"max_steps": -1}, *({"lambda_p": p} for p in (-0.1, 0.0, 1.0, 1.5, math.nan))]
)
def test_a_network_with_bad_arguments_is_an_error_that_names_them(arguments: dict[str, Any]) -> None:
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=f"{name}.*{value}"):
        PonderNet(Recurrent(), nn.Linear(HIDDEN, 1), **arguments)


@pytest.mark.parametrize("number", [np.int64(3), np.uint8(3), True + 2])
def test_integers_are_integers_whoever_made_them(number: Any) -> None:
    assert network().act(inputs(), halting=number).steps.tolist() == [3] * BATCH


class Sized(nn.Module):
    """A module as users write them: it expects a state at its first step too, and says of what size."""

    hidden_size = HIDDEN

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.Linear(INPUTS + HIDDEN, HIDDEN)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        state = self.cell(torch.cat((x, state), 1)).tanh()
        return state, state


@pytest.mark.parametrize("halting", ["sample", "threshold", 3, torch.full((BATCH,), 3)])
def test_the_first_state_of_a_module_with_a_hidden_size_is_zeros(halting: Any) -> None:
    net, x = PonderNet(Sized(), nn.Linear(HIDDEN, 1), 4), inputs()
    zeros = torch.zeros(BATCH, HIDDEN)
    assert torch.equal(net(x).output, net(x, zeros).output)
    results = []
    for state in (None, zeros):
        torch.manual_seed(0)
        results.append(net.act(x, state, halting).output)
    assert torch.equal(*results)


@pytest.mark.parametrize("halting", ["never", "", 0, -3, 1.5, None, True])
def test_an_unknown_way_to_halt_is_an_error_that_names_it(halting: Any) -> None:
    never, static = network(), network()
    never.halting_module, static.static = None, True
    for net in (network(), never, static):
        with pytest.raises(ValueError, match=f"halting.*{halting!r}"):
            net.act(inputs(), halting=halting)


class Counting(nn.Module):
    """Counts the steps, in a state of its size; `unroll` and `last` count from the first state that they are given."""

    hidden_size = 2

    def forward(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        return state + 1, state + 1

    def unroll(self, tokens: Tensor, state: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        states = state.unsqueeze(1) + torch.arange(1, steps + 1).view(1, -1, 1)
        return states, states

    def last(self, tokens: Tensor, state: Tensor, steps: int) -> Tensor:
        return state + steps


def test_the_first_state_of_whole_numbers_is_zeros_of_floats_in_every_way() -> None:
    net, tokens = PonderNet(Counting(), halting_head(2, 0.3), STEPS), torch.zeros(BATCH, dtype=torch.long)
    counted = torch.arange(1.0, STEPS + 1).view(1, -1, 1).expand(BATCH, -1, 2)
    torch.testing.assert_close(net(tokens).outputs, counted)
    torch.testing.assert_close(net.act(tokens, halting=STEPS).output, counted[:, -1])
    torch.testing.assert_close(net.act(tokens, halting=torch.full((BATCH,), STEPS)).output, counted[:, -1])


@pytest.mark.parametrize("way", [PonderNet.forward, *WAYS])
def test_bfloat16_autocast_gives_nearly_the_same(way: Callable[..., tuple[Tensor, ...]]) -> None:
    net, x = network(), inputs()
    with torch.autocast("cpu", torch.bfloat16):
        low, result = way(net, x), net(x)
        total, _ = PonderLoss(mse)(result.outputs, result.halting_probs, torch.zeros(BATCH, OUTPUTS))
    assert result.halting_probs.dtype == torch.float32
    assert_close(result.halting_probs.sum(1), torch.ones(BATCH))
    assert all(gradient.isfinite().all() for gradient in gradients(total, net))
    assert low[0].dtype == torch.bfloat16
    same = (low[1] == way(net, x)[1]).all(-1) if isinstance(low, Halted) else slice(None)
    assert_close(low[0][same].float(), way(net, x)[0][same], 0.1)


def by_pickle(net: PonderNet) -> PonderNet:
    return pickle.loads(pickle.dumps(net))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, by_pickle])
def test_a_copy_ponders_alike_and_apart(duplicate: Callable[[PonderNet], PonderNet]) -> None:
    net, x = network(), inputs()
    net(x).output.sum().backward()
    other = duplicate(net)
    assert all(torch.equal(a, b) for a, b in zip(net(x), other(x), strict=True))
    assert torch.equal(act_by_sampling(net, x).output, act_by_sampling(other, x).output)
    nn.init.zeros_(other.step_module.head.weight)
    assert not torch.equal(net(x).output, other(x).output)


@pytest.mark.parametrize("threshold", [0, -1, 1.5, math.nan])
def test_a_threshold_that_is_no_probability_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        network().act(inputs(), halting="threshold", threshold=threshold)


def test_a_loss_function_that_averages_over_the_rows_is_refused() -> None:
    result = network()(inputs())
    with pytest.raises(ValueError, match="one loss per row"):
        PonderLoss(F.mse_loss)(result.outputs, result.halting_probs, torch.zeros(BATCH, OUTPUTS))


@pytest.mark.parametrize("lambda_p", [0.0, 1.0, -0.5, 2.0])
def test_a_prior_without_a_distribution_is_refused_everywhere(lambda_p: float) -> None:
    for make in (lambda: PonderLoss(F.mse_loss, lambda_p), lambda: halting_head(HIDDEN, lambda_p)):
        with pytest.raises(ValueError, match="lambda_p"):
            make()
