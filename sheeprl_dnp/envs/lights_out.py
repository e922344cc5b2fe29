"""Lights Out: a world that is easy to model, where the right action takes linear algebra over GF(2)."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from sheeprl_dnp.envs.puzzle import Puzzle, check_count, check_difficulty
from sheeprl_dnp.envs.worlds import kind_of_start
from sheeprl_dnp.runs import ConfigError

# By size, the greatest difficulty of which there are boards for training, for validation and for evaluation
HARDEST = {3: 8, 4: 7, 5: 15}
CELL = 16  # pixels of a rendered light, one of them its border
ON, OFF, BORDER = (255, 221, 87), (38, 50, 70), (10, 14, 20)


class LightsOut(Puzzle):
    """A board of k x k lights: pressing one toggles it and its neighbours above, below, left and right.

    A board is made from the dark one by `d` random presses of distinct lights, so that it can be solved; `d`, its
    difficulty, is the smallest number of presses that solves it (sets of presses that fewer could replace are drawn
    again: on 4 x 4 and 5 x 5 boards some sets of presses do nothing).

    Observation: float32 [k * k], 1 where a light is on and -1 where it is off (of lights that are 0 or 1, DreamerV3's
    world model keeps few: the squared error of guessing one is smaller than what its latent costs in KL). Action: the
    light to press, row by row. It is solved when it is dark, and cut after d + `slack` presses. The `info` has the
    `board` that the episode began with: its lights as the digits of a binary number, row by row.

    A quarter of the boards is kept for evaluation, an eighth for validation: no training episode begins with one. (It
    may still come by: one wrong press on a board makes another, and all 512 boards of 3 x 3 lights are few presses
    apart.)

    Args:
        size: k, from 3 to 5.
        difficulty: at most `HARDEST[size]`.
        slack: presses beyond d, from 0.
        seed, worlds, rank: see `Puzzle`.
        num_envs: without effect; the configurations of earlier versions have it.

    Raises:
        ConfigError: an argument isn't allowed.
    """

    def __init__(
        self,
        size: int = 3,
        difficulty: Sequence[int] = (1, 4),
        slack: int = 2,
        seed: int | None = None,
        worlds: str = "training",
        rank: int = 0,
        num_envs: int | None = None,
    ) -> None:
        if type(size) is not int or size not in HARDEST:
            raise ConfigError(f"`env.wrapper.size={size}` must be one of {', '.join(map(str, HARDEST))}.")
        check_difficulty(difficulty, HARDEST[size], f"on a {size} x {size} board")
        check_count("slack", slack, 0)
        super().__init__(difficulty, seed, worlds, rank)
        self.size, self.slack = size, slack
        self.effects = press_effects(size)
        self.idle_presses = null_space(self.effects)
        self.observation_space = gym.spaces.Box(-1.0, 1.0, (size * size,), np.float32)
        self.action_space = gym.spaces.Discrete(size * size)
        self.action_names = [f"r{row} c{column}" for row, column in np.argwhere(np.ones((size, size))) + 1]
        self.action_columns = size

    def start(self, rng: np.random.Generator) -> dict[str, Any]:
        self.most = self.difficulty + self.slack
        while True:
            presses = np.zeros(self.size**2, int)
            presses[rng.choice(len(presses), self.difficulty, replace=False)] = 1
            self._board = self.effects @ presses % 2
            exact = fewest_presses(presses, self.idle_presses) == self.difficulty
            if exact and worlds_of(self._board) == self.worlds:
                return {"board": board_number(self._board)}

    def act(self, action: int) -> bool:
        self._board = (self._board + self.effects[:, action]) % 2
        return not self._board.any()

    def observation(self) -> np.ndarray:
        return (2 * self._board - 1).astype(np.float32)

    def draw_observation(self, observation: np.ndarray) -> np.ndarray:
        """The picture of any observation, also of lights between on and off, as a world model may believe in."""
        on = (observation.reshape(self.size, self.size, 1).clip(-1, 1) + 1) / 2
        lights = (OFF + on * np.subtract(ON, OFF)).round().astype(np.uint8)
        image = lights.repeat(CELL, 0).repeat(CELL, 1)
        image[::CELL] = image[:, ::CELL] = BORDER
        return image

    def right_actions(self) -> list[int]:
        """The presses that are part of a shortest solution of the board as it is."""
        # A combination of presses and the board that leaves all dark, with the board in it
        combinations = null_space(np.column_stack((self.effects, self._board)))
        solutions = combinations[combinations[:, -1] == 1, :-1]
        shortest = solutions[solutions.sum(1) == solutions.sum(1).min()]
        return np.flatnonzero(shortest.any(0)).tolist()


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


def board_number(board: np.ndarray) -> int:
    """The lights as the digits of a binary number, row by row."""
    return int("".join(map(str, board)), 2)


def worlds_of(board: np.ndarray) -> str:
    """The worlds whose episodes begin with a board: `training`, `validation` or `evaluation`."""
    return kind_of_start(len(board), board_number(board))
