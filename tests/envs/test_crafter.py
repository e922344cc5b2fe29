"""Crafter: its worlds, its records, and that nothing else differs from SheepRL's."""

import hashlib
import inspect
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from itertools import product
from pathlib import Path

import crafter
import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf
from sheeprl.envs.crafter import CrafterWrapper as StockWrapper
from sheeprl.envs.wrappers import RestartOnException
from sheeprl.utils.env import get_vector_env_cls, make_env
from sheeprl.utils.utils import dotdict

from sheeprl_dnp.envs.crafter import CrafterWrapper
from sheeprl_dnp.envs.worlds import WORLDS, world_seed

CONFIGS = Path(__file__).parents[2] / "configs"
ACTIONS = np.random.default_rng(0).integers(17, size=2000)


def play(steps: int, plain: bool = False) -> dict[str, object]:
    """Random actions: the hash of the frames so far, every 100 steps, and the steps in a second of one core."""
    env = crafter.Env() if plain else CrafterWrapper("crafter_reward", 64, seed=0)
    env.reset()
    frames, digests, since = hashlib.sha256(), [], time.process_time()
    for number, action in enumerate(np.random.default_rng(0).integers(17, size=steps), 1):
        obs, _, *ends, _ = env.step(action)
        frames.update((obs if plain else obs["rgb"]).tobytes())
        if any(ends):
            env.reset()
        if number % 100 == 0:
            digests.append(frames.hexdigest())
    return {"digests": digests, "speed": steps / (time.process_time() - since)}


PLAY = f"""
import crafter, hashlib, json, time
import numpy as np
from sheeprl_dnp.envs.crafter import CrafterWrapper
{inspect.getsource(play)}
"""
WITHOUT_NUMBA = "import sys; sys.modules['numba'] = None"


def start(call: str, *, before: str = "", hash_seed: int = 0) -> subprocess.Popen[str]:
    """Starts another process that prints the result of a call of `play`."""
    code = f"{before}\n{PLAY}\nprint(json.dumps({call}))"
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
    return subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> dict[str, object]:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return json.loads(output.splitlines()[-1])


def wrapper(seed: int = 0, *, length: int = 10_000, **kwargs: object) -> CrafterWrapper:
    """An environment whose episodes are cut at `length` steps."""
    env = CrafterWrapper("crafter_reward", 64, seed=seed, **kwargs)
    env.env._length = length
    return env


def worlds(env: gym.Env, count: int) -> list[int]:
    """The next worlds of an environment, one step in each."""
    env.unwrapped.env._length = 1
    seeds = []
    for _ in range(count):
        env.reset()
        seeds.append(env.step(0)[-1]["world_seed"])
    return seeds


def sheeprl_env(*overrides: str, seed: int, index: int) -> Callable[[], gym.Env]:
    """What SheepRL's training makes of our configuration: the environment `index` of a run."""
    keys = [f"hydra.searchpath=[file://{CONFIGS}]", "exp=dreamer_v3_XL_crafter", "env=dnp_crafter", *overrides]
    with initialize_config_module("sheeprl.configs", version_base="1.3"):
        cfg = dotdict(OmegaConf.to_container(compose("config", keys), resolve=True))
    return partial(RestartOnException, make_env(cfg, seed + index, 0, vector_env_idx=index), wait=0)


@cache
def generate(before: str = "") -> list[str]:
    """What another process makes of a world (hashed), and what it compiled for that."""
    code = f"""{before}
import crafter, hashlib, opensimplex.internals
env = crafter.Env(seed=0)
world = env.reset(), env._world._mat_map, env._world._obj_map
print(hashlib.sha256(b"".join(array.tobytes() for array in world)).hexdigest())
print(getattr(opensimplex.internals._noise3, "stats", "nothing to compile"))
"""
    return subprocess.check_output([sys.executable, "-c", code], text=True).splitlines()


def test_the_same_seed_and_actions_give_the_same_pixels_in_every_process() -> None:
    elsewhere = start("play(400)", before="junk = [object() for _ in range(99_999)]", hash_seed=1)
    here = play(400)["digests"]
    assert len(set(here)) == 4
    assert here == result(elsewhere)["digests"]


def test_compiling_the_world_generation_changes_no_world() -> None:
    world, compiled = generate(WITHOUT_NUMBA)
    assert compiled == "nothing to compile"
    assert world == generate()[0]


def test_a_second_process_compiles_nothing() -> None:
    CrafterWrapper("crafter_reward", 64).reset()
    compiled = generate.__wrapped__()[1]
    assert "cache_misses=Counter()" in compiled and "cache_hits=Counter({" in compiled


def test_a_step_is_that_of_sheeprls_wrapper_in_the_same_world() -> None:
    ours, theirs = wrapper(seed=1), StockWrapper("crafter_reward", 64, seed=1)
    ours.reset()
    theirs.env._world.__class__ = type(ours.env._world)
    theirs.env._world.seed = ours.env._world.seed
    theirs.reset()
    done = False
    for action in ACTIONS:
        obs, *outcome, _ = ours.step(action)
        expected_obs, *expected, _ = theirs.step(action)
        np.testing.assert_array_equal(obs["rgb"], expected_obs["rgb"])
        assert outcome == expected
        if done := outcome[1] or outcome[2]:
            break
    assert done
    assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)


def test_the_recorded_world_seed_seeds_crafters_world_itself() -> None:
    plain = crafter.Env(size=(64, 64))
    reset = plain._world.reset
    plain._world.reset = lambda seed: reset(2_000_000_011)
    np.testing.assert_array_equal(wrapper().reset(options={"world_seed": 2_000_000_011})[0]["rgb"], plain.reset())
    # Crafter draws from its unordered sets only from the 10th step on
    env = wrapper()
    env.reset(options={"world_seed": 2_000_000_011})
    for action in ACTIONS[:9]:
        np.testing.assert_array_equal(env.step(action)[0]["rgb"], plain.step(action)[0])


def test_no_world_is_of_two_kinds() -> None:
    keys = [
        {"seed": seed, "rank": rank, "start_step": start, "episode": episode}
        for seed, rank, start, episode in product(range(9), range(4), (0, 5000), range(40))
    ]
    training, validation, evaluation = ({world_seed(worlds=kind, **key) for key in keys} for kind in WORLDS)
    assert all(seed % 2 == 0 for seed in training) and all(seed % 2 == 1 for seed in evaluation)
    assert 0 <= min(training | evaluation) and 2**30 < max(training | evaluation) < 2**31
    assert 2**31 <= min(validation) and max(validation) < 2**32
    assert [len(kind) for kind in (training, validation, evaluation)] == [len(keys), 9 * 40, 9 * 40]


def test_runs_and_environments_share_no_world() -> None:
    seeds = [
        world_seed(worlds="training", seed=run + rank, rank=rank, start_step=0, episode=episode)
        for run, rank, episode in product(range(12), range(8), range(40))
    ]
    assert len(set(seeds)) == len(seeds)
    # Run 5's environment 1 and run 6's environment 0 get the same seed of SheepRL
    assert not set(worlds(wrapper(seed=6, rank=1), 3)) & set(worlds(wrapper(seed=6, rank=0), 3))


def test_every_run_is_evaluated_in_the_same_worlds() -> None:
    played = worlds(wrapper(worlds="evaluation"), 3)
    other = wrapper(worlds="evaluation", rank=3)
    other.world_seeds.start_at(5000)
    assert worlds(other, 3) == played == [1484405855, 1982462499, 1570558271]


def test_a_run_has_the_worlds_it_always_had() -> None:
    env = wrapper(seed=6, rank=1)
    env.world_seeds.start_at(5000)
    assert worlds(env, 3) == [2065627848, 2019435874, 1005347982]


def test_a_seed_restarts_the_list_of_worlds_and_a_replay_leaves_it_where_it_is() -> None:
    env = wrapper(seed=7)
    first, second, third = worlds(env, 3)
    env.reset(seed=7)
    env.reset(options={"world_seed": 12})
    assert env.step(0)[-1]["world_seed"] == 12
    assert worlds(env, 2) == [second, third]
    assert worlds(wrapper(seed=7), 1) == [first]


@pytest.mark.parametrize("sync_env", [True, False])
def test_sheeprls_vector_environment_plays_what_a_bare_one_does(sync_env: bool) -> None:
    keys = ["env.num_envs=2", "env.max_episode_steps=40"]
    envs = get_vector_env_cls(sync_env)([sheeprl_env(*keys, seed=3, index=index) for index in range(2)])
    bare = [wrapper(seed=3 + index, rank=index) for index in range(2)]
    envs.reset(seed=3)
    for env in bare:
        env.reset()
    for number, actions in enumerate(ACTIONS[:200].reshape(-1, 2), 1):
        obs, rewards, terminated, truncated, _ = envs.step(actions)
        outcomes = [env.step(action) for env, action in zip(bare, actions, strict=True)]
        assert rewards.tolist() == [reward for _, reward, *_ in outcomes]
        assert not terminated.any() and truncated.all() == (number % 40 == 0)
        frames = [
            env.reset()[0] if truncated.all() else outcome[0] for env, outcome in zip(bare, outcomes, strict=True)
        ]
        np.testing.assert_array_equal(obs["rgb"], [frame["rgb"].transpose(2, 0, 1) for frame in frames])
    envs.close()


@pytest.mark.parametrize("id", ["crafter_reward", "crafter_nonreward"])
def test_info_has_the_achievements_the_return_and_the_world_so_far(id: str) -> None:
    env = CrafterWrapper(id, 64, seed=2)
    env.reset(options={"world_seed": 7})
    outcomes = [env.step(action) for action in ACTIONS[:300]]
    infos = [info for *_, info in outcomes]
    assert all(info.keys() == {"achievements", "world_seed", "crafter_return"} for info in infos)
    assert {info["world_seed"] for info in infos} == {7}
    assert infos[-1]["achievements"].keys() == set(crafter.constants.achievements)
    unlocked = [sum(count > 0 for count in info["achievements"].values()) for info in infos]
    assert unlocked[0] == 0 < unlocked[-1]
    assert round(infos[-1]["crafter_return"] - unlocked[-1], 1) <= 0  # but for what its health has cost
    if id == "crafter_reward":
        assert infos[-1]["crafter_return"] == pytest.approx(sum(reward for _, reward, *_ in outcomes))


def test_death_terminates_and_the_limit_truncates() -> None:
    env = wrapper(length=2)
    env.reset()
    assert env.step(0)[2:4] == (False, False)
    assert env.step(0)[2:4] == (False, True)
    env.reset()
    env.step(0)
    env.env._player.health = 0
    assert env.step(0)[2:4] == (True, False)
    assert CrafterWrapper("crafter_reward", 64).env._length == 10_000


def test_validation_is_the_same_for_every_run_and_plays_other_worlds_than_evaluation() -> None:
    played, others = (worlds(wrapper(worlds="validation", rank=rank), 3) for rank in (0, 3))
    assert played == others and not set(played) & set(worlds(wrapper(worlds="evaluation"), 3))
    assert min(played) >= 2**31


@pytest.mark.filterwarnings("ignore:.*not having a spec")
def test_gymnasiums_checks_pass() -> None:
    check_env(wrapper(seed=0))
    assert (wrapper().render_mode, wrapper().metadata["render_fps"]) == ("rgb_array", 30)


def test_rendering_shows_the_observation_and_changes_nothing_even_at_night() -> None:
    watched, unwatched = wrapper(seed=1), wrapper(seed=1)
    for env in (watched, unwatched):
        env.reset()
        env.env._step = 200
    for action in ACTIONS[:30]:
        obs, *_ = watched.step(action)
        assert watched.env._world.daylight < 0.1
        np.testing.assert_array_equal(watched.render(), obs["rgb"])
        np.testing.assert_array_equal(unwatched.step(action)[0]["rgb"], obs["rgb"])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"id": "crafter"}, "`env.id=crafter` must be one of `crafter_reward`, `crafter_nonreward`."),
        ({"worlds": "test"}, "`env.wrapper.worlds=test` must be one of `training`, `validation`, `evaluation`."),
    ],
)
def test_bad_input_is_named(kwargs: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError) as error:
        CrafterWrapper(**({"id": "crafter_reward", "screen_size": 64} | kwargs))
    assert str(error.value) == message


@pytest.mark.slow
def test_steps_are_at_least_twice_as_fast_as_crafters_own(capsys: pytest.CaptureFixture[str]) -> None:
    plain = result(start("play(2000, plain=True)", before=WITHOUT_NUMBA))["speed"]
    ours = result(start("play(2000)"))["speed"]
    with capsys.disabled():
        print(f"\nsteps/s on one core, random actions: Crafter alone {plain:.0f}, ours {ours:.0f}")
    assert ours > 2 * plain
