"""Crafter seen as symbols: what the picture of the same world shows, and the same worlds, rewards and ends."""

from collections.abc import Iterator

import numpy as np
import pytest
from crafter import constants, objects
from gymnasium.utils.env_checker import check_env
from omegaconf import OmegaConf
from sheeprl.utils.env import make_env
from sheeprl.utils.utils import dotdict
from test_configs import experiment

from sheeprl_dnp.envs.crafter import CrafterWrapper
from sheeprl_dnp.envs.crafter_symbolic import (
    CELL,
    FACED,
    IN_VIEW,
    KINDS,
    POSTURES,
    SOUGHT,
    THINGS,
    WIDTH,
    SymbolicCrafterWrapper,
)
from sheeprl_dnp.envs.symbols import PRESENT
from sheeprl_dnp.runs import ConfigError

ROWS, COLUMNS = 7, 9
CENTRE = np.array([COLUMNS // 2, ROWS // 2])
CELLS = [np.array([column, row]) - CENTRE for row, column in np.ndindex(ROWS, COLUMNS)]  # to the right, below


def environment(wrapper: type[CrafterWrapper] = SymbolicCrafterWrapper, size: int = 64) -> CrafterWrapper:
    return wrapper("crafter_reward", size, seed=0, worlds="evaluation")


class Seen:
    """An observation, read again."""

    def __init__(self, symbols: np.ndarray) -> None:
        nearest, faced, amounts, posture, daylight, unlocked = np.split(symbols, np.cumsum([45, 19, 16, 5, 1]))
        for flags, there in ((nearest[::3], IN_VIEW), (faced, FACED), (posture, PRESENT), (unlocked, PRESENT)):
            assert set(np.unique(flags)) <= {0, there}
        assert posture.sum() == PRESENT
        rows = nearest.reshape(-1, 3)
        assert not rows[rows[:, 0] == 0].any()
        offsets = (rows[:, 1:] / WIDTH).astype(int).tolist()
        self.nearest = {name: offset for name, offset, row in zip(SOUGHT, offsets, rows, strict=True) if row[0]}
        self.faced = {name for name, there in zip(KINDS, faced, strict=True) if there}
        self.inventory = dict(zip(constants.items, amounts.tolist(), strict=True))
        self.posture = POSTURES[posture.argmax()]
        self.daylight = daylight.item() / PRESENT
        self.unlocked = {name for name, there in zip(constants.achievements, unlocked, strict=True) if there}


def what_is_at(env: CrafterWrapper, offset: np.ndarray) -> set[str]:
    """The ground of a cell in view and what stands on it, as Crafter itself says when it is asked for a place."""
    material, thing = env.env._world[env.env._player.pos + offset]
    standing = set() if thing in (None, env.env._player) else {"arrow" if "arrow" in thing.texture else thing.texture}
    return {material or "outside"} | standing


def nearest_by_hand(env: CrafterWrapper) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for offset in sorted(CELLS, key=lambda offset: abs(offset).sum()):  # stable: in reading order
        for name in what_is_at(env, offset):
            if name not in ("outside", "grass", "sand", "path"):
                found.setdefault(name, offset.tolist())
    return found


def random_play(env: CrafterWrapper, steps: int) -> Iterator[tuple]:
    """What a person sees who plays at random: the observation alone after a reset, all that a step gives otherwise."""
    rng = np.random.default_rng(0)
    yield env.reset()
    for action in rng.integers(17, size=steps):
        outcome = env.step(action)
        yield outcome
        if outcome[2] or outcome[3]:
            yield env.reset()


@pytest.mark.parametrize("size", [64, pytest.param(96, marks=pytest.mark.slow)])
def test_the_same_seed_and_actions_give_the_worlds_of_the_pictures_their_rewards_and_their_nights(size: int) -> None:
    pictures, symbols = (environment(wrapper, size) for wrapper in (CrafterWrapper, SymbolicCrafterWrapper))
    nights = ends = 0
    for number, (drawn, read) in enumerate(zip(random_play(pictures, 1200), random_play(symbols, 1200), strict=True)):
        assert drawn[1:] == read[1:]
        ends += any(drawn[2:4])
        night = symbols.env._world.daylight < 0.5
        nights += night
        if night or number % 50 == 0:
            np.testing.assert_array_equal(symbols.render(), drawn[0]["rgb"])
            np.testing.assert_array_equal(symbols.render(), drawn[0]["rgb"])  # and that changes nothing
    assert nights > 100 and ends > 3


def test_the_symbols_say_what_crafter_has_nearest_and_before_the_player() -> None:
    env, things, asleep, unlocked = environment(), set(), 0, set()
    for number, (obs, *_) in enumerate(random_play(env, 600)):
        seen, player = Seen(obs["symbols"]), env.env._player
        if number % 10 == 0:
            assert seen.nearest == nearest_by_hand(env)
            things |= seen.nearest.keys()
        assert seen.faced == what_is_at(env, np.array(player.facing))
        assert (seen.inventory, seen.posture) == (player.inventory, player.texture)
        assert seen.daylight == pytest.approx(env.env._world.daylight)
        assert seen.unlocked == {name for name, count in player.achievements.items() if count}
        asleep += player.sleeping
        unlocked |= seen.unlocked
    assert {"cow", "zombie", "water", "tree"} <= things and asleep > 0 and len(unlocked) > 2


def test_the_edge_of_the_world_is_seen_in_every_corner() -> None:
    env = environment()
    env.reset()
    for corner in np.ndindex(2, 2):
        env.env._player.pos = 63 * np.array(corner)
        env.env._player.facing = (2 * corner[0] - 1, 0)  # off the world
        seen = Seen(env._symbols())
        assert seen.nearest == nearest_by_hand(env)
        assert seen.faced == {"outside"}


def test_each_thing_and_each_posture_is_told_from_the_others() -> None:
    env = environment()
    env.reset()
    world, player = env.env._world, env.env._player
    player.facing = (1, 0)
    place = player.pos + np.array([1, 0])
    ripe = objects.Plant(world, place)
    ripe.grown = 301
    arrows = [objects.Arrow(world, place, facing) for facing in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    mobs = [objects.Cow(world, place), *(mob(world, place, player) for mob in (objects.Zombie, objects.Skeleton))]
    names = ["cow", "zombie", "skeleton", *["arrow"] * 4, "plant", "plant-ripe"]
    assert set(names) == set(THINGS)
    for thing, name in zip([*mobs, *arrows, objects.Plant(world, place), ripe], names, strict=True):
        if world[place][1]:
            world.remove(world[place][1])
        world.add(thing)
        seen = Seen(env._symbols())
        assert seen.nearest[name] == [1, 0] and seen.faced & set(THINGS) == {name}
    for facing, name in zip(((-1, 0), (1, 0), (0, -1), (0, 1)), POSTURES[:4], strict=True):
        player.facing = facing
        assert Seen(env._symbols()).posture == name
    player.sleeping = True
    assert Seen(env._symbols()).posture == "player-sleep"


def test_the_player_is_nothing_that_it_sees() -> None:
    env = environment()
    obs, _ = env.reset()
    assert all(offset != [0, 0] for name, offset in Seen(obs["symbols"]).nearest.items() if name in THINGS)


def test_what_is_drawn_is_what_crafters_picture_has_there_at_noon() -> None:
    env = environment(size=9 * CELL)
    env.reset()
    env.env._world.add(objects.Plant(env.env._world, env.env._player.pos + np.array([2, 0])))
    for _ in range(60):  # of 300 steps of a day, which begins in the morning
        obs, *_ = env.step(0)
    drawn, picture = env.draw_observation(obs["symbols"]), env.render()
    assert drawn.shape == picture.shape and drawn.dtype == np.uint8
    nearest = Seen(obs["symbols"]).nearest
    assert len(nearest) > 2
    off = np.abs(drawn.astype(int) - picture)
    for offset in nearest.values():
        column, row = CELL * (CENTRE + offset)
        assert off[row : row + CELL, column : column + CELL].max() <= 1
    assert off[ROWS * CELL :].max() <= 1
    halves = env.draw_observation(obs["symbols"] / (2, *[1] * 107))
    assert halves.shape == drawn.shape and (halves[ROWS * CELL :] == drawn[ROWS * CELL :]).all()


def test_a_belief_is_drawn_half_and_never_outside_the_picture() -> None:
    env = environment(size=9 * CELL)
    obs, _ = env.reset()
    tree = 3 * SOUGHT.index("tree")
    empty = np.zeros_like(obs["symbols"])
    meadow, drawn = env.draw_observation(empty).astype(int), {}
    for there in (IN_VIEW / 2, IN_VIEW, 9 * IN_VIEW):
        believed = empty.copy()
        believed[tree : tree + 3] = there, 9 * WIDTH, -9 * WIDTH  # far beyond the upper right corner
        drawn[there] = env.draw_observation(believed).astype(int) - meadow
        assert set(zip(*np.nonzero(drawn[there].any(-1)), strict=True)) <= set(np.ndindex(CELL, COLUMNS * CELL))
        assert drawn[there][:, : (COLUMNS - 1) * CELL].any() == 0 != drawn[there].any()
    assert np.abs(drawn[IN_VIEW / 2] - drawn[IN_VIEW] / 2).max() <= 1
    np.testing.assert_array_equal(drawn[IN_VIEW], drawn[9 * IN_VIEW])


@pytest.mark.filterwarnings("ignore:.*not having a spec")
def test_gymnasiums_checks_pass() -> None:
    check_env(environment())


def test_sheeprl_makes_it_with_its_reward_beside_the_symbols() -> None:
    cfg = experiment("exp=dnp_crafter_symbolic_small_baseline", "env.wrapper.worlds=evaluation")
    env = make_env(dotdict(OmegaConf.to_container(cfg, resolve=True)), seed=0, rank=0)()
    obs, _ = env.reset(seed=0)
    assert {key: value.shape for key, value in obs.items()} == {"symbols": (108,), "reward": (1,)}
    assert env.observation_space["symbols"].contains(obs["symbols"])
    assert env.render().shape == (64, 64, 3)


def test_bad_input_is_named_as_for_pictures() -> None:
    with pytest.raises(ConfigError, match=r"`env\.id=crafter` must be one of"):
        SymbolicCrafterWrapper("crafter", 64)
