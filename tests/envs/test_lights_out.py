"""Lights Out: the rules, boards exactly as hard as they say, and Gymnasium's contract."""

from collections.abc import Iterator
from functools import cache
from itertools import product

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from omegaconf import OmegaConf
from sheeprl.utils.env import make_env
from sheeprl.utils.utils import dotdict
from test_configs import experiment

from sheeprl_dnp.envs.lights_out import (
    HARDEST,
    OFF,
    ON,
    LightsOut,
    board_number,
    fewest_presses,
    null_space,
    press_effects,
    worlds_of,
)
from sheeprl_dnp.envs.worlds import WORLDS
from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.study.evaluate import by_difficulty


def solutions(observation: np.ndarray) -> list[tuple[int, ...]]:
    """Every set of presses that makes a board dark, found by trying them all."""
    board, effects = observation > 0, press_effects(int(len(observation) ** 0.5))
    return [presses for presses in product((0, 1), repeat=len(board)) if not ((effects @ presses + board) % 2).any()]


def environment(**kwargs: object) -> LightsOut:
    return LightsOut(worlds="evaluation", **kwargs)


@pytest.mark.parametrize("size", [3, 4])
def test_a_press_toggles_a_light_and_its_neighbours(size: int) -> None:
    env = environment(size=size, difficulty=(1, 1), slack=100)
    for light in range(size * size):
        before = env.reset(seed=light)[0].reshape(size, size)
        after = env.step(light)[0].reshape(size, size)
        row, column = divmod(light, size)
        plus = {(row, column), (row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)}
        toggled = {(int(r), int(c)) for r, c in np.argwhere(before != after)}
        assert toggled == {(r, c) for r, c in plus if 0 <= r < size and 0 <= c < size}


@pytest.mark.parametrize("size", [3, 4])
def test_a_board_takes_exactly_as_many_presses_as_its_difficulty(size: int) -> None:
    env = environment(size=size, difficulty=(1, HARDEST[size]))
    for seed in range(6 if size == 4 else 30):
        board, _ = env.reset(seed=seed)
        assert min(map(sum, solutions(board))) == env.difficulty


@pytest.mark.parametrize("size", HARDEST)
def test_up_to_the_hardest_there_are_boards_for_training_for_validation_and_for_evaluation(size: int) -> None:
    for difficulty in range(1, HARDEST[size] + 2):
        kinds = {worlds_of(board) for board in boards_of(size, difficulty)}
        assert kinds == set(WORLDS) if difficulty <= HARDEST[size] else kinds < set(WORLDS)


@cache
def fewest_of_all(size: int) -> np.ndarray:
    """By set of presses, as the digits of a binary number, the size of the smallest one that does the same."""
    presses = np.arange(2 ** (size * size), dtype=np.uint32)
    fewest = np.full(len(presses), size * size, np.uint8)
    for idle in null_space(press_effects(size)):
        fewest = np.minimum(fewest, np.bitwise_count(presses ^ np.uint32(board_number(idle))))
    return fewest


def boards_of(size: int, difficulty: int) -> Iterator[np.ndarray]:
    lights = size * size
    for number in np.flatnonzero(fewest_of_all(size) == difficulty)[:2000].tolist():
        yield press_effects(size) @ [int(digit) for digit in f"{number:0{lights}b}"] % 2


@pytest.mark.parametrize(("size", "dimension"), [(3, 0), (4, 4), (5, 2)])
def test_the_presses_that_do_nothing_are_all_found(size: int, dimension: int) -> None:
    effects, idle = press_effects(size), null_space(press_effects(size))
    assert len({tuple(vector) for vector in idle}) == 2**dimension
    assert not (effects @ idle.T % 2).any()
    assert fewest_presses(idle[-1], idle) == 0


def test_a_solution_ends_with_a_reward_and_too_many_presses_without() -> None:
    env = environment(difficulty=(3, 3), slack=2)
    board, info = env.reset(seed=1)
    assert info == {}
    lights = np.flatnonzero(solutions(board)[0]).tolist()
    ends = [env.step(light)[1:] for light in lights]
    episode = {"difficulty": 3, "board": board_number((board > 0).astype(int))}
    lit, dark = episode | {"success": False}, episode | {"success": True}
    assert ends == [(0.0, False, False, lit)] * 2 + [(1.0, True, False, dark)]
    env.reset(seed=1)
    ends = [env.step(lights[0])[1:] for _ in range(5)]
    assert ends == [(0.0, False, False, lit)] * 4 + [(0.0, False, True, lit)]


def test_difficulties_are_drawn_from_the_range_alike() -> None:
    env = environment(difficulty=(2, 4))
    env.reset(seed=0)
    drawn = [env.reset() and env.difficulty for _ in range(600)]
    counts = [drawn.count(difficulty) for difficulty in (2, 3, 4)]
    assert sum(counts) == 600 and min(counts) > 150


def boards(env: LightsOut, episodes: int) -> list[int]:
    """The boards that a number of episodes begin with."""
    return [board_number((env.reset()[0] > 0).astype(int)) for _ in range(episodes)]


def test_a_seed_determines_the_boards_that_follow() -> None:
    env = environment(seed=3)
    first = boards(env, 6)
    env.reset(seed=3)
    assert boards(env, 5) == first[1:]
    assert boards(environment(seed=3), 6) == first != boards(environment(seed=4), 6)


def test_no_board_is_of_two_kinds_of_worlds() -> None:
    evaluated, validated = (set(boards(LightsOut(seed=0, worlds=kind), 3000)) for kind in ("evaluation", "validation"))
    trained = {board for rank in range(3) for board in boards(LightsOut(seed=rank, rank=rank), 2000)}
    # Of 255 boards of 1 to 4 presses
    assert (len(evaluated), len(validated), len(trained)) == (71, 19, 165)
    assert len(evaluated | validated | trained) == 255


def test_the_boards_kept_for_evaluation_are_those_that_they_always_were() -> None:
    assert boards(environment(size=5, difficulty=(1, 5), seed=0), 3) == [9183815, 9308790, 27129088]
    assert boards(environment(seed=0), 3) == [318, 41, 45]


def test_environments_runs_and_resumed_runs_have_boards_of_their_own() -> None:
    def first(seed: int, rank: int, step: int) -> tuple[int, ...]:
        env = LightsOut(size=5, difficulty=(5, 9), seed=seed + rank, rank=rank)
        env.world_seeds.start_at(step)
        return tuple(boards(env, 3))

    lists = [first(*key) for key in product(range(4), range(4), (0, 5000))]
    assert len({board for drawn in lists for board in drawn}) == 3 * len(lists)


@pytest.mark.filterwarnings("ignore:.*not within the expected bounds")
def test_gymnasiums_checks_pass() -> None:
    check_env(environment(), skip_render_check=False)


def test_the_rendered_lights_are_those_of_the_board() -> None:
    env = environment(size=4)
    board, _ = env.reset(seed=5)
    image = env.render()
    assert image.shape == (64, 64, 3) and image.dtype == np.uint8
    centres = image[8::16, 8::16].reshape(16, 3)
    assert [tuple(colour) for colour in centres.tolist()] == [ON if light > 0 else OFF for light in board]


def test_half_a_light_is_drawn_between_off_and_on() -> None:
    image = environment().draw_observation(np.array([1, 0, -1, 9, -9, 0, 0, 0, 0], np.float32))
    assert [tuple(image[8, 16 * column + 8]) for column in (0, 2)] == [ON, OFF]
    assert tuple(image[8, 24]) == tuple(np.round(np.add(ON, OFF) / 2))
    assert [tuple(image[24, 16 * column + 8]) for column in (0, 1)] == [ON, OFF]


@pytest.mark.parametrize("size", [3, 4])
def test_the_right_presses_are_those_of_a_shortest_solution(size: int) -> None:
    env = environment(size=size, difficulty=(1, HARDEST[size]), slack=9)
    for seed in range(2 if size == 4 else 20):
        env.reset(seed=seed)
        board, *_ = env.step(seed % size**2)
        found = solutions(board)
        shortest = [presses for presses in found if sum(presses) == min(map(sum, found))]
        assert env.right_actions() == [light for light in range(size**2) if any(p[light] for p in shortest)]


def test_a_press_beside_the_board_is_refused() -> None:
    env = environment()
    env.reset(seed=0)
    for press in (-1, 9):
        with pytest.raises(ValueError, match=f"The action {press} must be one of 0, 1, 2"):
            env.step(press)


def test_sheeprl_makes_it_with_lights_or_with_pixels() -> None:
    keys = {"lights": (9,), "rgb": (3, 64, 64)}
    for key, others in (("lights", "cnn"), ("rgb", "mlp")):
        own = "mlp" if others == "cnn" else "cnn"
        overrides = [f"algo.{own}_keys.encoder=[{key}]", f"algo.{others}_keys.encoder=[]"]
        cfg = experiment("exp=dnp_lights_out", "env.wrapper.worlds=evaluation", *overrides)
        env = make_env(dotdict(OmegaConf.to_container(cfg, resolve=True)), seed=0, rank=0)()
        obs, _ = env.reset(seed=0)
        assert {name: value.shape for name, value in obs.items() if name in keys} == {key: keys[key]}
        assert env.observation_space[key].contains(obs[key])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"size": 6}, "`env.wrapper.size=6` must be one of 3, 4, 5"),
        ({"size": [3]}, r"`env.wrapper.size=\[3\]` must be one of"),
        ({"difficulty": (0, 3)}, r"from 1 to 8 on a 3 x 3 board"),
        ({"size": 4, "difficulty": (1, 8)}, r"`env.wrapper.difficulty=\(1, 8\)` .* from 1 to 7"),
        ({"difficulty": (4, 2)}, "the least and the greatest"),
        ({"difficulty": 3}, "`env.wrapper.difficulty=3` must be two whole numbers"),
        ({"difficulty": (1, 2.5)}, "must be two whole numbers"),
        ({"slack": "a"}, "`env.wrapper.slack=a` must be a whole number from 0"),
        ({"slack": -1}, "`env.wrapper.slack=-1` must be a whole number from 0"),
    ],
)
def test_a_board_that_cannot_be_is_named(kwargs: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        environment(**kwargs)


def test_an_evaluation_is_grouped_by_difficulty() -> None:
    steps = {1: (1, 2), 2: (2, 3), 4: (3, 4)}
    episodes = [
        {
            "difficulty": level,
            "return": float(n % 2),
            "success": bool(n % 2),
            "ponder_steps": n,
            "first_ponder_steps": 5 - level,
        }
        for level, ponder_steps in steps.items()
        for n in ponder_steps
    ]
    grouped = by_difficulty(episodes)
    assert [level["difficulty"] for level in grouped["by_difficulty"]] == [1, 2, 4]
    assert [level["mean_ponder_steps"] for level in grouped["by_difficulty"]] == [1.5, 2.5, 3.5]
    assert all(level["success_rate"] == level["mean_return"] == 0.5 for level in grouped["by_difficulty"])
    assert all(level["episodes"] == 2 for level in grouped["by_difficulty"])
    ranks = ([1, 2.5, 2.5, 4.5, 4.5, 6], [1.5, 1.5, 3.5, 3.5, 5.5, 5.5])
    assert grouped["spearman_ponder_steps"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert grouped["spearman_mean_ponder_steps"] == pytest.approx(1)
    assert grouped["spearman_mean_first_ponder_steps"] == pytest.approx(-1)
    assert by_difficulty([{"return": 1.0, "ponder_steps": 1}]) == {}
