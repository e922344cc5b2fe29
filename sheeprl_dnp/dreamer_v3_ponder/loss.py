"""The halting-weighted losses of the actor and of the critic: those of DreamerV3 where N = 1.

With `z_0` a root, `n` the ponder step of its first action (one trajectory for each), `k_t` the ponder step of the
action of `z_t` (`k_0 = n`), `w_n = sg(p_n(z_0))`, `d_t` the discount and `A_t` the normalised advantage, the actor
minimises, averaged over the horizon and the roots,

    - sum_n w_n d_t [ objective_t + eta H(pi_{k_t}) + log p_{k_t}(z_t) sg(A_t + eta H(pi_{k_t})) ]
    + beta KL(p(z_0) || p_G)

The first two terms are DreamerV3's. The third is the policy gradient of the halting probabilities, `(k_t, a_t)` being
one action: at the root it is summed over all n, since `w_n grad log p_n = grad p_n`; further on `k_t` is a sample of p.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from sheeprl.algos.dreamer_v2.utils import actor_objective
from sheeprl.algos.dreamer_v3.dreamer_v3 import critic_loss as dreamer_v3_critic_loss
from sheeprl.utils.distribution import entropy as policy_entropy
from torch import Tensor, nn

from sheeprl_dnp.dreamer_v3_ponder.imagination import Imagination
from sheeprl_dnp.pondernet import kl_from_prior


class ActorLoss(NamedTuple):
    policy: Tensor  # scalar: the three first terms
    kl: Tensor  # scalar: KL(p(z_0) || p_G), in nats, not yet times beta
    log_halting_probs: Tensor  # [M, N], log p(z_0), detached


def halting_weighted_mean(per_state: Tensor, weights: Tensor) -> Tensor:
    """`sum_n w_n x`, averaged over the horizon and the roots: `[H, N*M]` and `[N, M]` to a scalar."""
    assert per_state.shape[1:].numel() == weights.numel(), (per_state.shape, weights.shape)
    return (per_state.view(-1, *weights.shape) * weights).sum(1).mean()


def actor_loss(
    actor: nn.Module,
    imagination: Imagination,
    offset: Tensor,
    invscale: Tensor,
    *,
    max_halts: int,
    lambda_p: float,
    continuation: str,
    objective_mix: float | None,
    is_continuous: bool,
    actions_dim: Sequence[int],
    ent_coef: float,
) -> ActorLoss:
    """The loss of the actor on imagined trajectories, from the normalisation of the returns (`offset`, `invscale`).

    `objective_mix`, `is_continuous`, `actions_dim` and `ent_coef` are those of SheepRL's `actor_loss`.
    """
    weights = imagination.weights.view(max_halts, -1)  # [N, M]
    pondered = actor(imagination.trajectories.detach(), halts=imagination.halts, at_roots=True)
    log_halting = pondered.log_halting  # [H+1, N*M]

    advantage = (imagination.lambda_values - offset) / invscale - (imagination.values[:-1] - offset) / invscale

    def reinforce() -> Tensor:
        actions = torch.split(imagination.actions.detach(), actions_dim, dim=-1)
        log_probs = [p.log_prob(a).unsqueeze(-1)[:-1] for p, a in zip(pondered.policies, actions, strict=True)]
        return torch.stack(log_probs, -1).sum(-1) * advantage.detach()

    objective = actor_objective(objective_mix, is_continuous, advantage, reinforce)  # [H, N*M, 1]
    entropy = ent_coef * torch.stack([policy_entropy(p) for p in pondered.policies], -1).sum(-1).unsqueeze(-1)[:-1]
    halting = log_halting[:-1].unsqueeze(-1) * (advantage + entropy).detach()
    if continuation == "commit":  # one halt for the whole trajectory
        halting = torch.cat((halting[:1], torch.zeros_like(halting[1:])))
    per_state = imagination.discount[:-1].detach() * (objective + entropy + halting)
    log_halting_probs = log_halting[0].view(max_halts, -1).T  # [M, N]
    kl = kl_from_prior(log_halting_probs, lambda_p).mean()
    return ActorLoss(-halting_weighted_mean(per_state, weights), kl, log_halting_probs.detach())


def critic_loss(critic: nn.Module, target_critic: nn.Module, imagination: Imagination, *, max_halts: int) -> Tensor:
    """The loss of the critic: DreamerV3's, with each trajectory weighed by `w_n`."""
    # SheepRL's loss averages over the N*M trajectories: N w_n d_t in place of d_t gives the sum over N
    discount = imagination.discount * (max_halts * imagination.weights).unsqueeze(-1)
    return dreamer_v3_critic_loss(critic, target_critic, imagination.trajectories, imagination.lambda_values, discount)
