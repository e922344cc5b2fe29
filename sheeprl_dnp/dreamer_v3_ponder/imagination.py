"""Imagination, with the `max_halts` axis: it never branches, it samples more trajectories instead."""

from typing import NamedTuple

import torch
from sheeprl.algos.dreamer_v2.agent import WorldModel
from sheeprl.algos.dreamer_v3.dreamer_v3 import imagine as imagine_trajectories
from torch import Tensor, nn

from sheeprl_dnp.dreamer_v3_ponder.agent import PonderedActions
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
    """The actor of one imagination: chooses the ponder step of each action, and keeps what it pondered.

    Args:
        copies: C. The c-th copy of a root acts at ponder step c, where there are several.
    """

    def __init__(self, actor: nn.Module, copies: int, continuation: str) -> None:
        self.actor, self.copies, self.commits = actor, copies, continuation == "commit"
        self.pondered: list[PonderedActions] = []

    def __call__(self, states: Tensor, clip: bool) -> tuple:
        pondered = self.actor(states, clip=clip, at=self._at(states), ahead=True)
        self.pondered.append(pondered)
        return pondered.actions, pondered.policies

    def _at(self, states: Tensor) -> str | Tensor:
        if self.copies > 1 and not self.pondered:
            steps = torch.arange(1, self.copies + 1, device=states.device)
            return steps.repeat_interleave(states.shape[1] // self.copies).unsqueeze(0)
        return self.pondered[0].halts if self.copies > 1 and self.commits else "sample"


def imagine(
    world_model: WorldModel,
    actor: nn.Module,
    critic: nn.Module,
    *roots: Tensor,
    copies: int,
    continuation: str,
    **rollout: float,
) -> Imagination:
    """Imagines from each root as DreamerV3 does: one trajectory for each ponder step of the first action, or just one.

    Args:
        roots: the posteriors, the recurrent states, and whether they are terminated, `[T, B, ...]` each.
        copies: C, the number of ponder steps at which the actor can halt, or 1, whose first action is sampled as the
            later ones are.
        continuation: from the second action on, `sample`: halt as a player that samples does; `commit`: act from the
            ponder step of the first action to the horizon (the critic then predicts the returns of the mixture, which
            biases lambda-values with lambda < 1 a little: 0.2% of the gradient at 0.95 in a small decision process).
        rollout: the keywords of SheepRL's `imagine`, which imagines each trajectory.
    """
    # Actions:      n ──> a0(n)   k1 ─> a'1   k2 ─> a'2     sample: k_t drawn from p(z'_t); commit: k_t = n
    #               ^      \      ^      \    ^
    #               │       v     │       v   │
    # States:      z0 ─────────> z'1 ──────> z'2 ──> ...    for n = 1 ... C: C·M trajectories, none branches
    imagined_actor = ImaginedActor(actor, copies, continuation)
    copied = (root.flatten(0, 1).repeat(copies, *[1] * (root.dim() - 2)) for root in roots)
    trajectories = imagine_trajectories(world_model, imagined_actor, critic, *copied, **rollout)
    pondered, log_halting = imagined_actor.pondered, imagined_actor.pondered[0].log_halting
    weights = trajectories[0].new_ones(1, trajectories[0].shape[1])
    if copies > 1 and log_halting is not None:
        weights = log_halting.exp().detach().view(copies, -1)
    halts = torch.cat([moment.halts for moment in pondered])
    dreams = [moment.dreams for moment in pondered if moment.dreams]
    joined = Dreams(*map(torch.cat, zip(*dreams, strict=True))) if dreams else None
    return Imagination(*trajectories, halts, weights, joined)  # type: ignore[call-arg]
