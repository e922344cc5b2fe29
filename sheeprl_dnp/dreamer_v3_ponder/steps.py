"""What one more ponder step does (`algo.ponder.step`): refine the features of the actor, or dream of one more action.

A step maps inputs and the state of the step before to what the policy is made of and the next state, and draws no
random number. Tensors are `[rows, ...]`, a row being a latent state; `A` is the number of actions, `D` the dense units.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from sheeprl.algos.dreamer_v3.agent import Actor
from torch import Tensor, nn
from torch.distributions import Distribution, OneHotCategoricalStraightThrough

from sheeprl_dnp.dreamer_v3_ponder.lookahead import Lookahead, most_probable, one_hot
from sheeprl_dnp.halting import halting_head

FIRST_KAPPA = 10.0  # a gain of a tenth of the returns' scale makes a probability e times as large


class Dreams(NamedTuple):
    """Actions that were dreamed of in states `[*]`, and what each would gain; without gradient."""

    actions: Tensor  # [*, N-1], the most probable one first
    gains: Tensor  # [*, N-1], in units of the scale of the returns


class Refine(nn.Module):
    """Ponder step 1 is the features of the trunk; each further one a layer of (those features, the step before).

    Args:
        layer: `[Linear(2D, D), ...]`; its half that sees the features of the trunk is computed once for all steps.
    """

    def __init__(self, layer: nn.Sequential) -> None:
        super().__init__()
        linear, *rest = layer
        of_trunk, of_step = linear.weight.detach().chunk(2, 1)
        self.from_trunk = nn.Linear(*of_trunk.T.shape, bias=linear.bias is not None)
        self.from_step = nn.Linear(*of_step.T.shape, bias=False)
        self.rest = nn.Sequential(*rest)
        with torch.no_grad():
            self.from_trunk.weight.copy_(of_trunk)
            self.from_step.weight.copy_(of_step)
            if linear.bias is not None:
                self.from_trunk.bias.copy_(linear.bias)

    def inputs(self, features: Tensor, latents: Tensor, heads: Actor) -> tuple[Tensor, Tensor]:
        """What all the steps in some states have in common."""
        return features, self.from_trunk(features)

    def look_ahead(self, inputs: tuple[Tensor, Tensor], steps: int) -> None:
        """Nothing is dreamed of."""

    def forward(self, inputs: tuple[Tensor, Tensor], state: Tensor | None) -> tuple[Tensor, Tensor]:
        features, projected = inputs
        state = features if state is None else self.rest(torch.addmm(projected, state, self.from_step.weight.T))
        return state, state

    def policies(
        self, features: Tensor, heads: Actor, greedy: bool, mask: dict[str, Tensor] | None, clip: bool
    ) -> tuple[Sequence[Tensor], Sequence[Distribution]]:
        return heads(features, greedy, mask, clip)


class Dream(nn.Module):
    """Each further ponder step dreams of the next most probable action of step 1, and makes it more or less probable.

    `log pi_{n+1}(a) = log pi_1(a) + kappa sum_{k<=n} 1[a = a_k] gain_k`, renormalised: a step of policy improvement
    regularised by KL, with a gain of 0 for what was not dreamed of (as in Gumbel MuZero, Danihelka et al. 2022).
    The halting unit sees the features, the best gain so far (0 at step 1), the entropy of the policy, and n / N.

    Args:
        lookahead: gives the gains.
        features: D.
        max_steps: N.
        halts: whether there is a halting unit; it then has a share of the weights here, from features to a logit.
    """

    def __init__(self, lookahead: Lookahead, features: int, max_steps: int, halts: bool) -> None:
        super().__init__()
        self.lookahead = lookahead
        self.max_steps = max_steps
        self.log_kappa = nn.Parameter(torch.tensor(math.log(FIRST_KAPPA)))
        self.from_features = nn.Linear(features, 1, bias=False) if halts else None
        if self.from_features is not None:
            nn.init.zeros_(self.from_features.weight)

    def inputs(self, features: Tensor, latents: Tensor, heads: Actor) -> tuple[Tensor, Tensor, Tensor]:
        """`log pi_1` (`[rows, A]`), the latent states, and the features' share of the halting logit (`[rows, 1]`)."""
        logits = heads._uniform_mix(heads.mlp_heads[0](features))
        log_policy = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
        if self.from_features is None:
            return log_policy, latents, torch.zeros_like(log_policy[:, :1])
        return log_policy, latents, self.from_features(features).to(log_policy.dtype)

    def look_ahead(self, inputs: tuple[Tensor, ...], steps: int) -> Dreams:
        """The dreams of so many steps, all at once."""
        log_policy, latents, _ = inputs
        actions = most_probable(log_policy, steps - 1)
        return Dreams(actions, self._gains(latents, actions, log_policy.dtype))

    def _gains(self, latents: Tensor, actions: Tensor, dtype: torch.dtype) -> Tensor:
        # In low precision a module gets its inputs rounded, known gains too: rounded as the latents, they stay the same
        return self.lookahead.gains(latents, actions).to(dtype)

    def unroll(
        self, inputs: tuple[Tensor, ...], state: Tensor | None, steps: int, dreams: Dreams | None = None
    ) -> tuple[Tensor, Tensor]:
        """So many steps from the first one on, from `dreams` where they are known.

        Returns:
            The logarithms of the policies, `[rows, steps, A]`, and what the halting unit sees, `[rows, steps, 4]`.
        """
        assert state is None, "its first step has no state"
        log_policy, _, from_features = inputs
        actions, gains = dreams or self.look_ahead(inputs, steps)
        gains = gains.to(log_policy.dtype)
        dreamed = one_hot(actions, log_policy.shape[-1]) * gains.unsqueeze(-1)  # [rows, steps-1, A]
        policies = self._improved(log_policy.unsqueeze(1), F.pad(dreamed.cumsum(1), (0, 0, 1, 0)))
        best = F.pad(gains.cummax(1).values, (1, 0))
        numbers = torch.arange(1, steps + 1, device=best.device).expand_as(best)
        return policies, self._seen(from_features.expand_as(best), best, policies, numbers)

    def last(self, inputs: tuple[Tensor, ...], state: None, steps: int) -> Tensor:
        """The policy of the last of so many steps, `[rows, A]`, all of whose dreams are dreamed at once."""
        log_policy = inputs[0]
        if steps == 1:
            return log_policy
        actions, gains = self.look_ahead(inputs, steps)
        return self._improved(log_policy, torch.zeros_like(log_policy).scatter(1, actions, gains))

    def forward(self, inputs: tuple[Tensor, ...], state: Tensor | None) -> tuple[Tensor, Tensor]:
        """One step. Its state: what the halting unit sees, then the gain of each action, -inf where not dreamed of."""
        log_policy, latents, from_features = inputs
        if state is None:
            gains = torch.full_like(log_policy, -math.inf)
            best = torch.zeros_like(from_features)
        else:
            gains = state[:, 4:]
            # The most probable one that is left; the first of several
            action = log_policy.masked_fill(gains > -math.inf, -math.inf).argmax(-1, keepdim=True)
            gains = gains.scatter(-1, action, self._gains(latents, action, gains.dtype))
            best = gains.amax(-1, keepdim=True)
        policy = self._improved(log_policy, gains.masked_fill(gains == -math.inf, 0.0))
        number = (gains > -math.inf).sum(-1, keepdim=True) + 1
        seen = self._seen(from_features, best, policy.unsqueeze(1), number).squeeze(1)
        return policy, torch.cat((seen, gains), -1)

    def _improved(self, log_policy: Tensor, gains: Tensor) -> Tensor:
        return (log_policy + self.log_kappa.exp() * gains).log_softmax(-1)

    def _seen(self, from_features: Tensor, best: Tensor, policies: Tensor, numbers: Tensor) -> Tensor:
        """What the halting unit sees of steps, all of about the size 1: `[rows, n, 4]`."""
        entropies = -(policies.exp() * policies).sum(-1)
        return torch.stack((from_features, FIRST_KAPPA * best, entropies, numbers.to(best.dtype) / self.max_steps), -1)

    def policies(
        self, log_policy: Tensor, heads: Actor, greedy: bool, mask: dict[str, Tensor] | None, clip: bool
    ) -> tuple[Sequence[Tensor], Sequence[Distribution]]:
        policy = OneHotCategoricalStraightThrough(logits=log_policy)
        return (policy.mode if greedy else policy.rsample(),), (policy,)


class DreamHalting(nn.Module):
    """The halting unit of `Dream`, linear in what it sees; it starts with `lambda_p` whatever that is."""

    def __init__(self, lambda_p: float) -> None:
        super().__init__()
        self.linear = halting_head(3, lambda_p)

    def forward(self, state: Tensor) -> Tensor:
        return state[:, :1] + self.linear(state[:, 1:4].to(self.linear.weight.dtype))
