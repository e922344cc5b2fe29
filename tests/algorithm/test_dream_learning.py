"""What dreams teach: a better policy where the world is known, and when to go on dreaming."""

import math

import pytest
import torch
from tiny_actors import GivenGains, gains_of, ponder_actor
from tiny_mdp import TinyMDP, TinyWorldModel
from torch import Tensor, nn

from sheeprl_dnp.dreamer_v3_ponder.imagination import imagine
from sheeprl_dnp.dreamer_v3_ponder.loss import actor_loss
from sheeprl_dnp.dreamer_v3_ponder.steps import Dream, DreamHalting
from sheeprl_dnp.dreamer_v3_ponder.utils import halt_mass_key

LAMBDA_P = 0.3


def deterministic_mdp(states: int = 5, actions: int = 3) -> TinyMDP:
    g = torch.Generator().manual_seed(4)
    transitions = torch.eye(states)[torch.randint(states, (states, actions), generator=g)].double()
    rewards = torch.randn(states, generator=g, dtype=torch.float64)
    return TinyMDP(transitions, rewards, torch.ones(states).double(), torch.zeros(states).double(), 0.9)


def true_values(mdp: TinyMDP, policy: Tensor) -> Tensor:
    """V = P (r + gamma c V), of the policy `[S, A]`."""
    chain = torch.einsum("za,zay->zy", policy, mdp.transitions)
    return torch.linalg.solve(torch.eye(len(chain)) - mdp.gamma * chain * mdp.continues, chain @ mdp.rewards)


@pytest.mark.parametrize("kappa", [0.3, 3.0, 30.0])
def test_with_an_exact_model_dreaming_of_every_action_improves_the_policy_in_every_state(kappa: float) -> None:
    mdp = deterministic_mdp()
    first = torch.randn(5, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64).softmax(-1)
    gains = gains_of(mdp._replace(values=true_values(mdp, first)), 1.0)
    step = Dream(GivenGains(gains), 1, 4, halts=False).double()
    nn.init.constant_(step.log_kappa, math.log(kappa))
    policies = step.unroll((first.log(), torch.eye(5).double(), torch.zeros(5, 1).double()), None, 4)[0].exp()
    before, after = true_values(mdp, policies[:, 0]), true_values(mdp, policies[:, -1])
    assert (after > before + 1e-6).all()
    at_once = (policies[:, -1] * gains).sum(-1) - (first * gains).sum(-1)
    assert (at_once[gains.std(-1) > 1e-9] > 0).all()


def context_bandit() -> TinyMDP:
    """Action 0 pays 1 in state 0, action 1 in state 1; then it ends."""
    wrong, right = torch.eye(4)[2:].double()
    transitions = torch.stack((right, wrong, wrong, right, wrong, wrong, wrong, wrong)).view(4, 2, 4)
    values = torch.tensor([0.5, 0.5, 0, 0]).double()
    return TinyMDP(transitions, right, torch.tensor([1, 1, 0, 0]).double(), values, 1.0)


def test_halting_learns_to_stop_where_the_first_candidate_is_right_and_to_go_on_where_it_isnt() -> None:
    torch.manual_seed(0)
    mdp = context_bandit()
    step = Dream(GivenGains(gains_of(mdp, 1.0).float()), 8, 2, halts=True)
    steps = {"step_module": step, "halting_module": DreamHalting(LAMBDA_P)}
    actor = ponder_actor(4 + 2, 2, units=8, lambda_p=LAMBDA_P, **steps)
    # Step 1 takes action 0 in both states, 99 times in 100: right in state 0, wrong in state 1
    actor.requires_grad_(False)
    nn.init.zeros_(actor.mlp_heads[0].weight)
    actor.mlp_heads[0].bias.copy_(torch.tensor([math.log(99), 0.0]))
    for module in (step, actor.ponder.halting_module):
        module.requires_grad_(True)
    world = TinyWorldModel(mdp)
    optimizer = torch.optim.Adam([weights for weights in actor.parameters() if weights.requires_grad], lr=0.05)
    start = (torch.eye(4)[torch.arange(64) % 2].view(1, 64, 1, 4), torch.zeros(1, 64, 2), torch.zeros(1, 64, 1))
    settings = {"estimator": "marginal", "entropy": "steps", "continuation": "sample", "objective_mix": None}
    settings |= {"is_continuous": False, "actions_dim": (2,), "ent_coef": 0.0, "lambda_p": LAMBDA_P}
    for _ in range(150):
        with torch.no_grad():
            rollout = {"horizon": 1, "gamma": 1.0, "lmbda": 1.0, "copies": 1, "continuation": "sample"}
            imagined = imagine(world, actor, world.critic, *start, **rollout)
        loss = actor_loss(actor, imagined, torch.tensor(0.0), torch.tensor(1.0), **settings)
        optimizer.zero_grad()
        (loss.policy + 0.05 * loss.kl).backward()
        optimizer.step()
    stops = actor(torch.cat((torch.eye(4)[:2], torch.zeros(2, 2)), -1), at="every").log_halting.exp()[:, 0]
    # argmax_p sum_n p_n R_n - beta KL(p || p_G) is p_n ~ p_G(n) exp(R_n / beta), which is about the prior in state 0
    assert 0.5 < stops[0] < 0.65 and stops[1] < 0.01
    assert halt_mass_key(1) in loss.metrics
