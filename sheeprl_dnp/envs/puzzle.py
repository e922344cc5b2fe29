"""Puzzles of a known difficulty, the fewest actions that solve one: what Lights Out and Sokoban share."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from sheeprl_dnp.envs.worlds import WorldSeeds
from sheeprl_dnp.runs import ConfigError


class Puzzle(gym.Env):
    """An episode is one puzzle. Reward: 1 when it is solved, which ends the episode; after `most` actions it is cut.

    The `info` of a step has the `difficulty`, the `success` (whether it is solved), and what the puzzle began with.
    `reset(seed=s)` restarts the list of puzzles of seed s, `reset()` plays the next one.

    Args:
        difficulty: the least and the greatest, each as likely as any between.
        seed: the run's seed + rank, as SheepRL's `make_env` passes it; None draws one.
        worlds: `training` (each run and environment has its own puzzles), `validation` or `evaluation` (puzzles that
            are kept for it, determined by `seed` alone).
        rank: the index of the environment, over all processes.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012

    most: int  # actions of an episode

    def __init__(self, difficulty: Sequence[int], seed: int | None, worlds: str, rank: int) -> None:
        self.range = tuple(difficulty)
        self.render_mode = "rgb_array"
        super().reset(seed=seed)
        self.worlds, self.world_seeds = worlds, WorldSeeds(worlds, rank)

    def start(self, rng: np.random.Generator) -> dict[str, Any]:
        """Draws a puzzle of the difficulty `self.difficulty`; returns what names it in the `info` of each step."""
        raise NotImplementedError

    def act(self, action: int) -> bool:
        """Whether it then is solved."""
        raise NotImplementedError

    def observation(self) -> np.ndarray:
        raise NotImplementedError

    def draw_observation(self, observation: np.ndarray) -> np.ndarray:
        """The picture of any observation, also of what is half there, as a world model may believe in."""
        raise NotImplementedError

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.world_seeds.restart()
        rng = np.random.default_rng(self.world_seeds.next(self.np_random_seed))
        self.difficulty = int(rng.integers(self.range[0], self.range[1] + 1))
        self._taken, self._episode = 0, {"difficulty": self.difficulty} | self.start(rng)
        return self.observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if not self.action_space.contains(action):
            raise ValueError(f"The action {action} must be one of {', '.join(map(str, range(self.action_space.n)))}.")
        solved = self.act(int(action))
        self._taken += 1
        truncated = not solved and self._taken >= self.most
        return self.observation(), float(solved), solved, truncated, self._episode | {"success": solved}

    def render(self) -> np.ndarray:
        """uint8 [16 k, 16 k, 3]."""
        return self.draw_observation(self.observation())


def check_difficulty(difficulty: Any, hardest: int, where: str) -> None:
    """Raises a ConfigError where it isn't a range from 1 to `hardest`."""
    bounds = difficulty if isinstance(difficulty, Sequence) else ()
    if len(bounds) != 2 or not all(type(d) is int for d in bounds) or not 1 <= bounds[0] <= bounds[1] <= hardest:
        raise ConfigError(
            f"`env.wrapper.difficulty={difficulty}` must be two whole numbers, the least and the greatest, "
            f"from 1 to {hardest} {where}."
        )


def check_count(key: str, value: Any, least: int) -> None:
    """Raises a ConfigError where it isn't a whole number from `least`."""
    if type(value) is not int or value < least:
        raise ConfigError(f"`env.wrapper.{key}={value}` must be a whole number from {least}.")
