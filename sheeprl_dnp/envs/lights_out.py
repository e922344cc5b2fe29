"""Lights Out: a world that is easy to model, where the right action takes linear algebra over GF(2)."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from sheeprl_dnp.envs.episodes import open_log
from sheeprl_dnp.runs import ConfigError

# By size, the most presses that no fewer can replace: the difficulty of the hardest board
HARDEST = {2: 4, 3: 9, 4: 7, 5: 15}
CELL = 16  # pixels of a rendered light, one of them its border
ON, OFF, BORDER = (255, 221, 87), (38, 50, 70), (10, 14, 20)


class LightsOut(gym.Env):
    """A board of k x k lights: pressing one toggles it and its neighbours above, below, left and right.

    A board is made from the dark one by `d` random presses of distinct lights, so that it can be solved; `d`, its
    difficulty, is the smallest number of presses that solves it (sets of presses that fewer could replace are drawn
    again: on 4 x 4 and 5 x 5 boards some sets of presses do nothing).

    Observation: float32 [k * k], 1 where a light is on and -1 where it is off (of lights that are 0 or 1, DreamerV3's
    world model keeps few: the squared error of guessing one is smaller than what its latent costs in KL). Action: the
    light to press, row by row. Reward: 1 when the board is dark, which ends the episode; after d + `slack` presses it
    is truncated. At the end `info` has the `difficulty`, and the `success`: whether it is dark.

    Args:
        size: k, from 2 to 5.
        difficulty: the least and the greatest d, each as likely as any between; at most `HARDEST[size]`.
        slack: presses beyond d, from 0.
        worlds: `training` (the episodes of a run are recorded: see `open_log`) or `evaluation`.
        rank: the index of the environment, over all processes.
        num_envs: the environments of each process, to count the steps of the run.

    Raises:
        ConfigError: an argument isn't allowed.
        OSError: a record can't be written.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 4}  # noqa: RUF012

    def __init__(
        self,
        size: int = 3,
        difficulty: Sequence[int] = (1, 5),
        slack: int = 2,
        worlds: str = "training",
        rank: int = 0,
        num_envs: int = 1,
    ) -> None:
        check_arguments(size, difficulty, slack)
        self.size, self.slack, self.range = size, slack, tuple(difficulty)
        self.effects = press_effects(size)
        self.idle_presses = null_space(self.effects)
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (size * size,), np.float32)
        self.action_space = gym.spaces.Discrete(size * size)
        self.render_mode = "rgb_array"
        self._log = open_log(rank, num_envs) if worlds == "training" else None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.difficulty = int(self.np_random.integers(self.range[0], self.range[1] + 1))
        self._board = self.effects @ self._draw_presses() % 2
        self._presses = 0
        return self._observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        if self._log:
            self._log.count_step()
        self._board = (self._board + self.effects[:, int(action)]) % 2
        self._presses += 1
        dark = not self._board.any()
        truncated = not dark and self._presses >= self.difficulty + self.slack
        if not (dark or truncated):
            return self._observation(), 0.0, False, False, {}
        if self._log:
            self._log.write(length=self._presses, reward=float(dark), difficulty=self.difficulty)
        return self._observation(), float(dark), dark, truncated, {"difficulty": self.difficulty, "success": dark}

    def render(self) -> np.ndarray:
        """uint8 [16 k, 16 k, 3]."""
        lights = np.where(self._board.reshape(self.size, self.size, 1), ON, OFF).astype(np.uint8)
        image = lights.repeat(CELL, 0).repeat(CELL, 1)
        image[::CELL] = image[:, ::CELL] = BORDER
        return image

    def _draw_presses(self) -> np.ndarray:
        while True:
            presses = np.zeros(self.size**2, int)
            presses[self.np_random.choice(len(presses), self.difficulty, replace=False)] = 1
            if fewest_presses(presses, self.idle_presses) == self.difficulty:
                return presses

    def _observation(self) -> np.ndarray:
        return (2 * self._board - 1).astype(np.float32)


def press_effects(size: int) -> np.ndarray:
    """What each press toggles: [lights, presses] over GF(2), symmetric."""
    rows, columns = np.divmod(np.arange(size * size), size)
    distance = abs(rows[:, None] - rows) + abs(columns[:, None] - columns)
    return (distance <= 1).astype(int)


def null_space(matrix: np.ndarray) -> np.ndarray:
    """All the vectors that a matrix over GF(2) maps to 0: [2**nullity, columns]."""
    matrix = matrix.copy() % 2
    pivots: list[int] = []
    for column in range(matrix.shape[1]):
        rows = np.flatnonzero(matrix[len(pivots) :, column]) + len(pivots)
        if len(rows):
            matrix[[len(pivots), rows[0]]] = matrix[[rows[0], len(pivots)]]
            others = np.flatnonzero(matrix[:, column])
            matrix[others[others != len(pivots)]] ^= matrix[len(pivots)]
            pivots.append(column)
    vectors = [np.zeros(matrix.shape[1], int)]
    for free in sorted(set(range(matrix.shape[1])) - set(pivots)):
        vector = np.zeros(matrix.shape[1], int)
        vector[free], vector[pivots] = 1, matrix[: len(pivots), free]
        vectors += [vector ^ other for other in vectors]
    return np.array(vectors)


def fewest_presses(presses: np.ndarray, idle_presses: np.ndarray) -> int:
    """The size of the smallest set of presses that does what `presses` do; `idle_presses` are those that do nothing."""
    return int((presses ^ idle_presses).sum(1).min())


def check_arguments(size: int, difficulty: Sequence[int], slack: int) -> None:
    if size not in HARDEST:
        raise ConfigError(f"`env.wrapper.size={size}` must be one of {', '.join(map(str, HARDEST))}.")
    if len(difficulty) != 2 or not 1 <= difficulty[0] <= difficulty[1] <= HARDEST[size]:
        raise ConfigError(
            f"`env.wrapper.difficulty={list(difficulty)}` must be two whole numbers, the least and the greatest, "
            f"from 1 to {HARDEST[size]} on a {size} x {size} board."
        )
    if slack < 0:
        raise ConfigError(f"`env.wrapper.slack={slack}` must be a whole number from 0.")
