"""Imagination, with the `max_halts` axis: it never branches, it samples more trajectories instead."""

from typing import NamedTuple

import torch
from sheeprl.algos.dreamer_v2.agent import WorldModel
from sheeprl.algos.dreamer_v3.dreamer_v3 import imagine as imagine_trajectories
from torch import Tensor, nn

from sheeprl_dnp.dreamer_v3_ponder.steps import Dreams


class Imagination(NamedTuple):
    """C trajectories from each root: N, where the n-th takes its first action from ponder step n, or 1.

    Trajectory c of root m is row `(c - 1) * M + m`.
    """

    trajectories: Tensor  # [H+1, C*M, L]
    actions: Tensor  # [H+1, C*M, A]
    values: Tensor  # [H+1, C*M, 1]
    lambda_values: Tensor  # [H, C*M, 1]
    discount: Tensor  # [H+1, C*M, 1]
    halts: Tensor  # [H+1, C*M], the ponder step of each action
    weights: Tensor  # [C, M], p_n(z_0); 1 where C = 1
    dreams: Dreams | None  # [H+1, C*M, N-1], where there are any


class ImaginedActor:
    """The actor of one imagination: chooses the ponder step of each action, and remembers what it chose and dreamed.

    Args:
        copies: C.
    """

    def __init__(self, actor: nn.Module, copies: int, continuation: str) -> None:
        self.actor = actor
        self.copies = copies
        self.commits = continuation == "commit" and copies > 1
        self.halts: list[Tensor] = []
        self.dreams: list[Dreams] = []

    def __call__(self, states: Tensor, clip: bool) -> tuple:
        if not self.halts:
            at = self._at_roots(states)
        else:
            at = self.halts[0] if self.commits else "sample"
        pondered = self.actor(states, clip=clip, at=at, ahead=True)
        if not self.halts:
            roots = states.shape[1] // self.copies
            one = self.copies == 1
            self.weights = states.new_ones(1, roots) if one else pondered.log_halting.exp().detach().view(-1, roots)
        self.halts.append(pondered.halts)
        if pondered.dreams:
            self.dreams.append(pondered.dreams)
        return pondered.actions, pondered.policies

    def _at_roots(self, states: Tensor) -> str | Tensor:
        """The c-th copy of a root acts at ponder step c, where there are several."""
        if self.copies == 1:
            return "sample"
        steps = torch.arange(1, self.copies + 1, device=states.device)
        return steps.repeat_interleave(states.shape[1] // self.copies).unsqueeze(0)


def imagine(
    world_model: WorldModel,
    actor: nn.Module,
    critic: nn.Module,
    posteriors: Tensor,
    recurrent_states: Tensor,
    terminated: Tensor,
    *,
    copies: int,
    continuation: str,
    horizon: int,
    gamma: float,
    lmbda: float,
    action_clip: float = 0.0,
) -> Imagination:
    """Imagines from each root as DreamerV3 does: one trajectory for each ponder step of the first action, or just one.

    Args:
        posteriors, recurrent_states, terminated: `[T, B, ...]`, the roots.
        copies: C, the number of ponder steps at which the actor can halt, or 1, whose first action is sampled as the
            later ones are.
        continuation: from the second action on, `sample`: halt as the deployed agent does; `commit`: act from the
            ponder step of the first action to the horizon (the critic then predicts the returns of the mixture, which
            biases lambda-values with lambda < 1 a little: 0.2% of the gradient at 0.95 in a small decision process).
        horizon, gamma, lmbda, action_clip: as in SheepRL's `imagine`, which imagines each trajectory.
    """
    # Actions:      n ──> a0(n)   k1 ─> a'1   k2 ─> a'2     sample: k_t drawn from p(z'_t); commit: k_t = n
    #               ^      \      ^      \    ^
    #               │       v     │       v   │
    # States:      z0 ─────────> z'1 ──────> z'2 ──> ...    for n = 1 ... C: C·M trajectories, none branches
    imagined_actor = ImaginedActor(actor, copies, continuation)
    trajectories = imagine_trajectories(
        world_model,
        imagined_actor,
        critic,
        posteriors.flatten(0, 1).repeat(copies, 1, 1),
        recurrent_states.flatten(0, 1).repeat(copies, 1),
        terminated.flatten(0, 1).repeat(copies, 1),
        horizon=horizon,
        gamma=gamma,
        lmbda=lmbda,
        action_clip=action_clip,
    )
    dreams = Dreams(*map(torch.cat, zip(*imagined_actor.dreams, strict=True))) if imagined_actor.dreams else None
    halts, weights = torch.cat(imagined_actor.halts), imagined_actor.weights
    return Imagination(*trajectories, halts, weights, dreams)  # type: ignore[call-arg]
