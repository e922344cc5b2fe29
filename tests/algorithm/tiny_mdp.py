"""A Markov decision process so small that everything an actor can do in it is enumerated, and actors for it.

States are one-hot latents. `halting` is p, `[S, N]`; `policies` are pi, `[S, N, A]`: both functions of the weights.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sheeprl_dnp.dreamer_v3_ponder.imagination import Imagination


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
