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
from sheeprl_dnp.envs.crafter_symbolic import CELL, MATERIALS, OBJECTS, PLANES, POSTURES, SymbolicCrafterWrapper
from sheeprl_dnp.envs.symbols import PRESENT
from sheeprl_dnp.runs import ConfigError

ROWS, COLUMNS = 7, 9
CENTRE = (ROWS // 2, COLUMNS // 2)


def environment(wrapper: type[CrafterWrapper] = SymbolicCrafterWrapper, size: int = 64) -> CrafterWrapper:
    return wrapper("crafter_reward", size, seed=0, worlds="evaluation")


class Seen:
    """An observation, read again."""

    def __init__(self, symbols: np.ndarray) -> None:
        assert set(np.unique(symbols[:-1])) <= {0, PRESENT}
        cells, amounts, posture, daylight = np.split(symbols / PRESENT, np.cumsum([ROWS * COLUMNS * PLANES, 160, 5]))
        self.cells = cells.reshape(ROWS, COLUMNS, PLANES)
        digits = amounts.reshape(16, 10)
        assert (digits.sum(1) == 1).all() and (self.cells[..., : len(MATERIALS)].sum(-1) == 1).all()
        self.inventory = dict(zip(constants.items, digits.argmax(1).tolist(), strict=True))
        self.posture = POSTURES[posture.argmax()]
        (self.daylight,) = daylight.tolist()

    def ground(self, row: int, column: int) -> str:
        return MATERIALS[self.cells[row, column, : len(MATERIALS)].argmax()]

    def thing(self, row: int, column: int) -> str | None:
        planes = self.cells[row, column, len(MATERIALS) :]
        return OBJECTS[planes.argmax()] if planes.any() else None


def what_is_there(env: CrafterWrapper, row: int, column: int) -> tuple[str, str | None]:
    """The ground of a cell in view and what stands on it, as Crafter itself says when it is asked for a place."""
    position = env.env._player.pos + np.array([column - COLUMNS // 2, row - ROWS // 2])
    material, thing = env.env._world[position]
    return material or "outside", None if thing in (None, env.env._player) else thing.texture


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


def test_the_symbols_say_what_crafter_has_there() -> None:
    env = environment()
    things = set()
    for number, (obs, *_) in enumerate(random_play(env, 600)):
        seen, player = Seen(obs["symbols"]), env.env._player
        if number % 20 == 0:
            for row, column in np.ndindex(ROWS, COLUMNS):
                there = what_is_there(env, row, column)
                assert (seen.ground(row, column), seen.thing(row, column)) == there
                things.add(there[1])
        assert (seen.inventory, seen.posture) == (player.inventory, player.texture)
        assert seen.daylight == pytest.approx(env.env._world.daylight)
    assert {"cow", "zombie", None} <= things


def test_the_edge_of_the_world_is_seen_in_every_corner() -> None:
    env = environment()
    env.reset()
    for corner in np.ndindex(2, 2):
        env.env._player.pos = 63 * np.array(corner)
        seen = Seen(env._symbols())
        outside = [seen.ground(*cell) == "outside" for cell in np.ndindex(ROWS, COLUMNS)]
        assert sum(outside) == ROWS * COLUMNS - 4 * 5
        assert all(what_is_there(env, *cell)[0] == seen.ground(*cell) for cell in np.ndindex(ROWS, COLUMNS))


def test_each_object_and_each_posture_has_a_plane_of_its_own() -> None:
    env = environment()
    env.reset()
    world, player = env.env._world, env.env._player
    row, column = CENTRE[0] - 2, CENTRE[1] + 3
    place = player.pos + np.array([3, -2])
    ripe = objects.Plant(world, place)
    ripe.grown = 301
    arrows = [objects.Arrow(world, place, facing) for facing in ((-1, 0), (1, 0), (0, -1), (0, 1))]
    mobs = [objects.Cow(world, place), *(mob(world, place, player) for mob in (objects.Zombie, objects.Skeleton))]
    for thing, name in zip([*mobs, *arrows, objects.Plant(world, place), ripe], OBJECTS, strict=True):
        if world[place][1]:
            world.remove(world[place][1])
        world.add(thing)
        assert Seen(env._symbols()).thing(row, column) == name
    for facing, name in zip(((-1, 0), (1, 0), (0, -1), (0, 1)), POSTURES[:4], strict=True):
        player.facing = facing
        assert Seen(env._symbols()).posture == name
    player.sleeping = True
    assert Seen(env._symbols()).posture == "player-sleep"


def test_the_player_is_no_object_in_its_own_view() -> None:
    env = environment()
    obs, _ = env.reset()
    assert Seen(obs["symbols"]).thing(*CENTRE) is None


def test_what_is_drawn_of_the_symbols_is_crafters_picture_at_noon() -> None:
    env = environment(size=9 * CELL)
    obs, _ = env.reset()
    for _ in range(60):  # of 300 steps of a day, which begins in the morning
        obs, *_ = env.step(0)
    drawn, picture = env.draw_observation(obs["symbols"]), env.render()
    assert drawn.shape == picture.shape and drawn.dtype == np.uint8
    assert np.abs(drawn.astype(int) - picture).max() <= 1
    halves = env.draw_observation(obs["symbols"] / 2)[: ROWS * CELL]
    assert np.abs(halves.astype(int) - drawn[: ROWS * CELL] / 2).mean() < 20 < drawn.mean()


@pytest.mark.filterwarnings("ignore:.*not having a spec")
def test_gymnasiums_checks_pass() -> None:
    check_env(environment())


def test_sheeprl_makes_it_with_its_reward_beside_the_symbols() -> None:
    cfg = experiment("exp=dnp_crafter_symbolic_small_baseline", "env.wrapper.worlds=evaluation")
    env = make_env(dotdict(OmegaConf.to_container(cfg, resolve=True)), seed=0, rank=0)()
    obs, _ = env.reset(seed=0)
    assert {key: value.shape for key, value in obs.items()} == {"symbols": (1552,), "reward": (1,)}
    assert env.observation_space["symbols"].contains(obs["symbols"])
    assert env.render().shape == (64, 64, 3)


def test_bad_input_is_named_as_for_pictures() -> None:
    with pytest.raises(ConfigError, match=r"`env\.id=crafter` must be one of"):
        SymbolicCrafterWrapper("crafter", 64)
