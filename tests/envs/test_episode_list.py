"""The episodes of an evaluation: each seed once, whatever happens in between."""

import json

import gymnasium as gym
import numpy as np
import pytest

from sheeprl_dnp.envs.episode_list import EpisodeList, episode_return, told


class Countdown(gym.Env):
    """Ends after as many steps as its seed says, each with a reward of 1."""

    pays: float | np.ndarray = 1.0
    observation_space = gym.spaces.Box(0, 100, (1,), np.int64)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        assert seed is not None
        self.left = self.difficulty = seed
        return np.array([self.left]), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        self.left -= 1
        info = {"difficulty": np.int64(self.difficulty), "secret": 1}
        return np.array([self.left]), self.pays, self.left == 0, False, info


@pytest.fixture
def env() -> EpisodeList:
    return EpisodeList(gym.wrappers.RecordEpisodeStatistics(Countdown()), [3, 1, 2])


def test_each_seed_is_played_once_and_recorded(env: EpisodeList) -> None:
    first, _ = env.reset()
    steps = [env.step(0) for _ in range(10)]
    assert [first[0], *(step[0][0] for step in steps)] == [3, 2, 1, 1, 2, 1, 0, 0, 0, 0, 0]
    assert not any(step[2] or step[3] for step in steps)
    records = [json.loads(step[4]["ended"]) for step in steps if step[4]]
    assert records == [{"seed": n, "return": float(n), "length": n, "difficulty": n} for n in (3, 1, 2)]
    assert sum(step[1] for step in steps) == 6


def test_rewards_in_arrays_are_played_as_in_a_training() -> None:
    def make() -> EpisodeList:
        countdown = Countdown()
        countdown.pays = np.array([1.0])
        return EpisodeList(gym.wrappers.RecordEpisodeStatistics(countdown), [1, 2])

    envs = gym.vector.SyncVectorEnv([make, make])
    envs.reset()
    played = [envs.step(np.zeros(2, int)) for _ in range(4)]
    assert [step[1].tolist() for step in played] == [[1, 1]] * 3 + [[0, 0]]
    assert [json.loads(ended)["return"] for step in played for ended in step[4].get("ended", [])] == [1, 1, 2, 2]


def test_the_return_of_crafter_nonreward_is_that_of_the_rewards_it_keeps_back() -> None:
    assert episode_return({"episode": {"r": np.array([0.0])}, "crafter_return": 2.1}) == 2.1
    assert episode_return({"episode": {"r": np.array([1.5])}}) == 1.5


def test_a_reset_begins_the_list_anew(env: EpisodeList) -> None:
    env.reset()
    env.step(0)
    assert env.reset()[0] == 3
    assert len([1 for _ in range(8) if env.step(0)[4]]) == 3


def test_only_numbers_and_texts_are_kept_of_what_any_environment_tells() -> None:
    arrays = {"board": np.zeros((3, 3)), "room": object(), "difficulty": None, "secret": 1}
    numbers = {"success": np.array([True]), "world_seed": np.int64(7)}
    achievements = {"wood": np.int32(2), "map": np.zeros(4), "by": {"who": 1}, 3: np.array(1.5)}
    kept = told(arrays | numbers | {"achievements": achievements})
    assert json.loads(json.dumps(kept)) == {"success": True, "world_seed": 7, "achievements": {"wood": 2, "3": 1.5}}
    assert told({"achievements": {"map": np.zeros(4)}, "success": {"a set"}, "board": [1, 2]}) == {}
    assert told({"difficulty": "hard", "success": "no", "room": "a"}) == {"room": "a"}
