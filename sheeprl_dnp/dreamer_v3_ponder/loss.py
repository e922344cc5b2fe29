"""The losses of the actor, by estimator of its gradient, and of the critic: DreamerV3's where there is one ponder step.

With `z_t` an imagined state (`z_0` a root), `a_t` its action and `A_t` the normalised advantage of it, `d_t` the
discount, `eta` the weight of the entropy, `p_n` and `pi_n` the halting probability and the policy of ponder step n,
`sg` no gradient: the actor minimises, averaged over the horizon and the roots,

trajectories, with `n` the ponder step of the first action (one trajectory for each), `k_t` that of the action of `z_t`
(`k_0 = n`), `w_n = sg(p_n(z_0))`:

    - sum_n w_n d_t [ objective_t + eta H(pi_{k_t}) + log p_{k_t}(z_t) sg(A_t + eta H(pi_{k_t})) ]

The first two terms are DreamerV3's. The third is the policy gradient of the halting probabilities, `(k_t, a_t)` being
one action: at the root it is summed over all n, since `w_n grad log p_n = grad p_n`; further on `k_t` is a sample of p.

marginal, where one trajectory from each root halts by chance, and all the steps that could have led to an action count:

    - d_t [ sg(A_t) log pibar(a_t | z_t) + eta sum_n p_n(z_t) H(pi_n) ],    pibar = sum_n p_n pi_n

(or `eta H(pibar)` in place of the last term). Its gradient of the returns is that of `trajectories` in expectation, the
halts summed out. Both add `beta KL(p(z_0) || p_G)`, averaged over the roots.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from sheeprl.algos.dreamer_v2.utils import actor_objective
from sheeprl.algos.dreamer_v3.dreamer_v3 import critic_loss as dreamer_v3_critic_loss
from sheeprl.utils.distribution import entropy as policy_entropy
from torch import Tensor, nn

from sheeprl_dnp.dreamer_v3_ponder.agent import PonderedActions
from sheeprl_dnp.dreamer_v3_ponder.imagination import Imagination
from sheeprl_dnp.dreamer_v3_ponder.steps import Dreams
from sheeprl_dnp.dreamer_v3_ponder.utils import halt_mass_key
from sheeprl_dnp.halting import expected_steps, kl_from_prior


class ActorLoss(NamedTuple):
    policy: Tensor  # scalar: what an estimator gives
    kl: Tensor  # scalar: KL(p(z_0) || p_G), in nats, not yet times beta
    metrics: dict[str, Tensor]  # by the names they are logged with, if they are


class PolicyTerms(NamedTuple):
    """What an estimator makes of the imagined states with an advantage, `[H, C*M, 1]`."""

    log_probs: Tensor  # of the actions
    entropies: Tensor
    halting: Tensor | None  # log p of the ponder step, where it is chosen as the action is; None where it is summed out
    log_halting: Tensor  # log p of the roots, [M, N]


def trajectories_terms(
    actor: nn.Module, imagination: Imagination, actions: Sequence[Tensor], entropy: str, continuation: str
) -> PolicyTerms:
    """From one trajectory for each ponder step of a first action."""
    dreams = imagination.dreams and Dreams(*(part[:-1] for part in imagination.dreams))
    pondered = actor(imagination.trajectories[:-1].detach(), at=imagination.halts[:-1], dreams=dreams)
    log_probs, entropies = log_probs_and_entropies(pondered, [action[:-1] for action in actions])
    halting = pondered.log_halting.unsqueeze(-1)
    log_halting = halting[0].view(imagination.weights.shape).T
    if continuation == "commit":  # one halt for the whole trajectory
        halting = torch.cat((halting[:1], torch.zeros_like(halting[1:])))
    return PolicyTerms(log_probs.unsqueeze(-1), entropies.unsqueeze(-1), halting, log_halting)


def marginal_terms(
    actor: nn.Module, imagination: Imagination, actions: Sequence[Tensor], entropy: str, continuation: str
) -> PolicyTerms:
    """From one trajectory, with all the ponder steps that could have led to each action."""
    # DreamerV3 computes the policy of the last state too, which has no advantage
    pondered = actor(imagination.trajectories.detach(), at="every", dreams=imagination.dreams)
    log_halting = pondered.log_halting  # [H+1, M, N]
    log_probs, entropies = log_probs_and_entropies(pondered, [action.unsqueeze(-2) for action in actions])
    log_probs = (log_halting + log_probs).logsumexp(-1, keepdim=True)
    if entropy == "mixture":
        log_mixture = (log_halting.unsqueeze(-1) + pondered.policies[0].logits).logsumexp(-2)  # [H+1, M, A]
        entropies = -(log_mixture.exp() * log_mixture).sum(-1, keepdim=True)
    elif log_halting.shape[-1] > 1:  # the entropy of one step stays in its precision, as DreamerV3's does
        entropies = (log_halting.exp() * entropies).sum(-1, keepdim=True)
    return PolicyTerms(log_probs[:-1], entropies[:-1], None, log_halting[0])


ESTIMATORS = {"trajectories": trajectories_terms, "marginal": marginal_terms}


def log_probs_and_entropies(pondered: PonderedActions, actions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """`log pi(a)` and `H(pi)`, over all action heads."""
    log_probs = [p.log_prob(action) for p, action in zip(pondered.policies, actions, strict=True)]
    entropies = [policy_entropy(p) for p in pondered.policies]
    return torch.stack(log_probs, -1).sum(-1), torch.stack(entropies, -1).sum(-1)


def actor_loss(
    actor: nn.Module,
    imagination: Imagination,
    offset: Tensor,
    invscale: Tensor,
    *,
    estimator: str,
    lambda_p: float,
    continuation: str,
    entropy: str,
    objective_mix: float | None,
    is_continuous: bool,
    actions_dim: Sequence[int],
    ent_coef: float,
    logs: bool = True,
) -> ActorLoss:
    """The loss of the actor on imagined trajectories, from the normalisation of the returns (`offset`, `invscale`).

    `objective_mix`, `is_continuous`, `actions_dim` and `ent_coef` are those of SheepRL's `actor_loss`; `logs`: whether
    there are metrics.
    """
    advantage = (imagination.lambda_values - offset) / invscale - (imagination.values[:-1] - offset) / invscale
    actions = torch.split(imagination.actions.detach(), actions_dim, dim=-1)
    log_probs, entropies, halting, log_halting = ESTIMATORS[estimator](
        actor, imagination, actions, entropy, continuation
    )

    def reinforce() -> Tensor:
        return log_probs * advantage.detach()

    bonus = ent_coef * entropies
    per_state = actor_objective(objective_mix, is_continuous, advantage, reinforce) + bonus
    if halting is not None:
        per_state = per_state + halting * (advantage + bonus).detach()
    policy = -halting_weighted_mean(imagination.discount[:-1].detach() * per_state, imagination.weights)
    kl = kl_from_prior(log_halting, lambda_p).mean()
    return ActorLoss(policy, kl, halting_metrics(log_halting.detach(), kl.detach()) if logs else {})


def halting_metrics(log_halting: Tensor, kl: Tensor) -> dict[str, Tensor]:
    """How the actor ponders at the roots, `[M, N]`: in steps, and in nats of entropy and divergence from the prior."""
    probs = log_halting.exp()
    steps = expected_steps(probs)
    return {
        "Ponder/expected_steps": steps.mean(),
        # From state to state
        "Ponder/expected_steps_p10": steps.quantile(0.1),
        "Ponder/expected_steps_p90": steps.quantile(0.9),
        "Ponder/halting_entropy": -(probs * log_halting).sum(-1).mean(),
        "Ponder/kl": kl,
        **{halt_mass_key(step): mass for step, mass in enumerate(probs.mean(0), start=1)},
    }


def halting_weighted_mean(per_state: Tensor, weights: Tensor) -> Tensor:
    """`sum_n w_n x`, averaged over the horizon and the roots: `[H, N*M]` and `[N, M]` to a scalar."""
    assert per_state.shape[1:].numel() == weights.numel(), (per_state.shape, weights.shape)
    return (per_state.view(-1, *weights.shape) * weights).sum(1).mean()


def critic_loss(critic: nn.Module, target_critic: nn.Module, imagination: Imagination) -> Tensor:
    """The loss of the critic: DreamerV3's, with each trajectory weighed by `w_n`."""
    # SheepRL's loss averages over the C*M trajectories: C w_n d_t in place of d_t gives the sum over C
    weights = (len(imagination.weights) * imagination.weights).view(-1, 1)
    discount = imagination.discount * weights
    return dreamer_v3_critic_loss(critic, target_critic, imagination.trajectories, imagination.lambda_values, discount)
