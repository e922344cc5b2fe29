"""What an agent of either algorithm thinks in one latent state, read without changing what it does."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from sheeprl.algos.dreamer_v3.utils import prepare_obs
from sheeprl.utils.distribution import TwoHotEncodingDistribution, entropy
from sheeprl.utils.fabric import setup_module
from sheeprl.utils.utils import dotdict
from torch import Tensor
from torch.distributions import Distribution, Normal, OneHotCategorical, kl_divergence

from sheeprl_dnp.checkpoints import Agent
from sheeprl_dnp.dreamer_v3_ponder.agent import PonderActor
from sheeprl_dnp.dreamer_v3_ponder.config import choices
from sheeprl_dnp.dreamer_v3_ponder.imagination import imagine
from sheeprl_dnp.halting import log_prior
from sheeprl_dnp.open_loop import follow, undisturbed
from sheeprl_dnp.pictures import Artist, Sheet, decoded
from sheeprl_dnp.watch.actions import Actions

MOST_FRAMES = 8  # of a film, however far the learning dreams
SAMPLES = 256  # that tell the mean and the spread of a policy that has no formula for them


class Frame(NamedTuple):
    """A moment of a film, after the action that led to it."""

    sheet: Sheet
    picture: int  # on the sheet
    action: str
    reward: float
    goes_on: float  # the probability that the episode does


class Candidate(NamedTuple):
    """An action that was looked at before the agent acted."""

    action: str
    picture: int  # of its most probable outcome
    gain: float  # in units of the scale of the returns


@dataclass
class PonderStep:
    heads: list[list[float]]  # the probability of each action of each head, where actions are discrete
    spreads: list[tuple[float, float]]  # mean and standard deviation of each action, where they are continuous
    entropy: float  # in nats
    halting: float | None = None  # p_n; None where the agent never halts
    prior: float | None = None
    looked_at: Candidate | None = None  # before this step
    dream: Sequence[Frame] = ()
    value: float = 0.0  # at the end of the dream


@dataclass
class Decision:
    number: int  # in its episode, from 1
    sheet: Sheet
    sees: int  # its picture
    believes: int  # the picture that the latent state decodes to
    latent: Tensor  # [L]
    action: Tensor  # [A]
    taken: int  # the ponder step that it acted at
    steps: list[PonderStep]
    right: list[int] | None  # the numbers of the right actions, where the environment says
    value: float
    surprise: float  # KL of the posterior from the prior, in nats
    change: float  # KL of the policy that it acted by from that of step 1, in nats
    reward: float = 0.0
    ends: bool = False  # whether the episode ended with it
    foreseen: list[Frame] = field(default_factory=list)
    happened: list[Frame] = field(default_factory=list)


class Mind:
    """
    Args:
        steps: how many ponder steps are looked at.
    """

    def __init__(
        self, fabric: Fabric, cfg: dotdict, agent: Agent, actions: Actions, artist: Artist, steps: int
    ) -> None:
        self.fabric, self.agent, self.player, self.actor = fabric, agent, agent.player, agent.actor
        self.actions, self.artist, self.steps = actions, artist, steps
        self.rssm, self.pixels = agent.world_model.rssm, cfg.algo.cnn_keys.encoder
        self.halts, self.priors, continuation = slice(0, 1), [None], "sample"  # those of the steps where it may halt
        if "ponder" not in cfg.algo:
            self.actor = setup_module(fabric, PonderActor(copy.deepcopy(agent.actor.module), None))
        elif choices(cfg.algo.ponder) == 1:
            self.halts = slice(cfg.algo.ponder.max_halts - 1, cfg.algo.ponder.max_halts)
        else:
            self.halts, continuation = slice(0, cfg.algo.ponder.max_halts), cfg.algo.ponder.continuation
            self.priors = log_prior(cfg.algo.ponder.max_halts, cfg.algo.ponder.lambda_p).exp().tolist()
        self.imagination = {
            "copies": len(self.priors),
            "continuation": continuation,
            "horizon": min(cfg.algo.horizon, MOST_FRAMES),
            "gamma": cfg.algo.gamma,
            "lmbda": cfg.algo.lmbda,
            "action_clip": float(cfg.algo.actor.action_clip) if actions.is_continuous else 0.0,
        }

    def read(self, number: int, observation: dict[str, np.ndarray], taken: int) -> Decision:
        """The decision that the player has just made, at the ponder step `taken`."""
        with undisturbed(self.fabric.device):
            latent = torch.cat((self.player.stochastic_state, self.player.recurrent_state), -1)  # [1, 1, L]
            batch = {key: value[None] for key, value in observation.items()}
            inputs = prepare_obs(self.fabric, batch, cnn_keys=self.pixels)
            mask = {key: value for key, value in inputs.items() if key.startswith("mask")} or None
            policies = [self.actor(latent, mask=mask, at=n).policies for n in range(1, self.steps + 1)]
            sheet = Sheet()
            return Decision(
                number=number,
                sheet=sheet,
                sees=sheet.add(self.artist(observation)),
                believes=self._pictures(latent[0], sheet)[0],
                latent=latent.flatten(),
                action=self.player.actions.flatten().clone(),  # the player's own is emptied where an episode ends
                taken=taken,
                steps=self._ponder_steps(policies, latent, sheet),
                right=self.actions.right(),
                value=TwoHotEncodingDistribution(self.agent.critic(latent), dims=1).mean.item(),
                surprise=self._surprise(inputs),
                change=sum(
                    kl_divergence(*heads).item() for heads in zip(policies[taken - 1], policies[0], strict=True)
                ),
            )

    def foresee(self, decisions: Sequence[Decision]) -> None:
        """Fills in what it would have imagined from each of decisions that followed each other, knowing what it did."""
        actions = torch.stack([decision.action for decision in decisions])
        stochastic, recurrent = self._parts(torch.stack([decision.latent for decision in decisions])[None])
        horizon = min(self.imagination["horizon"], len(decisions))
        with undisturbed(self.fabric.device):
            taken = (F.pad(actions[ahead:], (0, 0, 0, ahead))[None] for ahead in range(horizon))
            films = follow(self.rssm, stochastic, recurrent, taken).transpose(0, 1)  # [D, H, L]
            for d, decision in enumerate(decisions):
                known = actions[d:][: films.shape[1]]
                decision.foreseen = self._film(films[d, : len(known)], known, decision.sheet)

    def _parts(self, latents: Tensor) -> Sequence[Tensor]:
        """The stochastic and the recurrent part of latent states."""
        size = self.player.recurrent_state.shape[-1]
        return latents.split((latents.shape[-1] - size, size), -1)

    def _surprise(self, inputs: dict[str, Tensor]) -> float:
        recurrent, seen = self.player.recurrent_state, self.player.encoder(inputs)
        posterior = self.rssm._representation(*([seen] if self.player.decoupled_rssm else [recurrent, seen]))[0]
        logits = (x.unflatten(-1, (-1, self.rssm.discrete)) for x in (posterior, self.rssm._transition(recurrent)[0]))
        return kl_divergence(*(OneHotCategorical(logits=x) for x in logits)).sum().item()

    def _ponder_steps(self, policies: list[Sequence[Distribution]], latent: Tensor, sheet: Sheet) -> list[PonderStep]:
        steps = [self._ponder_step(policy) for policy in policies]
        halts = steps[self.halts]
        every = self.actor(latent, at="every", ahead=True)
        for step, log_p, prior in zip(halts, every.log_halting.flatten(), self.priors, strict=True):
            step.halting, step.prior = log_p.exp().item(), prior
        if every.dreams:
            outcomes = self.actor.module.ponder.step_module.lookahead.outcomes(latent[0], every.dreams.actions[0])
            looks = zip(every.dreams.actions.flatten().tolist(), self._pictures(outcomes[0], sheet), strict=True)
            for step, (action, picture), gain in zip(steps[1:], looks, every.dreams.gains.flatten(), strict=False):
                step.looked_at = Candidate(self.actions.names[0][action], picture, gain.item())
        stochastic, recurrent = self._parts(latent)
        roots = (stochastic.unflatten(-1, (-1, self.rssm.discrete)), recurrent, torch.zeros_like(recurrent[..., :1]))
        # What the learning would imagine from here, whose first action is that of each of the steps
        imagined = imagine(self.agent.world_model, self.actor, self.agent.critic, *roots, **self.imagination)
        for i, step in enumerate(halts):
            step.dream = self._film(imagined.trajectories[1:, i], imagined.actions[:-1, i], sheet)
            step.value = imagined.values[-1, i].item()
        return steps

    def _ponder_step(self, policy: Sequence[Distribution]) -> PonderStep:
        uncertainty = sum(entropy(head).item() for head in policy)
        if not self.actions.is_continuous:
            return PonderStep([head.probs.flatten().tolist() for head in policy], [], uncertainty)
        base = policy[0].base_dist
        samples = base.sample((SAMPLES,))
        moments = (base.mean, base.stddev) if isinstance(base, Normal) else (samples.mean(0), samples.std(0))
        return PonderStep([], list(zip(*(part.flatten().tolist() for part in moments), strict=True)), uncertainty)

    def _film(self, latents: Tensor, actions: Tensor, sheet: Sheet) -> list[Frame]:
        """
        Args:
            latents: `[n, L]`.
            actions: `[n, A]`, that led to them.
        """
        rewards = TwoHotEncodingDistribution(self.agent.world_model.reward_model(latents[None]), dims=1).mean.flatten()
        goes_on = self.agent.world_model.continue_model(latents[None]).sigmoid().flatten()
        moments = zip(self._pictures(latents, sheet), actions, rewards.tolist(), goes_on.tolist(), strict=True)
        return [Frame(sheet, picture, self.actions.text(action), *rest) for picture, action, *rest in moments]

    def _pictures(self, latents: Tensor, sheet: Sheet) -> list[int]:
        """The observations that latent states `[n, L]` decode to."""
        arrays = decoded(self.agent.world_model, latents[None], self.pixels)
        return [sheet.add(self.artist({key: x[0, i] for key, x in arrays.items()})) for i in range(len(latents))]
