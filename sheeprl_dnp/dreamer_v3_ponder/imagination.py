"""Imagination with the `max_halts` axis: it never branches, it samples more trajectories instead."""

from typing import NamedTuple

import torch
from sheeprl.algos.dreamer_v2.agent import WorldModel
from sheeprl.algos.dreamer_v3.dreamer_v3 import imagine as imagine_trajectories
from torch import Tensor, nn


class Imagination(NamedTuple):
    """Trajectory n of root m (row `(n - 1) * M + m`) takes its first action from ponder step n."""

    trajectories: Tensor  # [H+1, N*M, L]
    actions: Tensor  # [H+1, N*M, A]
    values: Tensor  # [H+1, N*M, 1]
    lambda_values: Tensor  # [H, N*M, 1]
    discount: Tensor  # [H+1, N*M, 1]
    halts: Tensor  # [H+1, N*M], the ponder step of each action
    weights: Tensor  # [N*M], p_n(z_0)


class HaltingActor:
    """The actor of one imagination: chooses the ponder step of each action, and remembers it."""

    def __init__(self, actor: nn.Module, root_halts: Tensor, continuation: str) -> None:
        self.actor = actor
        self.root_halts = root_halts  # [1, N*M]
        self.commits = continuation == "commit"
        self.halts: list[Tensor] = []
        self.root_log_halting: Tensor | None = None  # [1, N*M]

    def __call__(self, states: Tensor, clip: bool) -> tuple:
        at_roots = not self.halts
        halts = self.root_halts if self.commits or at_roots else None
        pondered = self.actor(states, clip=clip, halts=halts, at_roots=at_roots)
        self.halts.append(pondered.halts)
        if at_roots:
            self.root_log_halting = pondered.log_halting
        return pondered.actions, pondered.policies


def imagine(
    world_model: WorldModel,
    actor: nn.Module,
    critic: nn.Module,
    posteriors: Tensor,
    recurrent_states: Tensor,
    terminated: Tensor,
    *,
    max_halts: int,
    continuation: str,
    horizon: int,
    gamma: float,
    lmbda: float,
    action_clip: float = 0.0,
) -> Imagination:
    """Imagines N trajectories from each root, one for each ponder step of its first action, as DreamerV3 does.

    Args:
        posteriors, recurrent_states, terminated: `[T, B, ...]`, the roots.
        max_halts: N.
        continuation: from the second action on, `sample`: halt as the deployed agent does; `commit`: act from the
            ponder step of the first action to the horizon (the critic then predicts the returns of the mixture, which
            biases lambda-values with lambda < 1 a little: 0.2% of the gradient at 0.95 in a small decision process).
        horizon, gamma, lmbda, action_clip: as in SheepRL's `imagine`, which imagines each trajectory.
    """
    # Actions:      n ──> a0(n)   k1 ─> a'1   k2 ─> a'2     sample: k_t drawn from p(z'_t); commit: k_t = n
    #               ^      \      ^      \    ^
    #               │       v     │       v   │
    # States:      z0 ─────────> z'1 ──────> z'2 ──> ...    for n = 1 ... N: N·M trajectories, none branches
    roots = terminated.numel()
    root_halts = torch.arange(1, max_halts + 1, device=terminated.device).repeat_interleave(roots).unsqueeze(0)
    halting_actor = HaltingActor(actor, root_halts, continuation)
    trajectories = imagine_trajectories(
        world_model,
        halting_actor,
        critic,
        posteriors.flatten(0, 1).repeat(max_halts, 1, 1),
        recurrent_states.flatten(0, 1).repeat(max_halts, 1),
        terminated.flatten(0, 1).repeat(max_halts, 1),
        horizon=horizon,
        gamma=gamma,
        lmbda=lmbda,
        action_clip=action_clip,
    )
    weights = halting_actor.root_log_halting.squeeze(0).exp().detach()
    return Imagination(*trajectories, torch.cat(halting_actor.halts), weights)
