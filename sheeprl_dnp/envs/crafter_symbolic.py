"""Crafter seen as symbols, in the spirit of Craftax's symbolic observation (Matthews et al. 2024, arXiv 2402.16801)."""

from typing import Any

import gymnasium as gym
import numpy as np
from crafter import constants

from sheeprl_dnp.envs.crafter import CrafterWrapper
from sheeprl_dnp.envs.symbols import PRESENT, one_hot

MATERIALS = ("outside", *constants.materials)  # by Crafter's number of each; beyond the edge of the world there is none
OBJECTS = ("cow", "zombie", "skeleton", "arrow-left", "arrow-right", "arrow-up", "arrow-down", "plant", "plant-ripe")
POSTURES = ("player-left", "player-right", "player-up", "player-down", "player-sleep")
PLANES = len(MATERIALS) + len(OBJECTS)
DIGITS = 10  # of an amount in the inventory
CELL = 8  # pixels of a drawn cell


class SymbolicCrafterWrapper(CrafterWrapper):
    """Crafter whose observation says what the picture shows: the same worlds, rewards and records, without drawing.

    The same seed and actions give what they give in `CrafterWrapper` with a `screen_size` of the same value, to which
    a night's noise takes its random numbers; `render` draws that picture, of the last observation.

    Observation `symbols`: float32 [rows * columns * PLANES + items * DIGITS + 5 + 1], 0 or `PRESENT`. For each of the
    7 x 9 cells in view, row by row, what its ground is (`MATERIALS`) and what stands on it (`OBJECTS`); the digit of
    each of the 16 amounts of Crafter's inventory, health first; which way the player looks or that it sleeps
    (`POSTURES`), each one-hot; and the daylight, from 0 to `PRESENT`. Darkness hides nothing, where in the picture it
    hides much.

    Args and errors: see `CrafterWrapper`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._columns, self._rows = (int(cells) for cells in self.env._local_view._grid)
        self.env._obs = self._symbols
        size = self._rows * self._columns * PLANES + len(constants.items) * DIGITS + len(POSTURES) + 1
        self.observation_space = gym.spaces.Dict({"symbols": gym.spaces.Box(0.0, PRESENT, (size,), np.float32)})

    def render(self) -> np.ndarray:
        self.env._world.random.set_state(self._before_noise)  # drawing the noise moves it on again
        return self.env.render()

    def draw_observation(self, observation: np.ndarray) -> np.ndarray:
        """The picture of any symbols, also of things that are half there, as a world model may believe in.

        Returns:
            uint8 [9 * `CELL`, 9 * `CELL`, 3], with Crafter's textures, without its darkness.
        """
        there, grid = (observation / PRESENT).clip(0, 1), (self._rows, self._columns)
        ends = np.cumsum([self._rows * self._columns * PLANES, len(constants.items) * DIGITS, len(POSTURES)])
        cells, amounts, posture, _ = np.split(there, ends)
        player = np.zeros((*grid, len(POSTURES)))
        player[self._rows // 2, self._columns // 2] = posture
        planes = np.concatenate([cells.reshape(*grid, PLANES), player], -1)
        image = np.zeros((self._rows * CELL, self._columns * CELL, 3))
        for plane, name in zip(np.moveaxis(planes, -1, 0), (*MATERIALS, *OBJECTS, *POSTURES), strict=True):
            if name != "outside" and plane.max() > 0.01:
                texture = np.tile(self._texture(name), (*grid, 1))
                strength = plane.repeat(CELL, 0).repeat(CELL, 1)[..., None] * texture[..., 3:] / 255
                image += strength * (texture[..., :3] - image)
        inventory = dict(zip(constants.items, amounts.reshape(-1, DIGITS).argmax(-1), strict=True))
        items = self.env._item_view(inventory, (CELL, CELL)).transpose(1, 0, 2)
        return np.concatenate([image.round().astype(np.uint8), items])

    def _texture(self, name: str) -> np.ndarray:
        """One of Crafter's, with how much of what is below it hides: [`CELL`, `CELL`, 4]."""
        texture = self.env._textures.get(name, (CELL, CELL)).transpose(1, 0, 2)
        return np.pad(texture, ((0, 0), (0, 0), (0, 4 - texture.shape[-1])), constant_values=255)

    def _convert_obs(self, obs: np.ndarray) -> dict[str, np.ndarray]:
        return {"symbols": obs}

    def _symbols(self) -> np.ndarray:
        self._pass_over_noise()
        world, player = self.env._world, self.env._player
        amounts = one_hot(np.array(list(player.inventory.values())), DIGITS)
        posture = one_hot(np.array(POSTURES.index(player.texture)), len(POSTURES))
        parts: list[Any] = [self._cells().ravel(), amounts.ravel(), posture, [world.daylight]]
        return PRESENT * np.concatenate(parts, dtype=np.float32)

    def _pass_over_noise(self) -> None:
        """Draws the random numbers that a picture of the night would take from the world."""
        world, view = self.env._world, self.env._local_view
        self._before_noise = world.random.get_state()
        if world.daylight < 0.5:
            world.random.uniform(size=view._grid * (self.env._size // self.env._view))

    def _cells(self) -> np.ndarray:
        """What is in view: bool [rows, columns, PLANES]."""
        world, player = self.env._world, self.env._player
        ground, standing = self._view_of(world._mat_map), self._view_of(world._obj_map)
        things = np.zeros((*standing.shape, len(OBJECTS)), bool)
        for row, column in np.argwhere(standing):
            thing = world._objects[standing[row, column]]
            if thing is not player:
                things[row, column, OBJECTS.index(thing.texture)] = True
        return np.concatenate([one_hot(ground, len(MATERIALS)), things], -1)

    def _view_of(self, array: np.ndarray) -> np.ndarray:
        """The part of a map of the world that is in view, 0 beyond the edge of the world: [rows, columns]."""
        left, top = self.env._player.pos - np.array((self._columns, self._rows)) // 2
        inside = array[max(left, 0) : left + self._columns, max(top, 0) : top + self._rows].T
        view = np.zeros((self._rows, self._columns), array.dtype)
        row, column = max(-top, 0), max(-left, 0)
        view[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
        return view
