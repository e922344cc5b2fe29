"""Crafter (Hafner 2021, arXiv 2109.06780) with worlds fixed for ever."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from crafter import engine
from sheeprl.envs import crafter as sheeprl_crafter

from sheeprl_dnp.envs.worlds import WorldSeeds
from sheeprl_dnp.runs import ConfigError

IDS = ("crafter_reward", "crafter_nonreward")


class CrafterWrapper(sheeprl_crafter.CrafterWrapper):
    """SheepRL's Crafter, reproducible: a seed and the actions determine the pixels, in every process and every run.

    `reset(seed=s)` restarts the list of worlds of seed s, `reset()` plays the next one, and
    `reset(options={"world_seed": w})` plays world w, without moving on in the list. The `info` of a step has the
    episode's `achievements` (the count of each) and `crafter_return` (also the rewards that `crafter_nonreward` keeps
    from the agent) so far, and its `world_seed`. `render` returns the last observation.

    Args:
        id: `crafter_reward`, or `crafter_nonreward` (all rewards 0).
        screen_size: of the observation `rgb`, uint8 [screen_size, screen_size, 3].
        seed: the run's seed + rank, as SheepRL's `make_env` passes it; None draws one.
        rank: the index of the environment, over all processes.
        worlds: `training` (each run and environment has its own), `validation` or `evaluation` (they depend on `seed`
            alone).
        num_envs: without effect; the configurations of earlier versions have it.

    Raises:
        ConfigError: `id` or `worlds` is none of these.
    """

    def __init__(
        self,
        id: str,
        screen_size: Sequence[int] | int,
        seed: int | None = None,
        rank: int = 0,
        worlds: str = "training",
        num_envs: int | None = None,
    ) -> None:
        if id not in IDS:
            raise ConfigError(f"`env.id={id}` must be one of {', '.join(f'`{choice}`' for choice in IDS)}.")
        super().__init__(id, screen_size, seed)
        self.action_names = self.env.action_names
        self.env._world.__class__ = _World  # in place: the views of the environment hold it too
        # Spares each step a map that only `info` would show, and arithmetic on arrays of two numbers
        self.env._sem_view = lambda: None
        self.env._view = tuple(self.env._view.tolist())
        gym.Env.reset(self, seed=seed)
        self.world_seeds = WorldSeeds(worlds, rank)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        gym.Env.reset(self, seed=seed)
        if seed is not None:
            self.world_seeds.restart()
        world_seed = (options or {}).get("world_seed")
        self.env._world.seed = self.world_seeds.next(self.np_random_seed) if world_seed is None else world_seed
        self._return = 0.0
        return super().reset()

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = super().step(action)
        self._return += info["reward"]
        played = {"achievements": info["achievements"], "world_seed": self.env._world.seed}
        return obs, reward, terminated, truncated, played | {"crafter_return": self._return}

    def render(self) -> np.ndarray:
        # Drawn anew, a night would take its noise from the random numbers of the world, and so change what happens
        return self._frame.copy()

    def _convert_obs(self, obs: np.ndarray) -> dict[str, np.ndarray]:
        self._frame = obs
        return super()._convert_obs(obs)


class _Chunk(dict):
    """A set in the order of insertion, as far as Crafter uses one."""

    add = dict.setdefault
    remove = dict.pop


class _World(engine.World):
    """Crafter's world, seeded with `seed` itself; its chunks hold their objects in the order in which they came.

    Crafter's hold them in the order of their addresses in memory, and draw from them at random.
    """

    def reset(self, seed: int | None = None) -> None:
        super().reset(self.seed)
        self._chunks: dict[Any, _Chunk] = defaultdict(_Chunk)
