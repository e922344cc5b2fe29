"""A Markov decision process so small that everything an actor can do in it is enumerated, and actors for it.

States are one-hot latents. `halting` is p, `[S, N]`; `policies` are pi, `[S, N, A]`: both functions of the weights.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from sheeprl.algos.dreamer_v3.agent import Actor
from torch import Tensor, nn
from torch.distributions import OneHotCategorical

from sheeprl_dnp.dreamer_v3_ponder.agent import PonderActor, PonderedActions
from sheeprl_dnp.dreamer_v3_ponder.imagination import Imagination, imagine
from sheeprl_dnp.dreamer_v3_ponder.steps import Dream, DreamHalting, Lookahead, Refine
from sheeprl_dnp.pondernet import PonderNet


class TinyMDP(NamedTuple):
    transitions: Tensor  # [S, A, S]
    rewards: Tensor  # [S], on arrival
    continues: Tensor  # [S]
    values: Tensor  # [S], what a critic predicts
    gamma: float


class Trajectory(NamedTuple):
    states: tuple[int, ...]
    actions: tuple[int, ...]
    halts: tuple[int, ...]  # from 1


def random_mdp(states: int, seed: int = 0) -> TinyMDP:
    """Action 0 goes to the next state, action 1 stays or goes to the one before; a third state is terminal."""
    g = torch.Generator().manual_seed(seed)
    stay = torch.eye(states).double()
    transitions = torch.stack((stay.roll(1, 1), 0.35 * stay + 0.65 * stay.roll(-1, 1)), 1)
    rewards, values = torch.randn(2, states, generator=g, dtype=torch.float64)
    return TinyMDP(transitions, 4 * rewards, (torch.arange(states) != 2).double(), 3 * values, 0.8)


# The actors
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


# The process as a world model
def two_hot(values: Tensor) -> Tensor:
    """The logits of a critic that predicts these values."""
    bins = torch.linspace(-20, 20, 255)
    place = torch.sign(values) * values.abs().log1p()
    return (1 - (bins - place.float().unsqueeze(-1)).abs() / (bins[1] - bins[0])).clamp(min=0).log()


class TinyWorldModel:
    """The process as a world model: its latent is the one-hot state, and the action that led there."""

    def __init__(self, mdp: TinyMDP) -> None:
        self.mdp, self.rssm = mdp, self

    def state(self, latents: Tensor) -> Tensor:
        return latents[..., : len(self.mdp.rewards)].argmax(-1)

    def imagination(self, prior: Tensor, recurrent: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        arrivals = self.mdp.transitions[self.state(prior), actions.argmax(-1)]
        arrived = torch.multinomial(arrivals.flatten(0, 1), 1).view(1, -1)
        return F.one_hot(arrived, arrivals.shape[-1]).float().unsqueeze(-2), actions

    def reward_model(self, latents: Tensor) -> Tensor:
        return two_hot(self.mdp.rewards)[self.state(latents)]

    def critic(self, latents: Tensor) -> Tensor:
        return two_hot(self.mdp.values)[self.state(latents)]

    def continue_model(self, latents: Tensor) -> Tensor:
        return (20 * (2 * self.mdp.continues[self.state(latents)] - 1)).float().unsqueeze(-1)


# What an imagination can be
def trajectories(
    mdp: TinyMDP, halting: Tensor, policies: Tensor, root: int, first_halt: int, horizon: int, continuation: str
) -> list[tuple[float, Trajectory]]:
    """Every trajectory of `horizon` steps whose first action comes from `first_halt`, with its probability."""
    p, pi, transitions = halting.tolist(), policies.tolist(), mdp.transitions.tolist()

    def next_halts(state: int, t: int) -> list[tuple[int, float]]:
        if continuation == "commit":
            return [(first_halt, 1.0)]
        return list(enumerate(p[state], 1)) if t < horizon else [(1, 1.0)]  # the last one plays no part

    found = [(1.0, Trajectory((root,), (), (first_halt,)))]
    for t in range(1, horizon + 1):
        found = [
            (so_far * chosen * arrives * halts, Trajectory((*past.states, z), (*past.actions, a), (*past.halts, k)))
            for so_far, past in found
            for a, chosen in enumerate(pi[past.states[-1]][past.halts[-1] - 1])
            for z, arrives in enumerate(transitions[past.states[-1]][a])
            for k, halts in next_halts(z, t)
            if arrives > 0
        ]
    return [(prob, past._replace(actions=(*past.actions, 0))) for prob, past in found]


def coupled(distributions: Sequence[Sequence[tuple[float, Trajectory]]]) -> Iterator[tuple[float, list[Trajectory]]]:
    """Joint outcomes, with their probabilities, that have the given distributions: all driven by one uniform number."""
    remaining = [iter(distribution) for distribution in distributions]
    current = [next(outcomes) for outcomes in remaining]
    while all(current):
        mass = min(prob for prob, _ in current)
        yield mass, [outcome for _, outcome in current]
        left = [(prob - mass, outcome) for prob, outcome in current]
        current = [
            pair if pair[0] > 1e-14 else next(outcomes, ()) for pair, outcomes in zip(left, remaining, strict=True)
        ]


def imagination_of(mdp: TinyMDP, rows: Sequence[Trajectory], weights: Tensor, lmbda: float = 1.0) -> Imagination:
    """What imagining these trajectories gives: their lambda-returns by definition, the last value bootstrapped."""
    states, actions, halts = (torch.tensor(column).T for column in zip(*rows, strict=True))  # [H+1, rows]
    values, rewards, continues = mdp.values[states], mdp.rewards[states], mdp.gamma * mdp.continues[states]
    returns = [values[-1]]
    for t in range(len(states) - 1, 0, -1):
        returns.insert(0, rewards[t] + continues[t] * ((1 - lmbda) * values[t] + lmbda * returns[0]))
    return Imagination(
        F.one_hot(states, len(mdp.rewards)).double(),
        F.one_hot(actions, mdp.transitions.shape[1]).double(),
        values.unsqueeze(-1),
        torch.stack(returns[:-1]).unsqueeze(-1),
        continues.cumprod(0).unsqueeze(-1) / mdp.gamma,
        halts,
        weights,
        None,
    )


# What must come out: the branching tree
def tree_return(mdp: TinyMDP, halting: Tensor, policies: Tensor, root: int, horizon: int, continuation: str) -> Tensor:
    """The exact return of the actor that branches at every ponder step of every state, for `sample`.

    For `commit` it branches at the root only, and then acts from the ponder step of that branch.
    """

    def ponder(z: int, t: int) -> Tensor:
        if t == horizon:
            return mdp.values[z]
        return sum(p * act(z, t, n) for n, p in enumerate(halting[z]))

    def act(z: int, t: int, n: int) -> Tensor:
        if t == horizon:
            return mdp.values[z]
        arrivals = policies[z, n] @ mdp.transitions[z]
        go_on = (lambda y: ponder(y, t + 1)) if continuation == "sample" else (lambda y: act(y, t + 1, n))
        return sum(p * (mdp.rewards[y] + mdp.gamma * mdp.continues[y] * go_on(y)) for y, p in enumerate(arrivals))

    return mdp.continues[root] * ponder(root, 0)


def tree_entropy(
    mdp: TinyMDP, halting: Tensor, policies: Tensor, root: int, horizon: int, continuation: str, of: str = "steps"
) -> Tensor:
    """The discounted entropies along the same tree; as in DreamerV3, how an action changes later ones is ignored.

    `of`: the policies of the ponder steps, or the policy that is played, their `mixture`.
    """
    if of == "mixture":  # is played by one step
        halting, policies = torch.ones_like(halting[:, :1]), (halting.unsqueeze(-1) * policies).sum(1, keepdim=True)
    entropies = -(policies * policies.log()).sum(-1)

    def bonus(z: int, t: int, halts: Tensor) -> Tensor:
        if t == horizon:
            return torch.zeros(())
        total = halts @ entropies[z]
        for n, p in enumerate(halts.detach()):
            for y, arrives in enumerate(policies[z, n].detach() @ mdp.transitions[z]):
                later = halting[y] if continuation == "sample" else torch.eye(len(halts)).double()[n]
                total = total + p * arrives * mdp.gamma * mdp.continues[y] * bonus(y, t + 1, later)
        return total

    return mdp.continues[root] * bonus(root, 0, halting[root])


def flat_gradient(value: Tensor, actor: nn.Module) -> Tensor:
    gradients = torch.autograd.grad(value, tuple(actor.parameters()), allow_unused=True, materialize_grads=True)
    return torch.cat([gradient.flatten() for gradient in gradients])


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
