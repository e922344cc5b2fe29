"""The losses against the exact gradient of a branching tree, on decision processes small enough to enumerate.

An imagination never branches: it samples. So its expected gradient, over all that it can sample, must be that of the
tree in which the actor branches at each ponder step of each state.
"""

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from sheeprl.algos.dreamer_v3 import dreamer_v3
from sheeprl.algos.dreamer_v3.utils import Moments
from tiny_mdp import (
    RealActor,
    TabularActor,
    TinyMDP,
    TinyWorldModel,
    Trajectory,
    coupled,
    imagination_of,
    ponder_actor,
    random_mdp,
    stick_breaking,
    trajectories,
    tree_entropy,
    tree_return,
)
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from sheeprl_dnp.dreamer_v3_ponder.agent import PonderedActions
from sheeprl_dnp.dreamer_v3_ponder.imagination import Imagination, imagine
from sheeprl_dnp.dreamer_v3_ponder.loss import actor_loss, critic_loss, halting_weighted_mean
from sheeprl_dnp.dreamer_v3_ponder.utils import WeightedMoments, weighted_quantile

OFFSET, INVSCALE, LAMBDA_P = torch.tensor(0.7), torch.tensor(2.5), 0.3
CONTINUATIONS = pytest.mark.parametrize("continuation", ["sample", "commit"])
Loss = Callable[..., Tensor]


def our_loss(
    actor: nn.Module, imagination: Imagination, *, continuation: str, max_halts: int, eta: float = 0.0, **kwargs: Any
) -> Tensor:
    settings = {"objective_mix": None, "is_continuous": False, "actions_dim": (imagination.actions.shape[-1],)}
    return actor_loss(
        actor,
        imagination,
        OFFSET,
        INVSCALE,
        max_halts=max_halts,
        lambda_p=LAMBDA_P,
        continuation=continuation,
        ent_coef=eta,
        **{**settings, **kwargs},
    ).policy


def naive_loss(actor: nn.Module, imagination: Imagination, *, continuation: str, max_halts: int) -> Tensor:
    """The trap: the surrogate of REINFORCE weighed by probabilities that carry gradient."""
    pondered = actor(imagination.trajectories, halts=imagination.halts)
    advantage = ((imagination.lambda_values - imagination.values[:-1]) / INVSCALE).squeeze(-1)
    surrogate = -imagination.discount[:-1, :, 0] * pondered.policies[0].log_prob(imagination.actions)[:-1] * advantage
    return (pondered.log_halting[0].exp() * surrogate).sum() / surrogate.numel() * max_halts


def flat_gradient(value: Tensor, actor: nn.Module) -> Tensor:
    gradients = torch.autograd.grad(value, tuple(actor.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


def expected_loss(
    actor: nn.Module, mdp: TinyMDP, horizon: int, continuation: str, loss: Loss, lmbda: float = 1.0, **kwargs: Any
) -> Tensor:
    """The loss, averaged exactly over all that can be imagined from roots in every state."""
    halting, policies = (table.detach() for table in actor.tables())
    roots, max_halts = halting.shape
    rows = [
        trajectories(mdp, halting, policies, root, n, horizon, continuation)
        for n in range(1, max_halts + 1)
        for root in range(roots)
    ]
    assert all(math.isclose(sum(prob for prob, _ in row), 1) for row in rows)
    total = torch.zeros(())
    for mass, outcome in coupled(rows):
        imagination = imagination_of(mdp, outcome, halting.T.flatten(), lmbda)
        total = total + mass * loss(actor, imagination, continuation=continuation, max_halts=max_halts, **kwargs)
    return total


def tree_gradient(actor: nn.Module, mdp: TinyMDP, horizon: int, continuation: str, eta: float = 0.0) -> Tensor:
    """The gradient of what is maximised: the normalised return and `eta` times the entropies, averaged over roots."""
    tables = actor.tables()
    objectives = [
        tree_return(mdp, *tables, root, horizon, continuation) / INVSCALE
        + eta * tree_entropy(mdp, *tables, root, horizon, continuation)
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
def test_the_real_actor_with_its_shared_weights_gets_the_gradient_of_the_tree(
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
    imagination = imagination_of(mdp, rows, actor.tables()[0].detach().T.flatten())
    imagination = imagination._replace(lambda_values=imagination.values[:-1])
    loss = our_loss(actor, imagination, continuation=continuation, max_halts=2)
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
        return actor_loss(actor, imagination, OFFSET, INVSCALE, lambda_p=LAMBDA_P, **settings, **kwargs).kl

    prior = LAMBDA_P * (1 - LAMBDA_P) ** torch.arange(max_halts, dtype=torch.float64)
    halting = actor.tables()[0]
    expected = (halting * (halting / (prior / prior.sum())).log()).sum(-1).mean()
    ours = expected_loss(actor, mdp, 1, "sample", kl)
    torch.testing.assert_close(ours, expected, check_dtype=False)
    torch.testing.assert_close(flat_gradient(ours, actor), flat_gradient(expected, actor), rtol=1e-6, atol=1e-8)


# Continuous actions -------------------------------------------------------------------------------------------------
class GaussianActor(nn.Module):
    """One state, in which ponder step n acts by `N(mean_n, std_n)`."""

    def __init__(self) -> None:
        super().__init__()
        self.means = nn.Parameter(torch.tensor([0.3, -0.8, 1.1]).double())
        self.log_stds = nn.Parameter(torch.tensor([-0.2, 0.4, -1.0]).double())
        self.halting_logits = nn.Parameter(torch.tensor([-0.5, 0.8, 0.0]).double())

    def forward(self, states: Tensor, *, halts: Tensor) -> PonderedActions:
        mean, std = (x[halts - 1].unsqueeze(-1) for x in (self.means, self.log_stds.exp()))
        log_halting = stick_breaking(self.halting_logits).log()[halts - 1]
        return PonderedActions((mean,), (Independent(Normal(mean, std), 1),), halts, log_halting)


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
        imagination = Imagination(ones, torch.cat((actions, actions)), 0.4 * ones, rewards, ones, halts, probs.detach())
        settings = {"objective_mix": mix, "is_continuous": True, "actions_dim": (1,)}
        loss = our_loss(actor, imagination, continuation=continuation, max_halts=3, eta=eta, **settings)
        expected_loss = expected_loss + mass / math.sqrt(2 * math.pi) * loss
    stds = actor.log_stds.exp()
    returns = actor.means - actor.means**2 - stds**2
    entropies = 0.5 + 0.5 * math.log(2 * math.pi) + actor.log_stds
    expected = (probs * (returns / INVSCALE + eta * entropies)).sum()
    torch.testing.assert_close(
        -flat_gradient(expected_loss, actor), flat_gradient(expected, actor), rtol=1e-8, atol=1e-10
    )


# The real imagination -----------------------------------------------------------------------------------------------
class Imagined:
    """What the real `imagine` makes with the real actor: 3 ponder steps, 4 steps from `[T, B]` roots of a process."""

    def __init__(self, continuation: str, sequence: int = 2, batch: int = 3) -> None:
        torch.manual_seed(5)
        self.mdp, self.horizon, self.max_halts = random_mdp(3), 4, 3
        self.actor = ponder_actor(3 + 2, self.max_halts)
        nn.init.normal_(self.actor.ponder.halting_module.weight, std=2.0)
        world = TinyWorldModel(self.mdp)
        self.states = torch.arange(sequence * batch) % 3
        self.terminated = (self.states == 2).view(sequence, batch, 1).float()
        posteriors = torch.eye(3)[self.states].view(sequence, batch, 1, 3)
        self.recurrent = torch.randn(sequence, batch, 2)
        self.roots = torch.cat((posteriors.flatten(2), self.recurrent), -1).flatten(0, 1)  # [M, L]
        with torch.no_grad():
            self.imagination = imagine(
                world,
                self.actor,
                world.critic,
                posteriors,
                self.recurrent,
                self.terminated,
                max_halts=self.max_halts,
                continuation=continuation,
                horizon=self.horizon,
                gamma=self.mdp.gamma,
                lmbda=0.9,
            )

    def halting_probs(self, latents: Tensor) -> Tensor:
        """p of every latent state, `[*, N]`, computed by the forward of the `PonderNet`."""
        features = self.actor.model(latents)
        return self.actor.ponder(features.flatten(0, -2)).halting_probs.view(*latents.shape[:-1], -1).detach()


@CONTINUATIONS
def test_row_n_minus_1_times_m_plus_m_is_ponder_step_n_of_root_m(continuation: str) -> None:
    imagined = Imagined(continuation)
    imagination, n, m = imagined.imagination, imagined.max_halts, len(imagined.roots)
    by_step = imagination.trajectories[0].view(n, m, -1)
    assert all(torch.equal(roots, imagined.roots) for roots in by_step)
    assert imagination.halts[0].view(n, m).tolist() == [[step] * m for step in (1, 2, 3)]
    weights = imagination.weights.view(n, m)
    torch.testing.assert_close(weights, imagined.halting_probs(imagined.roots).T)
    torch.testing.assert_close(weights.sum(0), torch.ones(m))
    assert not imagination.weights.requires_grad
    assert weights.std() > 0.05


@CONTINUATIONS
def test_the_imagination_records_what_the_world_model_was_given(continuation: str) -> None:
    imagined = Imagined(continuation, batch=60)
    mdp, states = imagined.mdp, imagined.imagination.trajectories[..., :3].argmax(-1)
    actions, halts = imagined.imagination.actions, imagined.imagination.halts
    assert torch.equal(imagined.imagination.trajectories[1:, :, 3:], actions[:-1])
    rows = [tuple(tuple(x.tolist()) for x in row) for row in zip(states.T, actions.argmax(-1).T, halts.T, strict=True)]
    expected = imagination_of(mdp, rows, imagined.imagination.weights, lmbda=0.9)
    assert torch.equal(halts, expected.halts)
    for name in ("values", "lambda_values"):
        ours = getattr(imagined.imagination, name)
        torch.testing.assert_close(ours, getattr(expected, name), check_dtype=False, rtol=1e-5, atol=1e-5)
    # Roots that are terminal count for nothing
    torch.testing.assert_close(imagined.imagination.discount, expected.discount, check_dtype=False)


def test_a_trajectory_that_commits_never_changes_its_ponder_step() -> None:
    halts = Imagined("commit").imagination.halts
    assert torch.equal(halts, halts[:1].expand_as(halts))


@pytest.mark.parametrize("compiles", [False, True])
def test_a_trajectory_that_samples_halts_like_the_deployed_agent(
    compiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiles)
    imagined = Imagined("sample", sequence=30, batch=60)
    halts, latents = imagined.imagination.halts[1:], imagined.imagination.trajectories[1:]
    probs = imagined.halting_probs(latents)
    surprise = F.one_hot(halts - 1, 3) - probs  # zero on average, in each state
    for state in range(3):
        there = latents[..., state] == 1
        deviation = surprise[there].mean(0) / (surprise[there].std(0) / math.sqrt(there.sum()))
        assert deviation.abs().max() < 4
    assert (probs.amax((0, 1)) - probs.amin((0, 1))).min() > 0.1  # p isn't the same everywhere


@CONTINUATIONS
def test_each_action_comes_from_its_ponder_step(continuation: str) -> None:
    imagined = Imagined(continuation, sequence=30, batch=60)
    imagination = imagined.imagination
    policies = imagined.actor(imagination.trajectories, halts=imagination.halts).policies[0]
    surprise = (imagination.actions - policies.probs)[..., 0].detach()
    for step in (1, 2, 3):
        there = surprise[imagination.halts == step]
        assert (there.mean() / (there.std() / math.sqrt(len(there)))).abs() < 4


# One ponder step is DreamerV3 ---------------------------------------------------------------------------------------
class LinearWorldModel(nn.Module):
    """A differentiable world model, of 2 x 3 stochastic and 4 recurrent latents."""

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.recurrent, self.stochastic = nn.Linear(10 + actions, 4), nn.Linear(4, 6)
        self.reward_model, self.continue_model = nn.Linear(10, 255), nn.Linear(10, 1)
        self.rssm = self

    def imagination(self, prior: Tensor, recurrent: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        recurrent = self.recurrent(torch.cat((prior, recurrent, actions), -1)).tanh()
        return self.stochastic(recurrent).view(-1, 2, 3).softmax(-1), recurrent


@pytest.mark.parametrize("mix", [None, 0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("actions_dim", "kind"), [((3,), "discrete"), ((3, 2), "discrete"), ((2,), "auto"), ((2,), "tanh_normal")]
)
@CONTINUATIONS
def test_with_one_ponder_step_every_number_is_dreamer_v3s(
    mix: float | None, actions_dim: tuple[int, ...], kind: str, continuation: str
) -> None:
    torch.manual_seed(0)
    is_continuous = kind != "discrete"
    settings = {"is_continuous": is_continuous, "distribution_cfg": {"type": kind}, "min_std": 0.1, "unimix": 0.01}
    ours = ponder_actor(10, 1, actions_dim=actions_dim, **settings)
    theirs = copy.deepcopy(ours._heads[0])
    theirs.model = copy.deepcopy(ours.model)
    world, critic, target = LinearWorldModel(sum(actions_dim)), nn.Linear(10, 255), nn.Linear(10, 255)
    roots = (torch.rand(3, 5, 2, 3), torch.randn(3, 5, 4), (torch.rand(3, 5, 1) < 0.2).float())
    rollout = {"horizon": 4, "gamma": 0.99, "lmbda": 0.95, "action_clip": float(is_continuous)}
    loss = {"objective_mix": mix, "is_continuous": is_continuous, "actions_dim": actions_dim, "ent_coef": 0.1}

    torch.manual_seed(1)
    imagination = dreamer_v3.imagine(world, theirs, critic, *roots, **rollout)
    their_loss = dreamer_v3.actor_loss(theirs, *imagination, OFFSET, INVSCALE, **loss)
    trajectories, _, _, lambda_values, discount = imagination
    their_value_loss = dreamer_v3.critic_loss(critic, target, trajectories, lambda_values, discount)
    their_gradients = torch.autograd.grad(their_loss, tuple(theirs.parameters()))
    their_critic_gradients = torch.autograd.grad(their_value_loss, tuple(critic.parameters()))

    torch.manual_seed(1)
    ponder = {"max_halts": 1, "continuation": continuation}
    ours_imagined = imagine(world, ours, critic, *roots, **ponder, **rollout)
    our_losses = actor_loss(ours, ours_imagined, OFFSET, INVSCALE, lambda_p=0.3, **ponder, **loss)
    our_value_loss = critic_loss(critic, target, ours_imagined, max_halts=1)
    assert all(torch.equal(x, y) for x, y in zip(ours_imagined, imagination, strict=False))
    assert torch.equal(our_losses.policy, their_loss) and our_losses.kl == 0
    assert torch.equal(our_value_loss, their_value_loss)
    gradients = torch.autograd.grad(our_losses.policy + 0.01 * our_losses.kl, tuple(ours.parameters()))
    assert all(torch.equal(x, y) for x, y in zip(gradients, their_gradients, strict=True))
    critic_gradients = torch.autograd.grad(our_value_loss, tuple(critic.parameters()))
    assert all(torch.equal(x, y) for x, y in zip(critic_gradients, their_critic_gradients, strict=True))


# The weights elsewhere ----------------------------------------------------------------------------------------------
def test_the_loss_of_the_critic_is_dreamer_v3s_under_the_halting_probabilities() -> None:
    imagined = Imagined("sample")
    imagination, n, m = imagined.imagination, imagined.max_halts, len(imagined.roots)
    critic, target = nn.Linear(5, 255), nn.Linear(5, 255)
    one_row = [
        dreamer_v3.critic_loss(critic, target, *(x[:, row : row + 1] for x in (imagination[0], *imagination[3:5])))
        for row in range(n * m)
    ]
    expected = (imagined.halting_probs(imagined.roots).T * torch.stack(one_row).view(n, m)).sum(0).mean()
    ours = critic_loss(critic, target, imagination, max_halts=n)
    torch.testing.assert_close(ours, expected)
    torch.testing.assert_close(flat_gradient(ours, critic), flat_gradient(expected, critic))


def test_the_halting_weighted_mean_sums_over_halts_and_averages_the_rest() -> None:
    x, weights = torch.randn(4, 3 * 5, 1), torch.rand(3, 5)
    expected = sum(weights[n, m] * x[:, n * 5 + m].mean() for n in range(3) for m in range(5)) / 5
    torch.testing.assert_close(halting_weighted_mean(x, weights), expected)


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
