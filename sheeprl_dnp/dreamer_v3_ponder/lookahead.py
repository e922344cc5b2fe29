"""Looking one step ahead: what an action would gain, by the world model and the critic of an agent."""

from collections.abc import Sequence
from typing import Any

import torch
from sheeprl.algos.dreamer_v2.agent import WorldModel
from sheeprl.utils.distribution import BernoulliSafeMode, TwoHotEncodingDistribution
from sheeprl.utils.utils import dotdict
from torch import Tensor, nn
from torch.distributions import Distribution

from sheeprl_dnp.dreamer_v3_ponder.utils import WeightedMoments


class Lookahead:
    """The world model and the critic of an agent, as they judge actions one step ahead.

    It is no module: copies of an actor look ahead with the same weights, and train none of them.

    Args:
        algo: the section of the configuration.
        moments: of the returns, whose scale S is that of the gains.
        actions: A.
    """

    def __init__(
        self, algo: dotdict, world_model: WorldModel, critic: nn.Module, moments: WeightedMoments, actions: int
    ) -> None:
        self.world_model, self.critic, self.moments = world_model, critic, moments
        # Of the last part of a latent state; the discount of a step
        self.recurrent_size, self.gamma = algo.world_model.recurrent_model.recurrent_state_size, algo.gamma
        self.actions = actions

    def __deepcopy__(self, memo: dict[int, Any]) -> "Lookahead":
        return self

    @torch.no_grad()
    def gains(self, latents: Tensor, actions: Tensor) -> Tensor:
        """`(r(z') + gamma c(z') V(z') - V(z)) / S` of actions, z' being the most probable outcome of each.

        Args:
            latents: z, `[rows, L]`.
            actions: numbers of actions, `[rows, n]`.

        Returns:
            `[rows, n]`.
        """
        if not actions.shape[1]:
            return latents.new_zeros(actions.shape)
        outcomes = self.outcomes(latents, actions)  # [1, rows * n, L]
        continues = BernoulliSafeMode(logits=self.world_model.continue_model(outcomes)).mode
        rewards = self.world_model.reward_model(outcomes)
        values = self.critic(torch.cat((outcomes, latents.unsqueeze(0)), 1))
        dreams, roots = outcomes.shape[1], len(latents)
        rewards, after, before = means_of_two_hot(rewards, values).split((dreams, dreams, roots), 1)
        returns = (rewards + self.gamma * continues * after).view(actions.shape)
        return ((returns - before.view(-1, 1)) / self.moments.scale).to(latents.dtype)

    def outcomes(self, latents: Tensor, actions: Tensor) -> Tensor:
        """The most probable next state of each action: `[1, rows * n, L]`."""
        rssm = self.world_model.rssm
        states = latents.unsqueeze(1).expand(-1, actions.shape[1], -1).flatten(0, 1).unsqueeze(0)
        stochastic, recurrent = states.split((states.shape[-1] - self.recurrent_size, self.recurrent_size), -1)
        taken = one_hot(actions.flatten().unsqueeze(0), self.actions).to(states.dtype)
        recurrent = rssm.recurrent_model(torch.cat((stochastic, taken), -1), recurrent)
        # As `_transition(recurrent, sample_state=False)`, whose uniform mixture changes no mode
        logits = rssm.transition_model(recurrent).unflatten(-1, (-1, rssm.discrete))
        stochastic = one_hot(logits.argmax(-1), rssm.discrete).flatten(-2).to(states.dtype)
        return torch.cat((stochastic, recurrent), -1)


def means_of_two_hot(*logits: Tensor) -> Tensor:
    """The means of distributions `[1, n, bins]`, at once where they have as many bins: `[1, sum of n, 1]`."""
    same = len({part.shape[-1] for part in logits}) == 1
    parts = [torch.cat(logits, 1)] if same else logits
    means = [TwoHotEncodingDistribution(part, dims=1).mean for part in parts]
    return means[0] if same else torch.cat(means, 1)


def one_hot(classes: Tensor, count: int) -> Tensor:
    """As PyTorch's function of this name, which reads its input on some devices: `[*]` to bool `[*, count]`."""
    return classes.unsqueeze(-1) == torch.arange(count, device=classes.device)


def most_probable(log_policy: Tensor, count: int) -> Tensor:
    """The numbers of the most probable actions, the first of equal ones first: `[rows, A]` to `[rows, count]`."""
    return log_policy.sort(dim=-1, descending=True, stable=True).indices[:, :count]


class BestOfMostProbable(nn.Module):
    """The actor of a player that looks at the most probable actions of its policy, and takes the one that gains most.

    The policy is the one that is played: of an actor that ponders, the mixture of those of its steps.

    Args:
        actor: SheepRL's `Actor`, or a `PonderActor`, with one head of discrete actions.
        count: how many actions it looks at, from 1 to A; with 1 it takes the most probable one.
    """

    def __init__(self, actor: nn.Module, lookahead: Lookahead, count: int) -> None:
        super().__init__()
        self.actor, self.lookahead, self.count = actor, lookahead, count

    def forward(
        self, state: Tensor, greedy: bool = False, mask: dict[str, Tensor] | None = None
    ) -> tuple[Sequence[Tensor], Sequence[Distribution]]:
        if hasattr(self.actor, "ponder"):
            pondered = self.actor(state, at="every")
            policies = pondered.policies
            log_policy = (pondered.log_halting.unsqueeze(-1) + policies[0].logits).logsumexp(-2)
        else:
            _, policies = self.actor(state)
            log_policy = policies[0].logits
        actions = most_probable(log_policy.flatten(0, -2), self.count)
        gains = self.lookahead.gains(state.flatten(0, -2), actions)
        best = actions.gather(1, gains.argmax(1, keepdim=True)).view(state.shape[:-1])
        return (one_hot(best, log_policy.shape[-1]).to(state.dtype),), policies
