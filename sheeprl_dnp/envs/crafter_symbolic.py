"""Crafter seen as symbols, in the spirit of Craftax's symbolic observation (Matthews et al. 2024, arXiv 2402.16801)."""

from typing import Any

import gymnasium as gym
import numpy as np
from crafter import constants

from sheeprl_dnp.envs.crafter import CrafterWrapper
from sheeprl_dnp.envs.symbols import PRESENT, one_hot

MATERIALS = ("outside", *constants.materials)  # by Crafter's number of each; beyond the edge of the world there is none
ARROW = "arrow"  # of any direction
THINGS = ("cow", "zombie", "skeleton", ARROW, "plant", "plant-ripe")
KINDS = (*MATERIALS, *THINGS)
FACINGS = {"player-left": (-1, 0), "player-right": (1, 0), "player-up": (0, -1), "player-down": (0, 1)}
POSTURES = (*FACINGS, "player-sleep")
SOUGHT = tuple(kind for kind in KINDS if kind not in ("outside", "grass", "sand", "path"))  # whose nearest is told
# DreamerV3 takes logarithms of an observation, and their squared errors: so these say how much of it each part is. What
# the player faces decides what its next action does, and is learned before where the nearest of each kind is
FACED = 64.0
IN_VIEW = 2.0
WIDTH = 0.5  # of a cell
CELL = 8  # pixels of a drawn cell


class SymbolicCrafterWrapper(CrafterWrapper):
    """Crafter whose observation says what is nearest in the picture: the same worlds, rewards and records.

    The same seed and actions give what they give in `CrafterWrapper` with a `screen_size` of the same value, to which
    a night's noise takes its random numbers; `render` draws that picture, of the last observation.

    Observation `symbols`: float32 [45 + 19 + 16 + 5 + 1 + 22]. Of each kind that is `SOUGHT`, whether there is one
    among the 7 x 9 cells in view (`IN_VIEW` or 0), and by how many cells the nearest one is to the right and below,
    times `WIDTH` (the first in reading order of those that are as near; what the player stands on is 0 away); of each
    of the `KINDS` of grounds and of things on them whether the player faces it (`FACED` or 0); the 16 amounts of
    Crafter's inventory, health first; which way the player looks or that it sleeps (`POSTURES`, `PRESENT` or 0); the
    daylight, from 0 to `PRESENT`; and of each achievement whether the episode has unlocked it (`PRESENT` or 0).
    Darkness hides nothing, where in the picture it hides much, and no picture shows the achievements, of which each is
    rewarded once: without them a world model foresees the same reward again and again.

    With the 63 cells themselves, 1,552 numbers that are mostly of a meadow, a small world model knew 3 in 10 of what is
    around the player after 1,200 gradient steps, and no cow. With the nearest of all `KINDS`, as heavy as all else, it
    knew all that, but after 1,500 foresaw no reward; with this it does.

    Args and errors: see `CrafterWrapper`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._grid = np.array(self.env._local_view._grid)  # columns, rows
        self._centre = self._grid // 2
        offsets = np.array([*np.ndindex(*self._grid[::-1].tolist())])[:, ::-1] - self._centre  # right, below
        self._order = np.abs(offsets).sum(1).argsort(kind="stable")  # of the cells, the nearest first
        self._offsets = offsets[self._order]
        self._sought = [KINDS.index(kind) for kind in SOUGHT]
        self.env._obs = self._symbols
        size = 3 * len(SOUGHT) + len(KINDS) + len(constants.items) + len(POSTURES) + 1 + len(constants.achievements)
        self.observation_space = gym.spaces.Dict({"symbols": gym.spaces.Box(-FACED, FACED, (size,), np.float32)})

    def render(self) -> np.ndarray:
        self.env._world.random.set_state(self._before_noise)  # drawing the noise moves it on again
        return self.env.render()

    def draw_observation(self, observation: np.ndarray) -> np.ndarray:
        """The picture of any symbols, also of things that are half there, as a world model may believe in.

        Returns:
            uint8 [9 * `CELL`, 9 * `CELL`, 3]: what is nearest, on a meadow, with Crafter's textures, without its
            darkness.
        """
        ends = np.cumsum([3 * len(SOUGHT), len(KINDS), len(constants.items), len(POSTURES)])
        nearest, faced, amounts, posture, _ = np.split(observation, ends)
        columns, rows = self._grid
        image = np.tile(self._texture("grass")[..., :3].astype(float), (rows, columns, 1))
        for name, (there, *offset) in zip(SOUGHT, nearest.reshape(-1, 3), strict=True):
            self._paint(image, name, there / IN_VIEW, np.asarray(offset) / WIDTH)
        facing = FACINGS[POSTURES[posture[: len(FACINGS)].argmax()]]
        for name, there in zip(KINDS, faced, strict=True):
            self._paint(image, name, there / FACED, np.array(facing))
        for name, there in zip(POSTURES, posture, strict=True):
            self._paint(image, name, there / PRESENT, np.zeros(2))
        inventory = dict(zip(constants.items, amounts.round().clip(0, 9).astype(int).tolist(), strict=True))
        items = self.env._item_view(inventory, (CELL, CELL)).transpose(1, 0, 2)
        return np.concatenate([image.round().astype(np.uint8), items])

    def _paint(self, image: np.ndarray, name: str, strength: float, offset: np.ndarray) -> None:
        """Draws a thing so many cells to the right of the centre and below it, as strongly as it is there, up to 1."""
        column, row = (self._centre + offset.round()).clip(0, self._grid - 1).astype(int)
        cell = image[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        texture = self._texture(name)
        cell += float(np.clip(strength, 0, 1)) * texture[..., 3:] / 255 * (texture[..., :3] - cell)

    def _texture(self, name: str) -> np.ndarray:
        """One of Crafter's, with how much of what is below it hides: [`CELL`, `CELL`, 4]."""
        if name == "outside":
            return np.full((CELL, CELL, 4), [0, 0, 0, 255])
        named = f"{ARROW}-up" if name == ARROW else name
        texture = self.env._textures.get(named, (CELL, CELL)).transpose(1, 0, 2)
        return np.pad(texture, ((0, 0), (0, 0), (0, 4 - texture.shape[-1])), constant_values=255)

    def _convert_obs(self, obs: np.ndarray) -> dict[str, np.ndarray]:
        return {"symbols": obs}

    def _symbols(self) -> np.ndarray:
        self._pass_over_noise()
        world, player = self.env._world, self.env._player
        cells = self._cells()
        column, row = self._centre + player.facing
        posture = one_hot(np.array(POSTURES.index(player.texture)), len(POSTURES))
        unlocked = [player.achievements[name] > 0 for name in constants.achievements]
        amounts, there = list(player.inventory.values()), np.concatenate([posture, [world.daylight], unlocked])
        parts = (self._nearest(cells).ravel(), FACED * cells[row, column], amounts, PRESENT * there)
        return np.concatenate(parts, dtype=np.float32)

    def _nearest(self, cells: np.ndarray) -> np.ndarray:
        """Whether there is one of each kind in view, and how far to the right and below the nearest is: [SOUGHT, 3]."""
        by_distance = cells[..., self._sought].reshape(-1, len(SOUGHT))[self._order]
        there = by_distance.any(0)[:, None]
        return there * np.concatenate([IN_VIEW * there, WIDTH * self._offsets[by_distance.argmax(0)]], 1)

    def _pass_over_noise(self) -> None:
        """Draws the random numbers that a picture of the night would take from the world."""
        world, view = self.env._world, self.env._local_view
        self._before_noise = world.random.get_state()
        if world.daylight < 0.5:
            world.random.uniform(size=view._grid * (self.env._size // self.env._view))

    def _cells(self) -> np.ndarray:
        """What is in view: bool [rows, columns, KINDS]."""
        world, player = self.env._world, self.env._player
        ground, standing = self._view_of(world._mat_map), self._view_of(world._obj_map)
        cells = one_hot(ground, len(KINDS))
        for row, column in np.argwhere(standing):
            thing = world._objects[standing[row, column]]
            if thing is not player:
                cells[row, column, KINDS.index(ARROW if thing.texture.startswith(ARROW) else thing.texture)] = True
        return cells

    def _view_of(self, array: np.ndarray) -> np.ndarray:
        """The part of a map of the world that is in view, 0 beyond the edge of the world: [rows, columns]."""
        columns, rows = self._grid
        left, top = self.env._player.pos - self._centre
        inside = array[max(left, 0) : left + columns, max(top, 0) : top + rows].T
        view = np.zeros((rows, columns), array.dtype)
        row, column = max(-top, 0), max(-left, 0)
        view[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
        return view
