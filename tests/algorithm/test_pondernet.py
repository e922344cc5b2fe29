"""PonderNet against brute force: every step, the loss, and the ways to act."""

import inspect
from collections.abc import Callable

import pytest
import torch
from test_halting import assert_close, brute_force_probs
from torch import Tensor, nn

from sheeprl_dnp.pondernet import (
    Halted,
    PonderNet,
)

BATCH, INPUTS, HIDDEN, OUTPUTS, STEPS = 16, 4, 5, 3, 6
CHI_SQUARE = 21.1  # three degrees of freedom: exceeded once in 10,000 draws


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


def scripted(halting_probs: list[list[float]]) -> tuple[PonderNet, Tensor]:
    """A network with these conditional halting probabilities `lambda_n`, and the input that makes it use them."""
    return PonderNet(Scripted(), First(), max_steps=len(halting_probs[0])), torch.tensor(halting_probs).logit()


def gradients(value: Tensor, net: nn.Module) -> list[Tensor]:
    return list(torch.autograd.grad(value, list(net.parameters()), retain_graph=True))


# Every step


def test_the_interface_is_the_published_one() -> None:
    parameters = inspect.signature(PonderNet).parameters
    assert [(name, p.default) for name, p in parameters.items()] == [
        ("step_module", inspect.Parameter.empty),
        ("halting_module", inspect.Parameter.empty),
        ("max_steps", 20),
        ("lambda_p", 0.01),
    ]
    output, halting_probs, outputs, states = network()(inputs(), initial_state=torch.zeros(BATCH, HIDDEN))
    assert output.shape == (BATCH, OUTPUTS)
    assert halting_probs.shape == (BATCH, STEPS)
    assert outputs.shape == (BATCH, STEPS, OUTPUTS)
    assert states.shape == (BATCH, STEPS, HIDDEN)


@pytest.mark.parametrize("state", [None, torch.linspace(-1, 1, BATCH * HIDDEN).view(BATCH, HIDDEN)])
def test_forward_applies_the_step_module_to_its_own_state(state: Tensor | None) -> None:
    net, x = network(), inputs()
    result, logits = net(x, state), []
    for n in range(STEPS):
        output, state = net.step_module(x, state)
        logits.append(net.halting_module(state)[:, 0])
        assert_close(result.outputs[:, n], output)
        assert_close(result.states[:, n], state)
    assert_close(result.halting_probs, brute_force_probs(torch.stack(logits, 1)))


def test_the_output_is_the_sum_of_the_outputs_weighted_by_p() -> None:
    net = network()
    output, halting_probs, outputs, _ = net(inputs())
    expected = sum(halting_probs[:, n, None] * outputs[:, n] for n in range(STEPS))
    assert_close(halting_probs.sum(1), torch.ones(BATCH))
    assert_close(output, expected)
    assert_close(gradients(output.square().sum(), net), gradients(expected.square().sum(), net), 1e-4)


def test_without_a_halting_module_the_output_is_that_of_the_last_step() -> None:
    net, x = network(), inputs()
    net.halting_module = None
    output, halting_probs, outputs, _ = net(x)
    assert torch.equal(output, outputs[:, -1])
    assert halting_probs.tolist() == [[0.0] * (STEPS - 1) + [1.0]] * BATCH


def test_one_step_is_the_step_module() -> None:
    net, x = network(max_steps=1), inputs()
    output, halting_probs, outputs, _ = net(x)
    assert torch.equal(output, net.step_module(x, None)[0])
    assert torch.equal(outputs[:, 0], output)
    assert torch.equal(halting_probs, torch.ones(BATCH, 1))
    assert torch.equal(net.act(x).output, output)


# Acting


@pytest.mark.parametrize("compiled", [False, True])
def test_sampled_halts_have_the_frequencies_of_p(compiled: bool) -> None:
    draws = 10_000
    net, logits = scripted([[0.2, 0.5, 0.3, 0.9], [0.6, 0.1, 0.7, 0.1]])
    act = torch.compile(net.act, backend="eager", fullgraph=True) if compiled else net.act
    torch.manual_seed(3)
    halted = act(logits.repeat(draws, 1))
    probs = brute_force_probs(logits)
    for row in range(2):
        counts = halted.steps[row::2].bincount(minlength=5)[1:]
        expected = draws * probs[row]
        assert ((counts - expected) ** 2 / expected).sum() < CHI_SQUARE, (counts, expected)


@pytest.mark.parametrize("threshold", [0.05, 0.3, 0.5, 0.8, 0.99])
def test_threshold_halts_where_the_cumulative_p_first_reaches_it(threshold: float) -> None:
    net, x = network(), inputs(200)
    _, probs, outputs, _ = net(x)
    halted = net.act(x, halting="threshold", threshold=threshold)
    reached = probs.double().cumsum(1) >= threshold
    reached[:, -1] = True
    expected = torch.tensor([row.index(True) + 1 for row in reached.tolist()])
    assert torch.equal(halted.steps, expected)
    assert_close(halted.output, at(expected, outputs))


def test_threshold_halts_where_the_cumulative_p_is_equal_to_it() -> None:
    net, logits = scripted([[0.5, 0.5, 0.5]])
    assert net.act(logits, halting="threshold", threshold=0.5).steps.item() == 1
    assert net.act(logits, halting="threshold", threshold=0.51).steps.item() == 2


@pytest.mark.parametrize("n", [1, 3, STEPS, STEPS + 1, 2 * STEPS])
def test_a_fixed_number_of_steps_may_be_beyond_the_last(n: int) -> None:
    x = inputs()
    halted = network().act(x, halting=n)
    assert_close(halted.output, network(max_steps=2 * STEPS)(x).outputs[:, n - 1])
    assert halted.steps.tolist() == [n] * BATCH


def act_by_sampling(net: PonderNet, x: Tensor) -> Halted:
    torch.manual_seed(0)
    return net.act(x)


def act_by_threshold(net: PonderNet, x: Tensor) -> Halted:
    return net.act(x, halting="threshold", threshold=0.7)


def act_three_steps(net: PonderNet, x: Tensor) -> Halted:
    return net.act(x, halting=3)


def act_at_given_steps(net: PonderNet, x: Tensor) -> Halted:
    steps = given_steps()[: len(x)]
    return net.act(x, halting=steps)


WAYS = [act_by_sampling, act_by_threshold, act_three_steps, act_at_given_steps]
DETERMINISTIC = WAYS[1:]


@pytest.mark.parametrize("way", WAYS)
def test_each_step_is_computed_for_the_rows_that_reach_it_only(way: Callable[..., Halted]) -> None:
    net = network()
    steps = way(net, inputs()).steps
    assert net.step_module.rows == [int((steps >= n).sum()) for n in range(1, int(steps.max()) + 1)]


def test_nothing_is_computed_after_the_last_row_has_halted() -> None:
    net, x = network(), inputs()
    nn.init.constant_(net.halting_module.bias, 200)
    net.act(x)
    net.act(x, halting="threshold")
    net.act(x, halting=torch.ones(BATCH, dtype=torch.long))
    assert net.step_module.rows == [BATCH] * 3


@pytest.mark.parametrize("state", [None, torch.linspace(-1, 1, BATCH * HIDDEN).view(BATCH, HIDDEN)])
@pytest.mark.parametrize("compiled", [False, True])
def test_halting_at_given_steps_is_forward_at_these_steps(state: Tensor | None, compiled: bool) -> None:
    net, x, steps = network(), inputs(), given_steps()
    act = torch.compile(net.act, backend="eager", fullgraph=True) if compiled else net.act
    halted, result = act(x, state, steps), net(x, state)
    outputs, log_probs = at(steps, result.outputs), at(steps, result.halting_probs).log()
    assert_close((halted.output, halted.log_probs), (outputs, log_probs))
    weights = torch.randn(BATCH, OUTPUTS)
    ours = gradients((weights * halted.output).sum() + halted.log_probs.sum(), net)
    assert_close(ours, gradients((weights * outputs).sum() + log_probs.sum(), net), 1e-4)


@pytest.mark.parametrize("way", DETERMINISTIC)
def test_compiled_acting_is_eager_acting(way: Callable[..., Halted]) -> None:
    net, x = network(), inputs()
    eager = way(net, x)
    net.step_module.rows.clear()
    compiled = torch.compile(way, backend="eager", fullgraph=True)(net, x)
    assert_close(tuple(compiled), tuple(eager))
    assert set(net.step_module.rows) == {BATCH}, "the compiled path has static shapes"


@pytest.mark.parametrize("way", [PonderNet.forward, *DETERMINISTIC])
def test_a_row_does_not_depend_on_the_others_of_its_batch(way: Callable[..., tuple[Tensor, ...]]) -> None:
    net, x = network(), inputs()
    together = way(net, x)
    alone = way(net, x[:1])
    assert_close(tuple(alone), tuple(None if part is None else part[:1] for part in together))
