"""Actors for processes so small that all they can do is enumerated: `tables()` are their p and pi, by definition.

States are one-hot latents. `halting` is p, `[S, N]`; `policies` are pi, `[S, N, A]`: both functions of the weights.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from sheeprl.algos.dreamer_v3.agent import Actor
from tiny_mdp import TinyMDP, TinyWorldModel, random_mdp
from torch import Tensor, nn
from torch.distributions import OneHotCategorical

from sheeprl_dnp.dreamer_v3_ponder.agent import PonderActor, PonderedActions
from sheeprl_dnp.dreamer_v3_ponder.imagination import imagine
from sheeprl_dnp.dreamer_v3_ponder.lookahead import Lookahead
from sheeprl_dnp.dreamer_v3_ponder.steps import Dream, DreamHalting, Refine
from sheeprl_dnp.pondernet import PonderNet


def stick_breaking(logits: Tensor) -> Tensor:
    """`p_n = lambda_n prod_{i<n} (1 - lambda_i)`, the last step taking what is left: `[..., N]`."""
    probs, left = [], torch.ones_like(logits[..., 0])
    for logit in logits.unbind(-1)[:-1]:
        probs.append(left * logit.sigmoid())
        left = left * (1 - logit.sigmoid())
    return torch.stack((*probs, left), -1)


class TabularActor(nn.Module):
    """One logit for each action, and one for halting, in each state at each ponder step."""

    def __init__(self, states: int, max_halts: int, actions: int = 2, seed: int = 1) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(seed)
        self.action_logits = nn.Parameter(torch.randn(states, max_halts, actions, generator=g, dtype=torch.float64))
        self.halting_logits = nn.Parameter(torch.randn(states, max_halts, generator=g, dtype=torch.float64))

    def tables(self) -> tuple[Tensor, Tensor]:
        return stick_breaking(self.halting_logits), self.action_logits.softmax(-1)

    def forward(self, states: Tensor, *, at: str | Tensor, dreams: None = None) -> PonderedActions:
        states = states.argmax(-1)
        if isinstance(at, str):
            assert at == "every"
            at, states = torch.arange(1, self.halting_logits.shape[1] + 1), states.unsqueeze(-1)
        index = (states, at - 1)
        policy = OneHotCategorical(logits=self.action_logits[index])
        halts = at.expand(policy.logits.shape[:-1])
        return PonderedActions((policy.sample(),), (policy,), halts, self.tables()[0][index].log(), None)


def ponder_actor(
    inputs: int,
    max_halts: int,
    *,
    actions_dim: Sequence[int] = (2,),
    units: int = 4,
    lambda_p: float = 0.5,
    step_module: nn.Module | None = None,
    halting_module: nn.Module | None = None,
    **kwargs: object,
) -> PonderActor:
    """The real pondering actor, small: SheepRL's `Actor` and a `PonderNet`, which max_halts = 1 doesn't have."""
    kwargs = {"is_continuous": False, "distribution_cfg": {"type": "auto"}, "unimix": 0.0, **kwargs}
    actor = Actor(inputs, actions_dim, dense_units=units, mlp_layers=1, **kwargs)
    step_module = step_module or Refine(nn.Sequential(nn.Linear(2 * units, units), nn.Tanh()))
    net = PonderNet(step_module, halting_module or nn.Linear(units, 1), max_halts, lambda_p)
    return PonderActor(actor, net if max_halts > 1 else None)


class RealActor(nn.Module):
    """The real pondering actor on one-hot states: its steps share all of their weights."""

    def __init__(self, states: int, max_halts: int, seed: int = 1) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.states, self.max_halts = states, max_halts
        self.actor = ponder_actor(states, max_halts).double()

    def tables(self) -> tuple[Tensor, Tensor]:
        step, state, logits, policies = self.actor.ponder.step_module, None, [], []
        features = self.actor.model(torch.eye(self.states).double())
        for _ in range(self.max_halts):
            output, state = step(step.inputs(features, None, None), state)
            logits.append(self.actor.ponder.halting_module(state).squeeze(-1))
            policies.append(self.actor.mlp_heads[0](output).softmax(-1))
        return stick_breaking(torch.stack(logits, -1)), torch.stack(policies, 1)

    def forward(self, states: Tensor, **kwargs: Tensor | bool) -> PonderedActions:
        return self.actor(states, **kwargs)


class GivenGains(Lookahead):
    """A look ahead whose gains are those of a table, `[S, A]`, in units of the returns' scale."""

    def __init__(self, table: Tensor) -> None:
        self.table = table

    def gains(self, latents: Tensor, actions: Tensor) -> Tensor:
        return self.table[latents.argmax(-1)].gather(1, actions)


def gains_of(mdp: TinyMDP, scale: float) -> Tensor:
    """`(r(z') + gamma c(z') V(z') - V(z)) / S` of the most probable outcome of each action: `[S, A]`."""
    outcomes = mdp.transitions.argmax(-1)
    returns = mdp.rewards[outcomes] + mdp.gamma * mdp.continues[outcomes] * mdp.values[outcomes]
    return (returns - mdp.values.unsqueeze(1)) / scale


class DreamingActor(nn.Module):
    """The real actor whose steps dream, on one-hot states, and by definition (`tables`)."""

    def __init__(self, gains: Tensor, max_halts: int, seed: int = 1) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.table, self.max_halts = gains, max_halts
        states, actions = gains.shape
        step = Dream(GivenGains(gains), 4, max_halts, halts=True)
        steps = {"step_module": step, "halting_module": DreamHalting(0.4)}
        self.actor = ponder_actor(states, max_halts, actions_dim=(actions,), unimix=0.01, **steps).double()
        with torch.no_grad():
            self.actor.ponder.halting_module.linear.weight.copy_(torch.tensor([[0.03, -0.7, 0.5]]))
            self.actor.ponder.step_module.from_features.weight.normal_()
            self.actor.ponder.step_module.log_kappa.fill_(math.log(0.8))

    def tables(self) -> tuple[Tensor, Tensor]:
        ponder, heads = self.actor.ponder, self.actor._heads[0]
        features = self.actor.model(torch.eye(len(self.table)).double())
        first = heads._uniform_mix(self.actor.mlp_heads[0](features)).softmax(-1)
        logits, policies = [], []
        for z in range(len(self.table)):
            candidates = sorted(range(first.shape[1]), key=lambda a: (-first[z, a].item(), a))
            seen, steps = [], []
            for n in range(self.max_halts):
                dreamed = candidates[:n]
                gains = [self.table[z, a] if a in dreamed else 0 * self.table[z, a] for a in range(first.shape[1])]
                unnormalised = first[z] * (ponder.step_module.log_kappa.exp() * torch.stack(gains)).exp()
                policy = unnormalised / unnormalised.sum()
                best = max((self.table[z, a] for a in dreamed), default=torch.zeros(()).double())
                number = torch.tensor((n + 1) / self.max_halts, dtype=torch.float64)
                seen.append(torch.stack((10 * best, -(policy * policy.log()).sum(), number)))
                steps.append(policy)
            share = ponder.step_module.from_features(features[z])
            logits.append(share + ponder.halting_module.linear(torch.stack(seen)).squeeze(-1))
            policies.append(torch.stack(steps))
        return stick_breaking(torch.stack(logits)), torch.stack(policies)

    def forward(self, states: Tensor, **kwargs: Any) -> PonderedActions:
        return self.actor(states, **kwargs)


# What the real imagination makes
class Imagined:
    """What the real `imagine` makes with the real actor: 3 ponder steps, 4 steps from `[T, B]` roots of a process."""

    def __init__(self, continuation: str, sequence: int = 2, batch: int = 3, copies: int | None = None) -> None:
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
                copies=copies or self.max_halts,
                continuation=continuation,
                horizon=self.horizon,
                gamma=self.mdp.gamma,
                lmbda=0.9,
            )

    def halting_probs(self, latents: Tensor) -> Tensor:
        """p of every latent state, `[*, N]`, computed by the forward of the `PonderNet`."""
        features = self.actor.model(latents).flatten(0, -2)
        inputs = self.actor.ponder.step_module.inputs(features, None, None)
        return self.actor.ponder(inputs).halting_probs.view(*latents.shape[:-1], -1).detach()
