"""The pondering actor: SheepRL's `Actor`, whose features a PonderNet refines for a variable number of steps.

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
from torch import Tensor, nn
from torch.distributions import Distribution

from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED
from sheeprl_dnp.dreamer_v3_ponder.parameters import count_parameters, dreamer_v3_actor_parameters, fit_trunk
from sheeprl_dnp.pondernet import Halted, HaltedAt, PonderNet, halting_head


class PonderedActions(NamedTuple):
    """The actions of an actor at the ponder step where it halted, in each state of `[*, L]`."""

    actions: Sequence[Tensor]  # one per action head, [*, A]
    policies: Sequence[Distribution]  # one per action head
    halts: Tensor  # [*], the ponder step of the action, from 1 to N
    log_halting: Tensor | None  # [*], the log-probability of a given ponder step; None where a rule chose it


class PonderCell(nn.Module):
    """Ponder step 1 is the features of the trunk; each further one an MLP of (those features, the step before)."""

    def __init__(self, mlp: nn.Module) -> None:
        super().__init__()
        self.mlp = mlp

    def forward(self, features: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        state = features if state is None else self.mlp(torch.cat((features, state), -1))
        return state, state


class FixedSteps(nn.Module):
    """A step module applied a fixed number of times: what stands for the `PonderNet` of an actor that never halts.

    Args:
        step_module: as for `PonderNet`.
        steps: how many times it is applied, unless the player asks for another number.
    """

    def __init__(self, step_module: nn.Module, steps: int) -> None:
        super().__init__()
        self.step_module = step_module
        self.steps = steps

    def act(self, x: Tensor, halting: str | int = "sample", threshold: float = 0.5) -> Halted:
        """The last step of all rows: the rules `sample` and `threshold` have no effect."""
        steps = halting if isinstance(halting, int) else self.steps
        output, state = self.step_module(x, None)
        for _ in range(steps - 1):
            output, state = self.step_module(x, state)
        return Halted(output, torch.full(x.shape[:1], steps, device=x.device))

    def halt_at(self, x: Tensor, steps: Tensor) -> HaltedAt:
        """As `act`: there is one ponder step to halt at, whose log-probability is 0."""
        return HaltedAt(self.act(x).output, torch.zeros(len(x), device=x.device))


class PonderActor(nn.Module):
    """SheepRL's actor with a PonderNet between its trunk and its heads; without one, SheepRL's actor.

    Its weights have the names and the order of those of SheepRL's `Actor`, so that with one ponder step the
    checkpoints of the two algorithms are the same.

    Args:
        actor: any actor of SheepRL (discrete, multi-discrete, continuous, MineDojo), whose trunk and heads it takes.
        ponder: what refines the `[batch, D]` features of the trunk; `None` for one ponder step.
    """

    def __init__(self, actor: Actor, ponder: PonderNet | FixedSteps | None) -> None:
        super().__init__()
        self.model, self.mlp_heads = actor.model, actor.mlp_heads
        self.ponder = ponder
        self.is_continuous = actor.is_continuous
        # What is left of `actor`, from features to actions; in a tuple, since its weights are registered above
        actor.model = nn.Identity()
        self._heads = (actor,)

    def forward(
        self,
        state: Tensor,
        greedy: bool = False,
        mask: dict[str, Tensor] | None = None,
        clip: bool = True,
        *,
        halts: Tensor | None = None,
        halting: str | int = "sample",
        threshold: float = 0.5,
        at_roots: bool = False,
    ) -> PonderedActions:
        """Acts in the latent states `[*, L]`.

        Args:
            greedy, mask, clip: as in SheepRL's `Actor`.
            halts: the ponder steps to act from, `[*]`; `None`: halt by the rule `halting` (see `PonderNet.act`).
            at_roots: the states are imagined ones, `[H, N*M, L]`, whose first time step is N copies of the roots, in
                which `halts` is 1 to N in turn: each ponder step of a root is then computed once.
        """
        if self.ponder is None:
            features = self.model(state)
            halts = torch.ones(state.shape[:-1], dtype=torch.long, device=state.device)
            log_halting = torch.zeros(state.shape[:-1], device=state.device)
        elif at_roots and isinstance(self.ponder, PonderNet):
            features, log_halting = self._ponder_imagined(state, halts)
        else:
            features, halts, log_halting = self._ponder(state, halts, halting, threshold)
        actions, policies = self._heads[0](features, greedy, mask, clip)
        return PonderedActions(actions, policies, halts, log_halting)

    def _ponder(
        self, states: Tensor, halts: Tensor | None, halting: str | int, threshold: float
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The features of states, `[*, D]`, at given ponder steps or where they halt by a rule, and the steps."""
        features = self.model(states)
        shape, flat = features.shape, features.flatten(0, -2)
        if halts is None:
            halted = self.ponder.act(flat, halting=halting, threshold=threshold)
            return halted.output.view(shape), halted.steps.view(shape[:-1]), None
        at_halts = self.ponder.halt_at(flat, halts.flatten())
        return at_halts.output.view(shape), halts, at_halts.log_probs.view(shape[:-1])

    def _ponder_imagined(self, states: Tensor, halts: Tensor) -> tuple[Tensor, Tensor]:
        """The features of imagined states, `[H, N*M, D]`, and the log-probabilities of `halts` (see `at_roots`)."""
        roots = states[0, : states.shape[1] // self.ponder.max_steps]
        every = self.ponder.every_step(self.model(roots))
        features, log_halting = every.outputs.transpose(0, 1).flatten(0, 1), every.log_probs.T.flatten()
        if len(states) > 1:
            later = self.ponder.halt_at(self.model(states[1:]).flatten(0, 1), halts[1:].flatten())
            features = torch.cat((features, later.output))
            log_halting = torch.cat((log_halting, later.log_probs))
        return features.view(*states.shape[:-1], -1), log_halting.view(states.shape[:-1])


class PonderedSteps:
    """The mean number of ponder steps of the player."""

    def __init__(self) -> None:
        self.last: float | None = None  # the mean that was last computed
        # The sum of the steps and the number of actions: a tensor, for which compiled code isn't compiled again
        self._totals: Tensor | None = None

    def update(self, halts: Tensor) -> None:
        totals = torch.stack((halts.sum(), torch.ones_like(halts).sum()))
        self._totals = totals if self._totals is None else self._totals + totals

    def compute_and_reset(self) -> float | None:
        """The mean since the last call, `None` if the player didn't act since."""
        if self._totals is None:
            return None
        steps, actions = self._totals.tolist()
        self.last, self._totals = steps / actions, None
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
            halts = self.actor(state, greedy, mask, halting="sample").halts.roll(-1, dims=-1)
            pondered = self.actor(state, greedy, mask, halts=halts)
        else:
            pondered = self.actor(state, greedy, mask, halting=self.halting, threshold=self.threshold)
        self.steps.update(pondered.halts)
        return pondered.actions, pondered.policies


def build_ponder_net(cfg: dict[str, Any]) -> PonderNet | FixedSteps:
    """What ponders in the actor of a configuration, its cell a layer like those of the trunk.

    Its weights come from a forked generator seeded by the run: they change no other initialisation.
    """
    actor_cfg, ponder_cfg = cfg.algo.actor, cfg.algo.ponder
    features = actor_cfg.dense_units
    norm_cls = hydra.utils.get_class(actor_cfg.layer_norm.cls)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(cfg.seed)  # `torch.manual_seed` would seed the GPUs too
        mlp = MLP(
            input_dims=2 * features,
            hidden_sizes=[features],
            activation=hydra.utils.get_class(actor_cfg.dense_act),
            layer_args={"bias": norm_cls == nn.Identity},
            norm_layer=norm_cls,
            norm_args={**actor_cfg.layer_norm.kw, "normalized_shape": features},
        ).apply(init_weights)
        cell = PonderCell(mlp)
        if not ponder_cfg.learn_halting:
            return FixedSteps(cell, ponder_cfg.max_halts)
        head = halting_head(features, ponder_cfg.lambda_p)
    return PonderNet(cell, head, ponder_cfg.max_halts, ponder_cfg.lambda_p)


def build_agent(
    fabric: Fabric,
    actions_dim: Sequence[int],
    is_continuous: bool,
    cfg: dict[str, Any],
    obs_space: gymnasium.spaces.Dict,
    world_model_state: dict[str, Tensor] | None = None,
    actor_state: dict[str, Tensor] | None = None,
    critic_state: dict[str, Tensor] | None = None,
    target_critic_state: dict[str, Tensor] | None = None,
    *,
    player_steps: PonderedSteps | None = None,
) -> tuple[WorldModel, _FabricModule, _FabricModule, _FabricModule, PlayerDV3]:
    """SheepRL's DreamerV3 agent with a pondering actor, and the numbers of parameters of both printed.

    Arguments and results are those of SheepRL's `build_agent`; `player_steps` counts the ponder steps of the player.
    """
    fitted_cfg = copy.deepcopy(cfg)
    if cfg.algo.ponder.max_halts > 1:
        fitted_cfg.algo.actor.update(fit_trunk(cfg, actions_dim, is_continuous))
    world_model, actor, critic, target_critic, player = build_dreamer_v3_agent(
        fabric,
        actions_dim,
        is_continuous,
        fitted_cfg,
        obs_space,
        world_model_state,
        None,
        critic_state,
        target_critic_state,
    )
    ponder = build_ponder_net(fitted_cfg) if cfg.algo.ponder.max_halts > 1 else None
    pondering_actor = PonderActor(actor.module, ponder)
    if actor_state:
        pondering_actor.load_state_dict(actor_state)
    actor = setup_module(fabric, pondering_actor)
    set_player_actor(fabric, cfg, player, actor.module, player_steps or PonderedSteps())
    agent = count_parameters(world_model, actor, critic)
    actor_size = count_parameters(actor)
    dreamer_v3_actor = dreamer_v3_actor_parameters(cfg, actions_dim, is_continuous)
    fabric.print(
        f"Parameters of the agent: {agent:,} (DreamerV3: {agent - actor_size + dreamer_v3_actor:,}); "
        f"of the actor: {actor_size:,} (DreamerV3: {dreamer_v3_actor:,})"
    )
    return world_model, actor, critic, target_critic, player


def set_player_actor(
    fabric: Fabric, cfg: dict[str, Any], player: PlayerDV3, actor: PonderActor, steps: PonderedSteps
) -> None:
    """Gives the player its copy of the actor, which shares the weights of the one that is trained."""
    ponder_cfg = cfg.algo.ponder
    player_actor = PlayerActor(copy.deepcopy(actor), steps, ponder_cfg.halting, ponder_cfg.halting_threshold)
    player.actor = get_single_device_fabric(fabric).setup_module(player_actor)
    for weights, player_weights in zip(actor.parameters(), player.actor.parameters(), strict=True):
        player_weights.data = weights.data
