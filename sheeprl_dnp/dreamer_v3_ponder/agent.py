"""The pondering actor: SheepRL's `Actor`, with a PonderNet between its trunk and its heads.

Axes, here and in all of the algorithm: `T` sequence, `B` batch, `M = T * B` root states of one gradient step,
`H` horizon, `N = max_halts` ponder steps, `A` action size, `D` dense units, `L` latent (stochastic + recurrent).
World-model tensors are `[T, B, ...]`, imagined ones `[H+1, N*M, ...]`, with the ponder step as the slower axis.
"""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium
import hydra
import torch
from lightning.fabric import Fabric
from lightning.fabric.wrappers import _FabricModule
from sheeprl.algos.dreamer_v3.agent import Actor, PlayerDV3, WorldModel
from sheeprl.algos.dreamer_v3.agent import build_agent as build_dreamer_v3_agent
from sheeprl.algos.dreamer_v3.utils import init_weights
from sheeprl.models.models import MLP
from sheeprl.utils.fabric import get_single_device_fabric, setup_module
from sheeprl.utils.utils import dotdict
from torch import Tensor, nn
from torch.distributions import Distribution

from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED, check_actions
from sheeprl_dnp.dreamer_v3_ponder.lookahead import Lookahead
from sheeprl_dnp.dreamer_v3_ponder.parameters import described_parameters, fit_trunk
from sheeprl_dnp.dreamer_v3_ponder.steps import Dream, DreamHalting, Dreams, Refine
from sheeprl_dnp.dreamer_v3_ponder.utils import WeightedMoments, build_moments
from sheeprl_dnp.halting import halting_head
from sheeprl_dnp.pondernet import Halted, PonderNet


class PonderedActions(NamedTuple):
    """The actions of an actor at the ponder step where it halted, in each state of `[*, L]`.

    With `at="every"` all but `dreams` have an axis more, of the steps at which it can halt: `[*, N]`, `[*, N, A]`.
    """

    actions: Sequence[Tensor]  # one per action head, [*, A]
    policies: Sequence[Distribution]  # one per action head
    halts: Tensor  # [*], the ponder step of the action, from 1 to N
    log_halting: Tensor | None  # [*], the log-probability of that step; None where a rule chose it
    dreams: Dreams | None  # [*, N-1], where there are any


class PonderActor(nn.Module):
    """SheepRL's actor with a PonderNet between its trunk and its heads; without one, SheepRL's actor.

    Its weights have the names and the order of those of SheepRL's `Actor`, so that with one ponder step the
    checkpoints of the two algorithms are the same.

    Args:
        actor: any actor of SheepRL (discrete, multi-discrete, continuous, MineDojo), whose trunk and heads it takes.
        ponder: of a step of `sheeprl_dnp.dreamer_v3_ponder.steps`; `None` for one ponder step.
    """

    def __init__(self, actor: Actor, ponder: PonderNet | None) -> None:
        super().__init__()
        self.model, self.mlp_heads = actor.model, actor.mlp_heads
        self.ponder = ponder
        self.is_continuous = actor.is_continuous
        # What is left of `actor`, from features to actions; in a tuple, since its weights are registered above
        actor.model = nn.Identity()
        self._heads = (actor,)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Fabric's wrappers are taken off, for MLflow, child by child: the heads that act are those that are registered
        super().__setstate__(state)
        self._heads[0].mlp_heads = self.mlp_heads

    def forward(
        self,
        state: Tensor,
        greedy: bool = False,
        mask: dict[str, Tensor] | None = None,
        clip: bool = True,
        *,
        at: str | int | Tensor = "sample",
        threshold: float = 0.5,
        ahead: bool = False,
        dreams: Dreams | None = None,
    ) -> PonderedActions:
        """Acts in the latent states `[*, L]`.

        Args:
            greedy, mask, clip: as in SheepRL's `Actor`.
            at: the ponder steps to act at: `sample`, `threshold` or a number (see `PonderNet.act`); `[*]`, given ones;
                `every`, all those at which it can halt.
            ahead: whether all that can be dreamed of in these states is dreamed at once, and given back.
            dreams: that were given back for these states.
        """
        features, heads = self.model(state), self._heads[0]
        if self.ponder is None:
            shape = (*state.shape[:-1], 1) if at == "every" else state.shape[:-1]
            actions, policies = heads(features.view(*shape, -1), greedy, mask, clip)
            halts = torch.ones(shape, dtype=torch.long, device=state.device)
            return PonderedActions(actions, policies, halts, torch.zeros(shape, device=state.device), None)
        halted, dreams = self._ponder(features, state, at, threshold, ahead, dreams)
        shape = (*state.shape[:-1], *halted.steps.shape[1:])
        outputs = halted.output.view(*shape, -1)
        actions, policies = self.ponder.step_module.policies(outputs, heads, greedy, mask, clip)
        log_halting = None if halted.log_probs is None else halted.log_probs.view(shape)
        return PonderedActions(actions, policies, halted.steps.view(shape), log_halting, dreams)

    def _ponder(
        self,
        features: Tensor,
        latents: Tensor,
        at: str | int | Tensor,
        threshold: float,
        ahead: bool,
        dreams: Dreams | None,
    ) -> tuple[Halted, Dreams | None]:
        """Where the states halt, as rows, and what was dreamed of in them."""
        ponder, every = self.ponder, None
        assert ponder is not None
        step = ponder.step_module
        inputs = step.inputs(features.flatten(0, -2), latents.flatten(0, -2), self._heads[0])
        known = Dreams(*(part.flatten(0, -2) for part in dreams)) if dreams else None
        if ahead and not known:
            known = step.look_ahead(inputs, ponder.max_steps)
        if known:
            every = ponder.weigh(*step.unroll(inputs, None, ponder.max_steps, known))
            dreams = Dreams(*(part.view(*features.shape[:-1], -1) for part in known))
        if isinstance(at, Tensor):
            at = at.flatten()
        elif at == "every":
            every = every or ponder.every_step(inputs)
            steps = torch.arange(every.first, ponder.max_steps + 1, device=features.device)
            return Halted(every.outputs, steps.expand_as(every.logits), every.log_probs), dreams
        if every:
            return ponder.choose(every, at, threshold), dreams
        return ponder.act(inputs, halting=at, threshold=threshold), dreams


class PonderedSteps(nn.Module):
    """The mean number of ponder steps of the player, on its device: in tensors, for which no code is compiled again."""

    def __init__(self) -> None:
        super().__init__()
        self.last: Tensor | None = None  # the mean that was last computed
        self._acted = False
        self._steps = nn.Buffer(torch.zeros((), dtype=torch.long), persistent=False)
        self._actions = nn.Buffer(torch.zeros((), dtype=torch.long), persistent=False)

    def update(self, halts: Tensor) -> None:
        self._steps = self._steps + halts.sum()
        self._actions = self._actions + halts.numel()
        self._acted = True

    @torch.inference_mode()  # as the player acts: to compiled code, tensors made outside it are others
    def compute_and_reset(self) -> Tensor | None:
        """The mean since the last call, `None` if the player didn't act since; left on the device."""
        if not self._acted:
            return None
        self.last, self._acted = self._steps / self._actions, False
        self._steps, self._actions = torch.zeros_like(self._steps), torch.zeros_like(self._actions)
        return self.last


class PlayerActor(nn.Module):
    """The pondering actor as the player calls it: halting by the configured rule, and counting its steps.

    Args:
        halting: as for `PonderActor`, or `SHUFFLED`: each environment acts at the ponder step that was sampled for the
            next one, whatever that one is at: early or late in its episode, or done with all of them. The steps are
            then taken as often as by the rule `sample`, but not where the actor chose them.
    """

    def __init__(self, actor: PonderActor, steps: PonderedSteps, halting: str | int, threshold: float) -> None:
        super().__init__()
        self.actor = actor
        self.steps = steps
        self.halting = halting
        self.threshold = threshold
        self.is_continuous = actor.is_continuous

    def forward(
        self, state: Tensor, greedy: bool = False, mask: dict[str, Tensor] | None = None
    ) -> tuple[Sequence[Tensor], Sequence[Distribution]]:
        if self.halting == SHUFFLED:
            halts = self.actor(state, greedy, mask, at="sample").halts.roll(-1, dims=-1)
            pondered = self.actor(state, greedy, mask, at=halts)
        else:
            pondered = self.actor(state, greedy, mask, at=self.halting, threshold=self.threshold)
        self.steps.update(pondered.halts)
        return pondered.actions, pondered.policies


def refine(cfg: dotdict, lookahead: Lookahead) -> tuple[nn.Module, nn.Module]:
    """A step that is a layer like those of the trunk, and the halting unit that sees what it makes."""
    actor, norm_cls = cfg.algo.actor, hydra.utils.get_class(cfg.algo.actor.layer_norm.cls)
    mlp = MLP(
        input_dims=2 * actor.dense_units,
        hidden_sizes=[actor.dense_units],
        activation=hydra.utils.get_class(actor.dense_act),
        layer_args={"bias": norm_cls == nn.Identity},
        norm_layer=norm_cls,
        norm_args={**actor.layer_norm.kw, "normalized_shape": actor.dense_units},
    ).apply(init_weights)
    return Refine(mlp.model), halting_head(actor.dense_units, cfg.algo.ponder.lambda_p)


def dream(cfg: dotdict, lookahead: Lookahead) -> tuple[nn.Module, nn.Module]:
    """A step that dreams of one action, and the halting unit that sees what it gained."""
    ponder = cfg.algo.ponder
    step = Dream(lookahead, cfg.algo.actor.dense_units, ponder.max_halts, halts=ponder.learn_halting)
    return step, DreamHalting(ponder.lambda_p)


STEPS = {"refine": refine, "dream": dream}


def build_ponder_net(cfg: dotdict, lookahead: Lookahead) -> PonderNet | None:
    """What ponders in the actor of a configuration; None where it takes one ponder step.

    Its weights come from a forked generator seeded by the run: they change no other initialisation.
    """
    ponder = cfg.algo.ponder
    if ponder.max_halts == 1:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(cfg.seed)  # `torch.manual_seed` would seed the GPUs too
        step, halting = STEPS[ponder.step](cfg, lookahead)
    return PonderNet(step, halting if ponder.learn_halting else None, ponder.max_halts, ponder.lambda_p)


def build_agent(
    fabric: Fabric,
    actions_dim: Sequence[int],
    is_continuous: bool,
    cfg: dotdict,
    obs_space: gymnasium.spaces.Dict,
    world_model_state: dict[str, Tensor] | None = None,
    actor_state: dict[str, Tensor] | None = None,
    *critic_states: dict[str, Tensor] | None,
    player_steps: PonderedSteps | None = None,
    moments: WeightedMoments | None = None,
) -> tuple[WorldModel, _FabricModule, _FabricModule, _FabricModule, PlayerDV3]:
    """SheepRL's DreamerV3 agent with a pondering actor, and the numbers of parameters of both printed.

    Arguments and results are those of SheepRL's `build_agent`. `player_steps` counts the ponder steps of the player;
    `moments` are those of the returns, which scale the gains of dreams (default: of an agent that has seen none).

    Raises:
        ConfigError: the actions are not such that an actor can ponder as it is configured to.
    """
    check_actions(cfg.algo, actions_dim, is_continuous)
    fitted_cfg = copy.deepcopy(cfg)
    fitted_cfg.algo.actor.update(fit_trunk(cfg, actions_dim, is_continuous))
    agent = build_dreamer_v3_agent(
        fabric, actions_dim, is_continuous, fitted_cfg, obs_space, world_model_state, None, *critic_states
    )
    world_model, actor, critic, target_critic, player = agent
    known = moments or build_moments(cfg.algo.actor.moments)
    lookahead = Lookahead(cfg.algo, world_model, critic, known, int(sum(actions_dim)))
    pondering_actor = PonderActor(actor.module, build_ponder_net(fitted_cfg, lookahead))
    if actor_state:
        pondering_actor.load_state_dict(actor_state)
    # Its trunk and heads are on the device by now: Fabric warns of weights on two
    actor = setup_module(fabric, pondering_actor.to(fabric.device))
    set_player_actor(fabric, cfg, player, actor.module, player_steps or PonderedSteps())
    fabric.print(described_parameters(cfg, actions_dim, is_continuous, actor, world_model, critic))
    return world_model, actor, critic, target_critic, player


def set_player_actor(fabric: Fabric, cfg: dotdict, player: PlayerDV3, actor: PonderActor, steps: PonderedSteps) -> None:
    """Gives the player its copy of the actor, which shares the weights of the one that is trained."""
    ponder_cfg = cfg.algo.ponder
    player_actor = PlayerActor(copy.deepcopy(actor), steps, ponder_cfg.halting, ponder_cfg.halting_threshold)
    player.actor = get_single_device_fabric(fabric).setup_module(player_actor)
    for weights, player_weights in zip(actor.parameters(), player.actor.parameters(), strict=True):
        player_weights.data = weights.data
