"""Where the halting distribution goes: to the ponder step that pays, or to the prior. Bandits, trained in seconds."""

import math

import pytest
import torch
from tiny_actors import ponder_actor
from tiny_mdp import TinyMDP, TinyWorldModel
from torch import Tensor, nn

from sheeprl_dnp.dreamer_v3_ponder.agent import PonderActor
from sheeprl_dnp.dreamer_v3_ponder.imagination import Imagination, imagine
from sheeprl_dnp.dreamer_v3_ponder.loss import ActorLoss, actor_loss
from sheeprl_dnp.dreamer_v3_ponder.steps import Refine
from sheeprl_dnp.dreamer_v3_ponder.utils import halt_mass_key
from sheeprl_dnp.halting import kl_from_prior

LAMBDA_P, MAX_HALTS = 0.3, 3
CONTINUATIONS = pytest.mark.parametrize("continuation", ["sample", "commit"])


def bandit(reward: float) -> TinyMDP:
    """Every state is the same: action 1 earns `reward` and action 0 nothing, for ever."""
    arrivals = torch.eye(2).double().expand(2, 2, 2)
    return TinyMDP(arrivals, torch.tensor([0, reward]).double(), torch.ones(2), torch.tensor([0.4, 0.4]), 1.0)


def context_bandit() -> TinyMDP:
    """In the states 0 and 1, the action of the same number is right, and pays 1; then it ends."""
    wrong, right = torch.eye(4)[2:].double()
    transitions = torch.stack((right, wrong, wrong, right, wrong, wrong, wrong, wrong)).view(4, 2, 4)
    return TinyMDP(transitions, right, torch.tensor([1, 1, 0, 0]), torch.tensor([0.5, 0.5, 0, 0]), 1.0)


def bandit_actor(*, halting_bias: float, rights: tuple[bool, ...] = ()) -> PonderActor:
    """An actor that sees the same in each state; only its halting is trained, on the features of its ponder steps.

    Ponder step n takes action 1 if `rights[n - 1]` and action 0 otherwise; without `rights`, any action at random.
    """
    torch.manual_seed(0)
    actor = ponder_actor(2 + 2, MAX_HALTS, units=8, lambda_p=LAMBDA_P).requires_grad_(False)
    trunk, head, halting = actor.model._model[0], actor.mlp_heads[0], actor.ponder.halting_module
    trunk.weight[:, 1] = trunk.weight[:, 0]
    for weight in (trunk.weight[:, 2:], head.weight, head.bias, halting.weight):
        weight.zero_()
    halting.bias.fill_(halting_bias)
    if rights:
        inputs = actor.ponder.step_module.inputs(actor.model(torch.eye(4)[:1]), None, None)
        features = actor.ponder(inputs).outputs[0]
        head.weight[1] = torch.linalg.pinv(features) @ (40.0 * torch.tensor(rights) - 20.0)
    halting.requires_grad_(True)
    return actor


def losses(
    actor: PonderActor, mdp: TinyMDP, *, roots: int, horizon: int, continuation: str
) -> tuple[ActorLoss, Imagination]:
    """The real losses on what the real imagination makes of roots in the states 0 and 1."""
    states = len(mdp.rewards)
    world, posteriors = TinyWorldModel(mdp), torch.eye(states)[torch.arange(roots) % 2].view(1, roots, 1, states)
    rollout = {"horizon": horizon, "gamma": mdp.gamma, "lmbda": 1.0}
    start = (posteriors, torch.zeros(1, roots, 2), torch.zeros(1, roots, 1))
    with torch.no_grad():
        imagination = imagine(
            world, actor, world.critic, *start, copies=MAX_HALTS, continuation=continuation, **rollout
        )
    settings = {"objective_mix": None, "is_continuous": False, "actions_dim": (2,), "ent_coef": 0.0}
    settings |= {"estimator": "trajectories", "entropy": "steps", "continuation": continuation}
    offset, scale = torch.tensor(0.7), torch.tensor(1.0)
    return actor_loss(actor, imagination, offset, scale, lambda_p=LAMBDA_P, **settings), imagination


def train(
    actor: PonderActor,
    mdp: TinyMDP,
    *,
    beta: float,
    updates: int,
    lr: float,
    roots: int = 64,
    horizon: int = 1,
    continuation: str = "sample",
) -> Tensor:
    """The mean p of the roots after some updates."""
    optimizer = torch.optim.SGD([weights for weights in actor.parameters() if weights.requires_grad], lr=lr)
    for _ in range(updates):
        loss, _ = losses(actor, mdp, roots=roots, horizon=horizon, continuation=continuation)
        optimizer.zero_grad()
        (loss.policy + beta * loss.kl).backward()
        optimizer.step()
    metrics = losses(actor, mdp, roots=roots, horizon=1, continuation=continuation)[0].metrics
    return torch.stack([metrics[halt_mass_key(n)] for n in range(1, MAX_HALTS + 1)])


def prior() -> Tensor:
    weights = LAMBDA_P * (1 - LAMBDA_P) ** torch.arange(MAX_HALTS)
    return weights / weights.sum()


def divergence(p: Tensor, q: Tensor) -> float:
    return (p * (p / q).log()).sum().item()


@pytest.mark.parametrize(("right", "continuation"), [(1, "sample"), (2, "sample"), (2, "commit"), (3, "sample")])
def test_halting_moves_to_the_only_ponder_step_that_is_right(right: int, continuation: str) -> None:
    actor = bandit_actor(halting_bias=math.log(LAMBDA_P / (1 - LAMBDA_P)), rights=tuple(n == right for n in (1, 2, 3)))
    p = train(actor, bandit(1.0), beta=0.01, updates=50, lr=2.0, roots=16, horizon=2, continuation=continuation)
    assert p[right - 1] > 0.8


@pytest.mark.parametrize(("horizon", "continuation"), [(1, "sample"), (3, "sample"), (3, "commit")])
def test_halting_weighs_what_a_step_earns_against_the_prior(horizon: int, continuation: str) -> None:
    # argmax_p sum_n p_n R_n - beta KL(p || p_G) is p_n ~ p_G(n) exp(R_n / beta), over any undiscounted horizon
    actor = bandit_actor(halting_bias=2.0, rights=(False, True, False))
    p = train(actor, bandit(0.8), beta=1.0, updates=60, lr=1.0, roots=100, horizon=horizon, continuation=continuation)
    expected = prior() * torch.tensor([0.0, 0.8, 0.0]).exp()
    torch.testing.assert_close(p, expected / expected.sum(), atol=0.02, rtol=0)


class ClearsUpAtStepTwo(Refine):
    """A step that shows its input at ponder step 2 and nothing at the others; its state counts the steps."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(nn.Linear(2, 1)))

    def inputs(self, features: Tensor, latents: Tensor, heads: nn.Module) -> Tensor:
        return features

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        state = torch.eye(MAX_HALTS)[0].expand(len(x), -1) if state is None else state.roll(1, -1)
        return x * state[:, 1:2], state


def test_an_actor_that_learns_everything_finds_when_to_act_and_how() -> None:
    torch.manual_seed(0)
    steps = {"step_module": ClearsUpAtStepTwo(), "halting_module": nn.Linear(MAX_HALTS, 1)}
    actor, mdp = ponder_actor(4 + 2, MAX_HALTS, units=8, **steps), context_bandit()
    p = train(actor, mdp, beta=0.01, updates=100, lr=2.0)
    imagination = losses(actor, mdp, roots=64, horizon=1, continuation="sample")[1]
    right = (imagination.trajectories[1, :, 3] * imagination.weights.flatten()).sum() / 64
    assert p[1] > 0.8
    assert right > 0.85


@pytest.mark.parametrize(("halting_bias", "continuation"), [(-2.0, "sample"), (2.0, "sample"), (2.0, "commit")])
def test_where_all_ponder_steps_are_equally_good_halting_goes_to_the_prior(
    halting_bias: float, continuation: str
) -> None:
    actor = bandit_actor(halting_bias=halting_bias)
    arguments = {"horizon": 3, "continuation": continuation}
    start = train(actor, bandit(1.0), beta=0.0, updates=0, lr=0.0, **arguments)
    end = train(actor, bandit(1.0), beta=1.0, updates=50, lr=1.0, **arguments)
    assert divergence(start, prior()) > 0.2
    assert divergence(end, prior()) < 0.01


@CONTINUATIONS
def test_without_a_regulariser_nothing_drives_halting_where_all_ponder_steps_are_equally_good(
    continuation: str,
) -> None:
    actor, halting = bandit_actor(halting_bias=1.0), []
    for _ in range(30):
        loss, _ = losses(actor, bandit(1.0), roots=100, horizon=3, continuation=continuation)
        gradients = torch.autograd.grad(loss.policy, tuple(actor.ponder.halting_module.parameters()))
        halting.append(torch.cat([gradient.flatten() for gradient in gradients]))
    halting = torch.stack(halting)
    assert (halting.mean(0) / (halting.std(0) / math.sqrt(30))).abs().max() < 4
    start = train(actor, bandit(1.0), beta=0.0, updates=0, lr=0.0)
    end = train(actor, bandit(1.0), beta=0.0, updates=30, lr=0.3, roots=100, horizon=3, continuation=continuation)
    assert divergence(end, start) < 0.01


@pytest.mark.parametrize("rights", [(True, True, True), (False, False, False)])
def test_an_advantage_that_all_ponder_steps_share_moves_no_halting(rights: tuple[bool, ...]) -> None:
    actor = bandit_actor(halting_bias=1.0, rights=rights)  # the baseline, 0.4, is wrong for both
    losses(actor, bandit(1.0), roots=4, horizon=1, continuation="sample")[0].policy.backward()
    for weights in actor.ponder.halting_module.parameters():
        torch.testing.assert_close(weights.grad, torch.zeros_like(weights), atol=1e-6, rtol=0)


def test_the_divergence_is_of_the_halting_from_the_prior_and_not_the_reverse() -> None:
    # lambda_n = 0.9: p = (0.9, 0.09, 0.01)
    actor = bandit_actor(halting_bias=math.log(9.0))
    kl = losses(actor, bandit(1.0), roots=4, horizon=1, continuation="sample")[0].kl
    p = torch.tensor([0.9, 0.09, 0.01])
    assert kl.item() == pytest.approx(divergence(p, prior()), rel=1e-4)
    assert abs(divergence(p, prior()) - divergence(prior(), p)) > 0.2
    assert kl_from_prior(prior().log(), LAMBDA_P).item() == pytest.approx(0.0, abs=1e-6)
