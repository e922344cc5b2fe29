"""Pictures of observations, seen or believed, and the sheets on which a page has them."""

import base64
import math
from collections.abc import Callable, Sequence
from io import BytesIO

import gymnasium as gym
import numpy as np
from PIL import Image
from sheeprl.algos.dreamer_v2.agent import WorldModel
from sheeprl.utils.utils import dotdict, symexp
from torch import Tensor

COLUMNS = 8  # pictures in a row of a sheet
HEIGHT = 64  # pixels of a picture of numbers, and about its width
MOST_BARS = 32  # more numbers are drawn as a map of colours
NOTHING, MORE, LESS = (244, 244, 242), (0, 114, 178), (213, 94, 0)

Picture = np.ndarray  # uint8 [height, width, 3]


def decoded(world_model: WorldModel, latents: Tensor, pixels: Sequence[str]) -> dict[str, np.ndarray]:
    """The observations that latent states decode to.

    Args:
        latents: `[T, B, L]`.
        pixels: the keys of pictures.

    Returns:
        `[T, B, ...]` by key, pictures as uint8.
    """
    return {
        key: (((x + 0.5) * 255).clamp(0, 255).byte() if key in pixels else symexp(x.float())).cpu().numpy()
        for key, x in world_model.observation_model(latents).items()
    }


class Artist:
    """Draws what the decoder of an agent has of an observation, the same for one that is seen and one that is believed.

    Pictures are what they are; a vector is drawn by the environment, if that has `draw_observation(vector)`, or as bars
    (up: above 0, down: below), or as a map of colours, if it is long.

    Args:
        space: of the observations.
        env: the environment, if there is one at hand.
    """

    def __init__(self, cfg: dotdict, space: gym.spaces.Dict, env: gym.Env | None = None) -> None:
        self._pixels = [key for key in cfg.algo.cnn_keys.decoder if key in space.spaces]
        self._vectors = [key for key in cfg.algo.mlp_keys.decoder if key in space.spaces]
        draw = getattr(env.unwrapped, "draw_observation", None) if env else None
        self._draw: Callable[[np.ndarray], Picture] | None = draw if len(self._vectors) == 1 else None
        self._scales = {key: _scale(space[key]) for key in self._vectors}

    def __call__(self, observation: dict[str, np.ndarray]) -> Picture:
        """
        Args:
            observation: pictures uint8 [channels, height, width], vectors of any shape.
        """
        pictures = [_colours(observation[key]) for key in self._pixels]
        for key in self._vectors:
            vector = np.asarray(observation[key], float).ravel()
            pictures.append(self._draw(vector) if self._draw else draw_numbers(vector / self._scales[key]))
        return _stacked(pictures)


def _scale(space: gym.spaces.Box) -> np.ndarray | float:
    """By what a vector is divided, so that most of its numbers are from -1 to 1."""
    greatest = np.maximum(np.abs(space.low), np.abs(space.high)).ravel().astype(float)
    return np.where(np.isfinite(greatest) & (greatest > 0) & (greatest < 1e6), greatest, 2.0)


def _colours(image: np.ndarray) -> Picture:
    """The last three channels of a picture, that of the last moment; grey ones three times."""
    image = image[-3:] if len(image) % 3 == 0 else image[-1:].repeat(3, 0)
    return np.ascontiguousarray(image.transpose(1, 2, 0))


def _stacked(pictures: list[Picture]) -> Picture:
    """One below the other."""
    width = max(picture.shape[1] for picture in pictures)
    fill = [((0, 0), (0, width - picture.shape[1]), (0, 0)) for picture in pictures]
    return np.concatenate([np.pad(picture, pad) for picture, pad in zip(pictures, fill, strict=True)])


def draw_numbers(numbers: np.ndarray) -> Picture:
    """Numbers from -1 to 1 (those beyond are drawn as these): as bars, or as colours where they are many."""
    numbers = np.nan_to_num(numbers).clip(-1, 1)
    if len(numbers) > MOST_BARS:
        side = math.ceil(math.sqrt(len(numbers)))
        strength = np.pad(numbers, (0, side * side - len(numbers))).reshape(side, side, 1)
        colours = NOTHING + np.abs(strength) * (np.where(strength > 0, MORE, LESS) - np.array(NOTHING))
        cell = math.ceil(HEIGHT / side)
        return colours.round().astype(np.uint8).repeat(cell, 0).repeat(cell, 1)
    middle = HEIGHT // 2
    height = (np.arange(middle, -middle, -1) / middle)[:, None]  # of each row of pixels, from 1 down
    inside = ((height > 0) & (height <= numbers)) | ((height < 0) & (height >= numbers))
    image = np.where(inside[..., None], np.where(height > 0, MORE, LESS)[:, None], NOTHING).astype(np.uint8)
    width = HEIGHT // len(numbers)
    image = image.repeat(width, 1)
    image[:, ::width] = NOTHING
    image[middle] = 150
    return image


class Sheet:
    """The pictures of one decision, each once, as one WebP: picture t is in the column t % `COLUMNS`."""

    def __init__(self) -> None:
        self._pictures: dict[bytes, int] = {}
        self.shape: tuple[int, ...] = ()
        self.name = ""  # by which the page knows it

    def add(self, picture: Picture) -> int:
        """The number of the picture on the sheet; all of them have the same shape."""
        self.shape = picture.shape
        return self._pictures.setdefault(picture.tobytes(), len(self._pictures))

    def encoded(self) -> str:
        """In base 64."""
        pictures = [np.frombuffer(data, np.uint8).reshape(self.shape) for data in self._pictures]
        pictures += [np.zeros(self.shape, np.uint8)] * (-len(pictures) % COLUMNS)
        rows = [np.concatenate(pictures[i : i + COLUMNS], 1) for i in range(0, len(pictures), COLUMNS)]
        image = Image.fromarray(np.concatenate(rows))
        # What is drawn in few colours is smaller without loss, photographs are smaller with it
        return min((base64.b64encode(_webp(image, lossless)).decode() for lossless in (True, False)), key=len)


def _webp(image: Image.Image, lossless: bool) -> bytes:
    file = BytesIO()
    image.save(file, "WEBP", lossless=lossless, quality=60, method=4)
    return file.getvalue()
