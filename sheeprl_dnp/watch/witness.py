"""An environment that reads the mind of its player at each decision: after its choice, before what follows."""

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np

from sheeprl_dnp.evaluation import PlayerSteps, Record
from sheeprl_dnp.watch.mind import Decision, Frame, Mind


@dataclass
class Episode:
    decisions: list[Decision] = field(default_factory=list)  # those that are shown
    length: int = 0  # of all
    record: Record = field(default_factory=dict)


class Witness(gym.Wrapper):
    """
    Args:
        taken: has the ponder steps of the player.
        shown: the numbers of the decisions of an episode that are looked at.
    """

    def __init__(self, env: gym.Env, mind: Mind, taken: PlayerSteps, shown: range) -> None:
        super().__init__(env)
        self.mind, self.taken, self.shown = mind, taken, shown
        self.episodes: list[Episode] = []

    def reset(self, **kwargs: Any) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        self._seen, info = self.env.reset(**kwargs)
        self.episodes.append(Episode())
        return self._seen, info

    def step(self, action: Any) -> tuple[dict[str, np.ndarray], float, bool, bool, dict[str, Any]]:
        episode = self.episodes[-1]
        episode.length += 1
        looks = episode.length in self.shown
        if looks:
            episode.decisions.append(self.mind.read(episode.length, self._seen, int(self.taken.halts[0])))
        self._seen, reward, terminated, truncated, info = self.env.step(action)
        if looks:
            last = episode.decisions[-1]
            last.reward, last.ends = float(reward), bool(terminated or truncated)
            if last.ends or last.number == self.shown[-1]:
                self._look_back(episode.decisions)
        return self._seen, reward, terminated, truncated, info

    def _look_back(self, decisions: list[Decision]) -> None:
        """What the decisions led to, and what of it the world model would have imagined."""
        self.mind.foresee(decisions)
        last = decisions[-1].sheet
        seen = [*((d.sheet, d.sees) for d in decisions[1:]), (last, last.add(self.mind.artist(self._seen)))]
        moments = [
            Frame(*picture, self.mind.actions.text(d.action), d.reward, float(not d.ends))
            for picture, d in zip(seen, decisions, strict=True)
        ]
        for i, decision in enumerate(decisions):
            decision.happened = moments[i:][: len(decision.foreseen)]
