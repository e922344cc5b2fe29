"""The losses against the exact gradient of a branching tree, on decision processes small enough to enumerate.

An imagination never branches: it samples. So its expected gradient, over all that it can sample, must be that of the
tree in which the actor branches at each ponder step of each state.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tiny_actors import RealActor, TabularActor, stick_breaking
from tiny_mdp import (
    TinyMDP,
    Trajectory,
    coupled,
    flat_gradient,
    imagination_of,
    random_mdp,
    trajectories,
    tree_entropy,
    tree_return,
)
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from sheeprl_dnp.dreamer_v3_ponder.agent import PonderedActions
from sheeprl_dnp.dreamer_v3_ponder.imagination import Imagination
from sheeprl_dnp.dreamer_v3_ponder.loss import actor_loss

OFFSET, INVSCALE, LAMBDA_P = torch.tensor(0.7), torch.tensor(2.5), 0.3
CONTINUATIONS = pytest.mark.parametrize("continuation", ["sample", "commit"])
Loss = Callable[..., Tensor]


def our_loss(
    actor: nn.Module, imagination: Imagination, *, continuation: str, eta: float = 0.0, **kwargs: Any
) -> Tensor:
    settings = {"objective_mix": None, "is_continuous": False, "actions_dim": (imagination.actions.shape[-1],)}
    settings |= {"estimator": "trajectories", "entropy": "steps"}
    return actor_loss(
        actor,
        imagination,
        OFFSET,
        INVSCALE,
        lambda_p=LAMBDA_P,
        continuation=continuation,
        ent_coef=eta,
        **{**settings, **kwargs},
    ).policy


def naive_loss(actor: nn.Module, imagination: Imagination, *, continuation: str) -> Tensor:
    """The trap: the surrogate of REINFORCE weighed by probabilities that carry gradient."""
    pondered = actor(imagination.trajectories, at=imagination.halts)
    advantage = ((imagination.lambda_values - imagination.values[:-1]) / INVSCALE).squeeze(-1)
    surrogate = -imagination.discount[:-1, :, 0] * pondered.policies[0].log_prob(imagination.actions)[:-1] * advantage
    return (pondered.log_halting[0].exp() * surrogate).sum() / surrogate.numel() * len(imagination.weights)


def expected_loss(
    actor: nn.Module, mdp: TinyMDP, horizon: int, continuation: str, loss: Loss, lmbda: float = 1.0, **kwargs: Any
) -> Tensor:
    """The loss, averaged exactly over all that can be imagined from roots in every state."""
    halting, policies = (table.detach() for table in actor.tables())
    roots, max_halts = halting.shape
    by_step = [
        [trajectories(mdp, halting, policies, root, n, horizon, continuation) for root in range(roots)]
        for n in range(1, max_halts + 1)
    ]
    if kwargs.get("estimator") == "marginal":  # one trajectory from each root, whose first halt is a sample too
        weights = torch.ones(1, roots)
        rows = [
            [(halting[root, n].item() * prob, row) for n in range(max_halts) for prob, row in by_step[n][root]]
            for root in range(roots)
        ]
    else:
        weights, rows = halting.T, [row for rows in by_step for row in rows]
    assert all(math.isclose(sum(prob for prob, _ in row), 1) for row in rows)
    total = torch.zeros(())
    for mass, outcome in coupled(rows):
        imagination = imagination_of(mdp, outcome, weights, lmbda)
        total = total + mass * loss(actor, imagination, continuation=continuation, **kwargs)
    return total


def tree_gradient(
    actor: nn.Module, mdp: TinyMDP, horizon: int, continuation: str, eta: float = 0.0, entropy: str = "steps"
) -> Tensor:
    """The gradient of what is maximised: the normalised return and `eta` times the entropies, averaged over roots."""
    tables = actor.tables()
    objectives = [
        tree_return(mdp, *tables, root, horizon, continuation) / INVSCALE
        + eta * tree_entropy(mdp, *tables, root, horizon, continuation, entropy)
        for root in range(len(mdp.rewards))
    ]
    return flat_gradient(torch.stack(objectives).mean(), actor)


@pytest.mark.parametrize(
    ("states", "max_halts", "horizon", "eta"), [(2, 2, 2, 0.0), (2, 2, 2, 0.4), (2, 2, 3, 0.4), (3, 3, 2, 0.4)]
)
@CONTINUATIONS
def test_the_expected_gradient_is_that_of_the_branching_tree(
    states: int, max_halts: int, horizon: int, eta: float, continuation: str
) -> None:
    mdp, actor = random_mdp(states), TabularActor(states, max_halts)
    loss = expected_loss(actor, mdp, horizon, continuation, our_loss, eta=eta)
    expected = tree_gradient(actor, mdp, horizon, continuation, eta)
    # The loss is averaged over the horizon
    torch.testing.assert_close(-horizon * flat_gradient(loss, actor), expected, atol=1e-10, rtol=1e-8)
    assert expected.abs().max() > 0.01


@pytest.mark.parametrize(("continuation", "compiles"), [("sample", False), ("commit", False), ("sample", True)])
def test_the_real_actor_whose_steps_have_common_weights_gets_the_gradient_of_the_tree(
    continuation: str, compiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiles)  # the net has another code for that
    mdp, actor = random_mdp(3), RealActor(3, 3)
    loss = expected_loss(actor, mdp, 2, continuation, our_loss, eta=0.4)
    expected = tree_gradient(actor, mdp, 2, continuation, eta=0.4)
    torch.testing.assert_close(-2 * flat_gradient(loss, actor), expected, atol=1e-6, rtol=1e-5)


def test_with_a_true_critic_lambda_changes_no_gradient() -> None:
    mdp, actor = random_mdp(2), TabularActor(2, 2)
    halting, policies = actor.tables()
    # V = P (r + gamma c V), P being the transitions of the actor that halts by p and acts by pi
    chain = torch.einsum("zn,zna,zay->zy", halting, policies, mdp.transitions).detach()
    values = torch.linalg.solve(torch.eye(2) - mdp.gamma * chain * mdp.continues, chain @ mdp.rewards)
    mdp = mdp._replace(values=values)
    loss = expected_loss(actor, mdp, 2, "sample", our_loss, lmbda=0.6)
    expected = tree_gradient(actor, mdp, 2, "sample")
    torch.testing.assert_close(-2 * flat_gradient(loss, actor), expected, atol=1e-10, rtol=1e-8)


@pytest.mark.parametrize(("states", "max_halts", "horizon"), [(2, 2, 2), (3, 3, 2)])
@CONTINUATIONS
def test_a_gradient_through_the_weights_of_the_surrogate_would_be_wrong(
    states: int, max_halts: int, horizon: int, continuation: str
) -> None:
    mdp, actor = random_mdp(states), TabularActor(states, max_halts)
    loss = expected_loss(actor, mdp, horizon, continuation, naive_loss)
    naive, expected = -horizon * flat_gradient(loss, actor), tree_gradient(actor, mdp, horizon, continuation)
    of_actions = actor.action_logits.numel()
    torch.testing.assert_close(naive[:of_actions], expected[:of_actions], rtol=1e-8, atol=1e-10)
    naive, expected = naive[of_actions:], expected[of_actions:]
    assert (naive - expected).norm() > 0.5 * expected.norm()


@CONTINUATIONS
def test_trajectories_that_earn_what_the_critic_expects_teach_nothing(continuation: str) -> None:
    mdp, actor = random_mdp(2), TabularActor(2, 2)
    rows = [Trajectory((root, 1, 0), (1, 0, 1), (n, 2, 1)) for n in (1, 2) for root in (0, 1)]
    imagination = imagination_of(mdp, rows, actor.tables()[0].detach().T)
    imagination = imagination._replace(lambda_values=imagination.values[:-1])
    loss = our_loss(actor, imagination, continuation=continuation)
    assert not flat_gradient(loss, actor).any()


def two_step_bandit(loss: Loss) -> tuple[float, float]:
    """The gradient to the logit of `lambda_1`, by a loss and exactly.

    Ponder step 1 is right 95 times of 100, step 2 with the probability sigmoid(0.5); p_1 = 0.6. Right pays 2, wrong
    nothing, and the baseline is the expected return.
    """
    actor = TabularActor(3, 2)
    with torch.no_grad():
        actor.halting_logits.copy_(torch.tensor([[math.log(1.5), 0.0]]).expand(3, 2))
        actor.action_logits.copy_(torch.tensor([[0.0, math.log(19)], [0.0, 0.5]]).expand(3, 2, 2))
    probs, policies = (table[0].detach() for table in actor.tables())
    expected_return = 2 * probs @ policies[:, 1]
    to_wrong_or_right = torch.tensor([[0, 1, 0], [0, 0, 1]]).double().expand(3, 2, 3)
    values = torch.tensor([expected_return, 0, 0]).double()
    mdp = TinyMDP(to_wrong_or_right, torch.tensor([0, 0, 2]).double(), torch.tensor([1, 0, 0]).double(), values, 1.0)
    expected_loss(actor, mdp, 1, "sample", loss).backward()
    # Three roots are averaged, of which one is the bandit, and the advantages are divided by their scale
    return -3 * INVSCALE.item() * actor.halting_logits.grad[0, 0].item(), (
        probs[0] * probs[1] * 2 * (policies[0, 1] - policies[1, 1])
    ).item()


def test_in_a_bandit_the_naive_gradient_even_has_the_wrong_sign() -> None:
    ours, exact = two_step_bandit(our_loss)
    naive, _ = two_step_bandit(naive_loss)
    assert ours == pytest.approx(exact)
    assert (round(ours, 3), round(naive, 3)) == (0.157, -0.064)


@pytest.mark.parametrize("max_halts", [2, 3])
def test_the_regulariser_is_the_mean_divergence_of_the_roots_from_the_prior(max_halts: int) -> None:
    mdp, actor = random_mdp(3), TabularActor(3, max_halts)

    def kl(actor: nn.Module, imagination: Imagination, **kwargs: Any) -> Tensor:
        settings = {"objective_mix": None, "is_continuous": False, "actions_dim": (2,), "ent_coef": 0.1}
        settings |= {"estimator": "trajectories", "entropy": "steps"}
        return actor_loss(actor, imagination, OFFSET, INVSCALE, lambda_p=LAMBDA_P, **settings, **kwargs).kl

    prior = LAMBDA_P * (1 - LAMBDA_P) ** torch.arange(max_halts, dtype=torch.float64)
    halting = actor.tables()[0]
    expected = (halting * (halting / (prior / prior.sum())).log()).sum(-1).mean()
    ours = expected_loss(actor, mdp, 1, "sample", kl)
    torch.testing.assert_close(ours, expected, check_dtype=False)
    torch.testing.assert_close(flat_gradient(ours, actor), flat_gradient(expected, actor), rtol=1e-6, atol=1e-8)


class GaussianActor(nn.Module):
    """One state, in which ponder step n acts by `N(mean_n, std_n)`."""

    def __init__(self) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.tensor([0.3, -0.8, 1.1]).double())
        self.log_stds = nn.Parameter(torch.tensor([-0.2, 0.4, -1.0]).double())
        self.halting_logits = nn.Parameter(torch.tensor([-0.5, 0.8, 0.0]).double())

    def forward(self, states: Tensor, *, at: Tensor, dreams: None) -> PonderedActions:
        mean, std = (x[at - 1].unsqueeze(-1) for x in (self.means, self.log_stds.exp()))
        log_halting = stick_breaking(self.halting_logits).log()[at - 1]
        return PonderedActions((mean,), (Independent(Normal(mean, std), 1),), at, log_halting, None)


@pytest.mark.parametrize("mix", [None, 0.0, 0.5, 1.0])
@CONTINUATIONS
def test_for_continuous_actions_the_gradient_is_exact_whatever_the_objective_mix(
    mix: float | None, continuation: str
) -> None:
    # One step, reward a - a^2; Gauss-Hermite nodes integrate polynomials exactly
    actor, eta = GaussianActor(), 0.3
    halts = torch.tensor([[1, 2, 3]]).expand(2, 3)
    probs = stick_breaking(actor.halting_logits)
    expected_loss = torch.zeros(())
    for node, mass in zip(*np.polynomial.hermite_e.hermegauss(8), strict=True):
        actions = (actor.means + actor.log_stds.exp() * node).view(1, 3, 1)
        rewards = actions - actions**2
        ones = torch.ones(2, 3, 1).double()
        weights = probs.detach().unsqueeze(1)
        imagination = Imagination(ones, actions.repeat(2, 1, 1), 0.4 * ones, rewards, ones, halts, weights, None)
        settings = {"objective_mix": mix, "is_continuous": True, "actions_dim": (1,)}
        loss = our_loss(actor, imagination, continuation=continuation, eta=eta, **settings)
        expected_loss = expected_loss + mass / math.sqrt(2 * math.pi) * loss
    stds = actor.log_stds.exp()
    returns = actor.means - actor.means**2 - stds**2
    entropies = 0.5 + 0.5 * math.log(2 * math.pi) + actor.log_stds
    expected = (probs * (returns / INVSCALE + eta * entropies)).sum()
    torch.testing.assert_close(
        -flat_gradient(expected_loss, actor), flat_gradient(expected, actor), rtol=1e-8, atol=1e-10
    )
