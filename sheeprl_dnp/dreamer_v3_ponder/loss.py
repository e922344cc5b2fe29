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

from collections.abc import Callable, Sequence
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


def trajectories_loss(
    actor: nn.Module,
    imagination: Imagination,
    advantage: Tensor,
    *,
    actions: Sequence[Tensor],
    objective: Callable[[Tensor], Tensor],
    ent_coef: float,
    entropy: str,
    continuation: str,
) -> tuple[Tensor, Tensor]:
    """`actor_loss` from one trajectory for each ponder step of a first action, weighed by its probability."""
    dreams = imagination.dreams and Dreams(*(part[:-1] for part in imagination.dreams))
    pondered = actor(imagination.trajectories[:-1].detach(), at=imagination.halts[:-1], dreams=dreams)
    terms = _terms(pondered, [action[:-1] for action in actions])
    log_probs, entropies, log_halting = (term.unsqueeze(-1) for term in terms)  # [H, N*M, 1]
    bonus = ent_coef * entropies
    halting = log_halting * (advantage + bonus).detach()
    if continuation == "commit":  # one halt for the whole trajectory
        halting = torch.cat((halting[:1], torch.zeros_like(halting[1:])))
    per_state = imagination.discount[:-1].detach() * (objective(log_probs) + bonus + halting)
    return -halting_weighted_mean(per_state, imagination.weights), log_halting[0].view(imagination.weights.shape).T


def marginal_loss(
    actor: nn.Module,
    imagination: Imagination,
    advantage: Tensor,
    *,
    actions: Sequence[Tensor],
    objective: Callable[[Tensor], Tensor],
    ent_coef: float,
    entropy: str,
    continuation: str,
) -> tuple[Tensor, Tensor]:
    """`actor_loss` from one trajectory, with all the ponder steps that could have led to each action."""
    # DreamerV3 computes the policy of the last state too, which has no advantage
    pondered = actor(imagination.trajectories.detach(), at="every", dreams=imagination.dreams)
    log_probs, entropies, log_halting = _terms(pondered, [action.unsqueeze(-2) for action in actions])  # [H+1, M, N]
    log_probs = (log_halting + log_probs).logsumexp(-1, keepdim=True)[:-1]
    if entropy == "mixture":
        log_mixture = (log_halting.unsqueeze(-1) + pondered.policies[0].logits).logsumexp(-2)  # [H+1, M, A]
        entropies = -(log_mixture.exp() * log_mixture).sum(-1, keepdim=True)
    else:
        entropies = (log_halting.exp() * entropies).sum(-1, keepdim=True)
    per_state = imagination.discount[:-1].detach() * (objective(log_probs) + ent_coef * entropies[:-1])
    return -per_state.mean(), log_halting[0]


ESTIMATORS = {"trajectories": trajectories_loss, "marginal": marginal_loss}


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

    def objective(log_probs: Tensor) -> Tensor:
        return actor_objective(objective_mix, is_continuous, advantage, lambda: log_probs * advantage.detach())

    policy, log_halting = ESTIMATORS[estimator](
        actor,
        imagination,
        advantage,
        actions=torch.split(imagination.actions.detach(), actions_dim, dim=-1),
        objective=objective,
        ent_coef=ent_coef,
        entropy=entropy,
        continuation=continuation,
    )
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


def _terms(pondered: PonderedActions, actions: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """`log pi(a)` and `H(pi)` over all action heads, and `log p` of the ponder steps of the policies."""
    log_probs = [p.log_prob(action) for p, action in zip(pondered.policies, actions, strict=True)]
    entropies = [policy_entropy(p) for p in pondered.policies]
    return torch.stack(log_probs, -1).sum(-1), torch.stack(entropies, -1).sum(-1), pondered.log_halting
