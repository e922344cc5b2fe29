"""What a training keeps of its episodes: each one, of each process, at its step, whatever its environment."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from omegaconf import OmegaConf
from sheeprl.algos.dreamer_v3 import dreamer_v3
from sheeprl.envs.wrappers import RestartOnException
from sheeprl.utils.utils import dotdict
from test_configs import experiment

from sheeprl_dnp.dreamer_v3_ponder.recorder import NewWorlds, Recorder, append_line
from sheeprl_dnp.envs.crafter import CrafterWrapper
from sheeprl_dnp.envs.sokoban import Sokoban
from sheeprl_dnp.envs.worlds import world_seed
from sheeprl_dnp.rebinding import rebound

ACTIONS = np.random.default_rng(0).integers(17, size=2000)


def recorder(folder: Path, start_step: int = 0, rank: int = 0, processes: int = 1) -> Recorder:
    """The recorder of one process of a training that logs in a folder."""
    fabric = SimpleNamespace(
        global_rank=rank,
        world_size=processes,
        is_global_zero=rank == 0,
        loggers=[0],
        logger=SimpleNamespace(log_dir=str(folder)),
    )
    one_process = SimpleNamespace(**{**vars(fabric), "world_size": 1, "is_global_zero": True})
    cfg = dotdict(checkpoint={"resume_from": None}, buffer={"memmap": False}, algo={"total_steps": 1})
    made = Recorder(fabric, cfg, on_start=None, player_steps=None, train=dreamer_v3.train)
    made._start_step = made._step = start_step
    made.get_log_dir(one_process, "root", "run")
    return made


def record(
    folder: Path, makers: list[Callable[[], gym.Env]], sync_env: bool = True, **kwargs: Any
) -> gym.vector.VectorEnv:
    """Recorded environments, with statistics of their episodes as SheepRL's have them."""
    made = recorder(folder, **kwargs)
    with_statistics = [lambda make=make: gym.wrappers.RecordEpisodeStatistics(make()) for make in makers]
    return made.get_vector_env_cls(sync_env)([NewWorlds(make, made._start_step) for make in with_statistics])


def wrapper(seed: int = 0, *, length: int = 10_000, **kwargs: object) -> CrafterWrapper:
    """Crafter whose episodes are cut at `length` steps."""
    env = CrafterWrapper("crafter_reward", 64, seed=seed, **kwargs)
    env.env._length = length
    return env


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]


def test_the_records_of_a_process_are_what_a_replay_finds(tmp_path: Path) -> None:
    makers = [partial(wrapper, 5 + i, rank=4 + i, length=70) for i in range(2)]
    envs = record(tmp_path, makers, sync_env=False, start_step=1000, rank=2, processes=3)
    envs.reset(seed=5)
    actions = ACTIONS[:400].reshape(-1, 2)
    for both in actions:
        envs.step(both)
    envs.close()
    kept = records(tmp_path)
    assert min(sum(record["env"] == env for record in kept) for env in (4, 5)) >= 2
    assert any(record["achievement_wake_up"] for record in kept)
    for record_ in kept:
        end = (record_["step"] - 1000) // (2 * 3)
        own = actions[end - record_["length"] : end, record_["env"] - 4]
        assert record_ == replay(record_, own, length=70)


def replay(record: dict[str, Any], actions: np.ndarray, length: int) -> dict[str, Any]:
    """The record of an episode of at most `length` steps, played again."""
    env = wrapper(length=length)
    env.reset(options={"world_seed": record["world_seed"]})
    steps = [env.step(action) for action in actions]
    assert [ended or cut for _, _, ended, cut, _ in steps] == [False] * (len(steps) - 1) + [True]
    episode = {"length": len(steps), "reward": round(sum(reward for _, reward, *_ in steps), 1)}
    achievements = {f"achievement_{name}": count for name, count in env.env._player.achievements.items()}
    assert len(achievements) == 22
    return {key: record[key] for key in ("step", "env", "world_seed")} | episode | achievements


def test_an_episode_that_a_limit_cuts_is_recorded_with_what_was_achieved(tmp_path: Path) -> None:
    envs = record(tmp_path, [lambda: gym.wrappers.TimeLimit(wrapper(3), 30)])
    envs.reset(seed=3)
    for action in ACTIONS[:60]:
        envs.step([action])
    first, second = records(tmp_path)
    assert (first["step"], first["length"], second["step"], second["length"]) == (30, 30, 60, 30)
    assert first == replay(first, ACTIONS[:30], length=30) and second == replay(second, ACTIONS[30:60], length=30)


def test_lights_out_is_recorded_with_its_boards(tmp_path: Path) -> None:
    cfg = dotdict(OmegaConf.to_container(experiment("exp=dnp_lights_out", "env.wrapper.slack=0"), resolve=True))
    made = recorder(tmp_path)
    envs = made.get_vector_env_cls(True)([made.make_env(cfg, 7, 0, vector_env_idx=index) for index in range(2)])
    boards = [(obs > 0) @ (2 ** np.arange(8, -1, -1)) for obs in envs.reset(seed=7)[0]["lights"]]
    for _ in range(4):
        envs.step([0, 0])
    first = [next(record for record in records(tmp_path) if record["env"] == env) for env in range(2)]
    assert [record["board"] for record in first] == boards
    assert all(record["length"] == record["difficulty"] == record["step"] // 2 for record in first)
    assert {record["success"] for record in first} <= {True, False}


def test_sokoban_is_recorded_with_its_rooms(tmp_path: Path) -> None:
    env = Sokoban(max_moves=3)
    envs = record(tmp_path, [lambda: env], processes=4)
    envs.reset(seed=0)
    room = str(env.room)
    for _ in range(3):
        envs.step([0])
    (kept,) = records(tmp_path)
    assert (kept["room"], kept["step"], kept["length"], kept["success"]) == (room, 12, 3, False)
    assert 1 <= kept["difficulty"] <= 4


def test_any_environment_is_recorded_with_length_and_reward(tmp_path: Path) -> None:
    envs = record(tmp_path, [partial(gym.make, "Pendulum-v1", max_episode_steps=5)] * 2, processes=2)
    envs.reset(seed=0)
    total = sum(envs.step(np.zeros((2, 1)))[1] for _ in range(5))
    assert [set(record) for record in records(tmp_path)] == [{"step", "length", "reward", "env"}] * 2
    assert [(record["step"], record["length"], record["env"]) for record in records(tmp_path)] == [
        (20, 5, 0),
        (20, 5, 1),
    ]
    assert [record["reward"] for record in records(tmp_path)] == pytest.approx(total.tolist(), abs=1e-6)


def test_a_resumed_run_counts_on_and_plays_new_worlds(tmp_path: Path) -> None:
    for start_step in (0, 5000):
        envs = record(tmp_path, [partial(wrapper, 4, length=1)], start_step=start_step)
        envs.reset(seed=4)
        envs.step([0])
        envs.step([0])
    kept = records(tmp_path)
    assert [record["step"] for record in kept] == [1, 2, 5001, 5002]
    assert len({record["world_seed"] for record in kept}) == 4
    assert kept[2]["world_seed"] == world_seed(worlds="training", seed=4, rank=0, start_step=5000, episode=0)


@pytest.mark.parametrize("sync_env", [True, False])
def test_an_environment_made_again_after_a_crash_plays_new_worlds(tmp_path: Path, sync_env: bool) -> None:
    made = recorder(tmp_path)
    maker = NewWorlds(lambda: gym.wrappers.RecordEpisodeStatistics(Crashing(wrapper(length=2))), 0)
    envs = made.get_vector_env_cls(sync_env)([partial(RestartOnException, maker, wait=0)])
    envs.reset(seed=0)
    for action in (0, 0, 0, 16, 0, 0, 0, 0):  # the action 16 crashes, in the second episode
        envs.step([action])
    envs.close()
    kept = records(tmp_path)
    assert [record["step"] for record in kept] == [2, 6, 8]
    lists = [world_seed(worlds="training", seed=0, rank=0, start_step=0, episode=episode) for episode in range(4)]
    assert [record["world_seed"] for record in kept] == [lists[0], lists[2], lists[3]]


class Crashing(gym.Wrapper):
    def step(self, action: Any) -> Any:
        if action == 16:
            raise RuntimeError("crashed")
        return self.env.step(action)


@pytest.mark.parametrize("sync_env", [True, False])
def test_an_environment_that_uses_its_info_again_or_pays_in_arrays_is_recorded(tmp_path: Path, sync_env: bool) -> None:
    envs = record(tmp_path, [Frugal] * 2, sync_env=sync_env)
    envs.reset()
    for _ in range(2):
        envs.step(np.zeros(2, int))
    envs.close()
    played = {"step": 4, "length": 2, "reward": 1.0, "success": True}
    assert records(tmp_path) == [played | {"env": env} for env in range(2)]


class Frugal(gym.Env):
    """Has one `info` for all its steps, and rewards of the shape [1]: see Gymnasium's issues 1132 and 1445."""

    observation_space = gym.spaces.Box(0, 1, (1,))
    action_space = gym.spaces.Discrete(2)

    def __init__(self) -> None:
        self.info: dict[str, Any] = {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self.info.clear()
        self.steps = 0
        return np.zeros(1, np.float32), self.info

    def step(self, action: Any) -> tuple[np.ndarray, np.ndarray, bool, bool, dict]:
        self.steps += 1
        self.info["success"] = self.steps == 2
        return np.zeros(1, np.float32), np.array([0.5]), self.steps == 2, False, self.info


@pytest.mark.parametrize("sync_env", [True, False])
def test_an_environment_that_tells_of_itself_in_arrays_and_objects_is_recorded(tmp_path: Path, sync_env: bool) -> None:
    envs = record(tmp_path, [Talkative] * 2, sync_env=sync_env)
    envs.reset()
    for _ in range(2):
        envs.step(np.zeros(2, int))
    envs.close()
    played = {"step": 4, "length": 2, "reward": 1.0, "achievement_wood": 2, "difficulty": 3}
    assert records(tmp_path) == [played | {"env": env} for env in range(2)]


class Talkative(Frugal):
    """Has other things than Crafter, Lights Out and Sokoban under the names that are kept of them."""

    def step(self, action: Any) -> tuple[np.ndarray, np.ndarray, bool, bool, dict]:
        *outcome, _ = super().step(action)
        achievements = {"wood": 2, "map": np.arange(4), "none": None}
        told = {"board": np.eye(3), "room": [1, 2], "success": {"a", "set"}, "difficulty": np.int64(3)}
        return *outcome, told | {"achievements": achievements}


def test_the_lines_of_many_writers_never_mix(tmp_path: Path) -> None:
    def write(env: int) -> None:
        for length in range(200):
            append_line(tmp_path / "episodes.jsonl", {"env": env, "length": length, "x" * 2000: env})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert sorted((record["env"], record["length"]) for record in records(tmp_path)) == [*product(range(4), range(200))]


def test_a_full_disk_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "episodes.jsonl").symlink_to("/dev/full")
    envs = record(tmp_path, [partial(RestartOnException, partial(wrapper, length=2), wait=0)])
    envs.reset()
    envs.step([0])
    with pytest.raises(OSError, match=r"No space left on device: '.*episodes\.jsonl'"):
        envs.step([0])


def test_a_name_that_a_function_does_not_use_is_refused() -> None:
    assert rebound(dreamer_v3.main, make_env=None).__code__ is dreamer_v3.main.__code__
    with pytest.raises(AssertionError, match=r"dreamer_v3\.main does not use \['make_envs'\]"):
        rebound(dreamer_v3.main, make_envs=None)


def test_a_name_within_a_function_of_a_function_counts() -> None:
    def outer() -> list[int]:
        return [(lambda: abs(value))() for value in (-1, -2)]

    assert rebound(outer, abs=lambda value: 7)() == [7, 7]
    assert outer() == [1, 2]
