"""Environments that play given episodes, each in a world that its seed determines."""

import json
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

# Of the last `info` of an episode, where the environment has it
RECORDED = ("achievements", "difficulty", "success", "world_seed", "board", "room")
NUMBERS = ("difficulty", "success")  # of these, those that are averaged


def told(info: dict[str, Any]) -> dict[str, Any]:
    """What is kept of the last `info` of an episode: of `RECORDED`, the numbers and texts, also those in a dictionary.

    Another environment may have anything else under these names (a board in an array, a difficulty in words), which
    isn't kept.
    """
    kept = {key: plain(info[key]) for key in RECORDED if key in info}
    words = [key for key in NUMBERS if isinstance(kept.get(key), str)]
    return {key: value for key, value in kept.items() if value not in (None, {}) and key not in words}


def plain(value: Any) -> Any:
    """A number or text as one of Python's, and a dictionary of them without all else; None for any other value."""
    if isinstance(value, dict):
        entries = {str(name): plain(entry) for name, entry in value.items() if not isinstance(entry, dict)}
        return {name: entry for name, entry in entries.items() if entry is not None}
    if isinstance(value, np.ndarray | np.generic) and value.size == 1:
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else None


def episode_return(info: dict[str, Any]) -> float:
    """The sum of an episode's rewards, from its last `info`; also of those that `crafter_nonreward` keeps back."""
    return np.asarray(info.get("crafter_return", info["episode"]["r"])).item()


class EpisodeList(gym.Wrapper):
    """Plays one episode for each of its seeds, then rests: it gives the last observation, whatever the action.

    It never terminates. At the end of an episode the next one begins at once, and `info["ended"]` is the record of the
    one that ended, as JSON: `seed`, `return`, `length` (environment steps), and what the environment adds (`told`).
    """

    def __init__(self, env: gym.Env, seeds: Sequence[int]) -> None:
        super().__init__(env)
        self._seeds = tuple(seeds)
        self._left: list[int] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._left = list(self._seeds)
        self._obs, _ = self.env.reset(seed=self._left[0])
        return self._obs, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if not self._left:
            return self._obs, 0.0, False, False, {}
        self._obs, reward, terminated, truncated, info = self.env.step(action)
        reward = np.asarray(reward).item()  # Gymnasium can't batch one of the shape [1]
        if not (terminated or truncated):
            return self._obs, reward, False, False, {}
        ended = {"seed": self._left.pop(0), "return": episode_return(info), "length": int(info["episode"]["l"])}
        ended |= told(info)
        if self._left:
            self._obs, _ = self.env.reset(seed=self._left[0])
        return self._obs, reward, False, False, {"ended": json.dumps(ended)}
