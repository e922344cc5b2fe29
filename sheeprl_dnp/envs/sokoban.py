"""Sokoban in small rooms: planning ahead matters, since a push can't be undone."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from sheeprl_dnp.envs.puzzle import Puzzle, check_count, check_difficulty
from sheeprl_dnp.envs.sokoban_rooms import HARDEST, INNER_WALLS, Room, draw_room, moves
from sheeprl_dnp.envs.symbols import PRESENT
from sheeprl_dnp.runs import ConfigError

CELL = 16  # pixels of a rendered cell
WALL, FLOOR, GOAL, BOX, PLAYER = (90, 90, 110), (24, 26, 32), (230, 80, 110), (190, 130, 60), (90, 220, 120)


class Sokoban(Puzzle):
    """A room of k x k cells, its border walls, where the player pushes each box onto a goal (Racaniere et al. 2017).

    The room's difficulty d is the smallest number of pushes that solves it: rooms are made backwards, by pulling boxes
    off their goals, breadth first. Some walls stand inside. A box in a corner is lost.

    Observation: float32 [4 * (k - 2)^2], for each cell inside the border, row by row, whether it is a wall, a goal, has
    a box, has the player: `PRESENT` or 0. Action: up, down, left or right; the player walks there, pushes
    the box that stands there, or stays where neither can be. It is solved when each box is on a goal. The `info` has
    the `room` that the episode began with, in the notation of `Room.__str__`.

    A quarter of the layouts (walls and goals) is kept for evaluation, an eighth for validation: no training episode
    takes place in one.

    Args:
        size: k, 6 or 7.
        boxes: 1 or 2.
        difficulty: at most `HARDEST[size, boxes]`.
        max_moves: the moves of an episode, from 1.
        seed, worlds, rank: see `Puzzle`.

    Raises:
        ConfigError: an argument isn't allowed.
    """

    def __init__(
        self,
        size: int = 6,
        boxes: int = 1,
        difficulty: Sequence[int] = (1, 4),
        max_moves: int = 30,
        seed: int | None = None,
        worlds: str = "training",
        rank: int = 0,
    ) -> None:
        if type(size) is not int or size not in INNER_WALLS:
            raise ConfigError(f"`env.wrapper.size={size}` must be one of {', '.join(map(str, INNER_WALLS))}.")
        if type(boxes) is not int or (size, boxes) not in HARDEST:
            raise ConfigError(f"`env.wrapper.boxes={boxes}` must be 1 or 2.")
        where = f"for `env.wrapper.size={size}` and `env.wrapper.boxes={boxes}`"
        check_difficulty(difficulty, HARDEST[size, boxes], where)
        check_count("max_moves", max_moves, 1)
        super().__init__(difficulty, seed, worlds, rank)
        self.size, self.boxes, self.most = size, boxes, max_moves
        self.observation_space = gym.spaces.Box(0.0, PRESENT, (4 * (size - 2) ** 2,), np.float32)
        self.action_space = gym.spaces.Discrete(4)
        self.action_names = ["up", "down", "left", "right"]

    def start(self, rng: np.random.Generator) -> dict[str, Any]:
        self.room = draw_room(rng, self.size, self.boxes, self.difficulty, self.worlds)
        return {"room": str(self.room)}

    def act(self, action: int) -> bool:
        self.room = self.room.after(moves(self.size)[action])
        return self.room.solved

    def draw_observation(self, observation: np.ndarray) -> np.ndarray:
        """The picture of any observation, also of things that are half there, as a world model may believe in.

        A goal is larger than a box, a box than the player, so that each can be seen.
        """
        inside = (observation / PRESENT).clip(0, 1).reshape(self.size - 2, self.size - 2, 4)
        there = np.pad(inside, ((1, 1), (1, 1), (0, 0)))
        there[[0, -1], :, 0] = there[:, [0, -1], 0] = 1
        there = there.repeat(CELL, 0).repeat(CELL, 1)
        image = np.full((*there.shape[:2], 3), FLOOR, float)
        row, column = np.indices(there.shape[:2]) % CELL
        from_edge = np.minimum.reduce([row, column, CELL - 1 - row, CELL - 1 - column])
        looks = zip((WALL, GOAL, BOX, PLAYER), (0, 1, 3, 5), strict=True)
        for plane, (colour, margin) in zip(np.moveaxis(there, -1, 0), looks, strict=True):
            image += (plane * (from_edge >= margin))[..., None] * (colour - image)
        return image.round().astype(np.uint8)

    def right_actions(self) -> list[int]:
        """The moves that begin a way to the solved room of the fewest moves; none where there is no way."""
        first = {self.room: 0}  # of each room that can be reached, the moves that begin its shortest ways, as bits
        layer = first
        while layer and not (solved := [begun for room, begun in layer.items() if room.solved]):
            following: dict[Room, int] = {}
            for room, begun in layer.items():
                for number, move in enumerate(moves(self.size)):
                    after = room.after(move)
                    if after not in first:
                        following[after] = following.get(after, 0) | (begun or 1 << number)
            first |= following
            layer = following
        begun = np.bitwise_or.reduce(solved, initial=0) if layer else 0
        return [number for number in range(4) if begun >> number & 1]

    def observation(self) -> np.ndarray:
        """Walls, goals, boxes and the player inside the border."""
        room, cells = self.room, range(self.size**2)
        sets = (~room.floor, room.goals, room.boxes, room.player)
        planes = np.array([[places >> cell & 1 for cell in cells] for places in sets]).reshape(4, self.size, self.size)
        return (PRESENT * planes[:, 1:-1, 1:-1].transpose(1, 2, 0).ravel()).astype(np.float32)
