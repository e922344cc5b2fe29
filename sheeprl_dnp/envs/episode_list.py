"""Environments that play given episodes, each in a world that its seed determines."""

import json
from collections.abc import Sequence
from typing import Any

import gymnasium as gym

# Of the last `info` of an episode, where the environment has it
RECORDED = ("achievements", "difficulty", "success", "world_seed", "board", "room")


class EpisodeList(gym.Wrapper):
    """Plays one episode for each of its seeds, then rests: it gives the last observation, whatever the action.

    It never terminates. At the end of an episode the next one begins at once, and `info["ended"]` is the record of the
    one that ended, as JSON: `seed`, `return`, `length` (environment steps), and what the environment adds (`RECORDED`).
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
        if not (terminated or truncated):
            return self._obs, reward, False, False, {}
        ended = {"seed": self._left.pop(0), "return": float(info["episode"]["r"]), "length": int(info["episode"]["l"])}
        ended |= {key: info[key] for key in RECORDED if key in info}
        if self._left:
            self._obs, _ = self.env.reset(seed=self._left[0])
        return self._obs, reward, False, False, {"ended": json.dumps(ended, default=lambda value: value.item())}
