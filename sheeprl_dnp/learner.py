"""One gradient step of either algorithm by itself, without a training around it: to count it and to time it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium as gym
import hydra
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from sheeprl.algos.dreamer_v3 import dreamer_v3
from sheeprl.algos.dreamer_v3.agent import PlayerDV3
from sheeprl.algos.dreamer_v3.agent import build_agent as build_dreamer_v3_agent
from sheeprl.utils.metric import MetricAggregator
from sheeprl.utils.utils import dotdict
from torch import Tensor, nn
from torch.optim import Optimizer

from sheeprl_dnp.dreamer_v3_ponder.agent import PonderedSteps, build_agent
from sheeprl_dnp.dreamer_v3_ponder.dreamer_v3_ponder import train
from sheeprl_dnp.dreamer_v3_ponder.utils import action_sizes, build_moments
from sheeprl_dnp.pondernet import PonderNet


def agent_builder(cfg: dotdict, steps: Any, moments: nn.Module) -> Callable[..., tuple]:
    """The `build_agent` of the algorithm of a configuration.

    Args:
        steps: its `update` gets the ponder steps of the player.
        moments: of the returns, for an agent that dreams.
    """
    if "ponder" in cfg.algo:
        return partial(build_agent, player_steps=steps, moments=moments)
    return build_dreamer_v3_agent


@dataclass
class Learner:
    """An agent with all that its `train` takes; `learn_world_model` is the first part of a `step`."""

    cfg: dotdict
    world_model: nn.Module
    actor: nn.Module
    critic: nn.Module
    player: PlayerDV3
    moments: nn.Module
    optimizers: Sequence[Optimizer]  # of the world model, the actor and the critic
    observation_space: gym.spaces.Dict
    action_space: gym.Space
    step: Callable[..., None]  # (batch, aggregator=None)
    learn_world_model: Callable[[dict[str, Tensor]], Any]

    def batch(self, sequence_length: int, batch_size: int) -> dict[str, Tensor]:
        """A random batch `[T, B, ...]`, as the replay buffer gives them."""
        shape = (sequence_length, batch_size)
        observations = {key: _random(space, shape) for key, space in self.observation_space.items()}
        zeros = torch.zeros(*shape, 1)
        flags = {"rewards": torch.rand(*shape, 1), "terminated": zeros, "truncated": zeros, "is_first": zeros.clone()}
        return {**observations, "actions": self._actions(shape), **flags}

    def _actions(self, shape: tuple[int, int]) -> Tensor:
        if isinstance(self.action_space, gym.spaces.Box):
            return _random(self.action_space, shape)
        sizes = action_sizes(self.action_space)
        return torch.cat([F.one_hot(torch.randint(size, shape), size) for size in sizes], -1).float()


def _random(space: gym.spaces.Box, shape: tuple[int, int]) -> Tensor:
    values = torch.rand(*shape, *space.shape)
    return (255 * values).round() if space.dtype.kind == "u" else values


def build_learner(
    fabric: Fabric,
    cfg: dotdict,
    observation_space: gym.spaces.Dict,
    action_space: gym.Space,
    optimizer: Callable[..., Optimizer] | None = None,
    static: bool | None = None,
) -> Learner:
    """The untrained agent of a configuration, of `dreamer_v3` or of `dreamer_v3_ponder`.

    Args:
        optimizer: in place of the configured ones.
        static: of each `PonderNet`.
    """
    steps, moments = PonderedSteps(), build_moments(cfg.algo.actor.moments).to(fabric.device)
    is_continuous, sizes = isinstance(action_space, gym.spaces.Box), action_sizes(action_space)
    build = agent_builder(cfg, steps, moments)
    world_model, actor, critic, target_critic, player = build(fabric, sizes, is_continuous, cfg, observation_space)
    for module in (*actor.modules(), *player.modules()):
        if isinstance(module, PonderNet):
            module.static = static
    optimizers = [
        fabric.setup_optimizers(
            optimizer(module.parameters())
            if optimizer
            else hydra.utils.instantiate(section.optimizer, params=module.parameters(), _convert_="all")
        )
        for section, module in ((cfg.algo.world_model, world_model), (cfg.algo.actor, actor), (cfg.algo.critic, critic))
    ]
    run: Callable[..., None] = partial(train, player_steps=steps) if "ponder" in cfg.algo else dreamer_v3.train

    def step(batch: dict[str, Tensor], aggregator: MetricAggregator | None = None) -> None:
        learned = (world_model, actor, critic, target_critic, *optimizers)
        run(fabric, *learned, batch, aggregator, cfg, is_continuous, sizes, moments)

    learn_world_model = partial(dreamer_v3.world_model_learning, fabric, cfg, world_model, optimizers[0])
    agent = (cfg, world_model, actor, critic, player, moments, optimizers)
    return Learner(*agent, observation_space, action_space, step, learn_world_model)
