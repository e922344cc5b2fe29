"""Sokoban: episodes, observations, Gymnasium's contract, and the record of the episodes."""

from collections import deque

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from omegaconf import OmegaConf
from sheeprl.utils.env import make_env
from sheeprl.utils.utils import dotdict
from test_configs import experiment
from test_sokoban_rooms import read

from sheeprl_dnp.envs.sokoban import BOX, FLOOR, GOAL, PLAYER, WALL, Sokoban
from sheeprl_dnp.envs.sokoban_rooms import Room, moves
from sheeprl_dnp.envs.symbols import PRESENT
from sheeprl_dnp.runs import ConfigError


def environment(**kwargs: object) -> Sokoban:
    return Sokoban(worlds="evaluation", **kwargs)


def solution(room: Room) -> list[int]:
    """The actions that solve a room in the fewest moves."""
    paths, queue = {room: []}, deque([room])
    while not queue[0].solved:
        state = queue.popleft()
        for action, move in enumerate(moves(room.size)):
            if (after := state.after(move)) not in paths:
                paths[after] = [*paths[state], action]
                queue.append(after)
    return paths[queue[0]]


def moves_to_solve(room: Room) -> float:
    try:
        return len(solution(room))
    except IndexError:  # there is no way
        return np.inf


def rooms(env: Sokoban, episodes: int) -> list[str]:
    """The rooms that a number of episodes begin with."""
    return [str(env.room) for _ in range(episodes) if env.reset()]


def test_a_solution_ends_with_a_reward_and_too_many_moves_without() -> None:
    env = environment(difficulty=(3, 3), max_moves=40)
    _, info = env.reset(seed=1)
    room, actions = str(env.room), solution(env.room)
    assert info == {}
    ends = [env.step(action)[1:] for action in actions]
    episode = {"difficulty": 3, "room": room}
    unsolved = episode | {"success": False}
    assert ends[:-1] == [(0.0, False, False, unsolved)] * (len(actions) - 1)
    assert ends[-1] == (1.0, True, False, episode | {"success": True})
    env.reset(seed=1)
    ends = [env.step(actions[0])[1:] for _ in range(40)]
    assert ends == [(0.0, False, False, unsolved)] * 39 + [(0.0, False, True, unsolved)]


def test_the_last_move_may_solve_it() -> None:
    env = environment()
    env.reset(seed=2)
    actions = solution(env.room)
    limited = environment(max_moves=len(actions))
    limited.reset(seed=2)
    *_, (_, reward, terminated, truncated, _) = [limited.step(action) for action in actions]
    assert (reward, terminated, truncated) == (1.0, True, False)


def test_difficulties_are_drawn_from_the_range_alike() -> None:
    env = environment(difficulty=(2, 4), max_moves=1)
    env.reset(seed=0)
    drawn = [env.reset() and env.step(0)[-1]["difficulty"] for _ in range(600)]
    counts = [drawn.count(difficulty) for difficulty in (2, 3, 4)]
    assert sum(counts) == 600 and min(counts) > 150


def test_a_seed_determines_the_rooms_that_follow() -> None:
    env = environment(seed=3)
    first = rooms(env, 6)
    env.reset(seed=3)
    assert rooms(env, 5) == first[1:]
    assert rooms(environment(seed=3), 6) == first != rooms(environment(seed=4), 6)
    assert first[0] == "######|#--#@#|#----#|#$---#|#.--##|######"  # for ever: results are told of it


def test_environments_and_runs_have_rooms_of_their_own_and_evaluations_the_same() -> None:
    lists = [rooms(Sokoban(size=7, boxes=2, seed=run + rank, rank=rank), 3) for run in range(4) for rank in range(4)]
    assert len({room for drawn in lists for room in drawn}) == 3 * len(lists)
    assert rooms(environment(seed=0, rank=3), 3) == rooms(environment(seed=0), 3)
    assert rooms(Sokoban(seed=0, worlds="validation"), 3) != rooms(environment(seed=0), 3)


@pytest.mark.parametrize(("size", "boxes"), [(6, 1), (7, 2)])
def test_the_observation_is_the_room(size: int, boxes: int) -> None:
    env = environment(size=size, boxes=boxes)
    obs, _ = env.reset(seed=4)
    for action in [None, *solution(env.room)]:
        obs = obs if action is None else env.step(action)[0]
        assert obs.dtype == np.float32 and set(obs.tolist()) == {0.0, PRESENT}
        cells = obs.reshape(size - 2, size - 2, 4) > 0
        seen = ["".join(symbol(*cell) for cell in row) for row in cells.tolist()]
        assert seen == [line[1:-1] for line in str(env.room).split("|")[1:-1]]


def symbol(wall: bool, goal: bool, box: bool, player: bool) -> str:
    return "#" if wall else ("$*" if box else "@+" if player else "-.")[goal]


def test_the_rendered_room_shows_what_stands_on_what() -> None:
    env = environment(size=7, boxes=2)
    env.reset(seed=0)
    for line in (
        "#######|#+$*--#|#-----#|#-----#|#-----#|#-----#|#######",
        "#######|#.*@--#|#-----#|#-----#|#-----#|#-$---#|#######",
    ):
        env.room = read(line)
        image = env.render()
        assert image.shape == (112, 112, 3) and image.dtype == np.uint8
        shown = {"#": {WALL}, "-": {FLOOR}, ".": {FLOOR, GOAL}, "$": {FLOOR, BOX}, "@": {FLOOR, PLAYER}}
        shown |= {"*": {FLOOR, GOAL, BOX}, "+": {FLOOR, GOAL, PLAYER}}
        for cell, expected in enumerate(line.replace("|", "")):
            row, column = (16 * place for place in divmod(cell, 7))
            colours = image[row : row + 16, column : column + 16].reshape(-1, 3).tolist()
            assert {tuple(colour) for colour in colours} == shown[expected]


def test_half_a_box_is_drawn_between_the_floor_and_a_box() -> None:
    env = environment()
    planes = np.zeros((16, 4), np.float32)
    planes[:3, 2] = PRESENT / 2, 9 * PRESENT, -PRESENT
    image = env.draw_observation(planes.ravel())
    assert tuple(image[24, 24]) == tuple(np.round(np.add(FLOOR, BOX) / 2))
    assert [tuple(image[24, 16 * column + 8]) for column in (2, 3)] == [BOX, FLOOR]


@pytest.mark.parametrize(("size", "boxes"), [(6, 1), (7, 2)])
def test_the_right_moves_are_those_that_begin_a_shortest_solution(size: int, boxes: int) -> None:
    env = environment(size=size, boxes=boxes)
    for seed in range(5):
        env.reset(seed=seed)
        after = [moves_to_solve(env.room.after(move)) for move in moves(size)]
        assert env.right_actions() == [action for action in range(4) if after[action] == moves_to_solve(env.room) - 1]


def test_where_a_box_is_lost_or_the_room_solved_no_move_is_right() -> None:
    env = environment()
    for line in ("######|#$---#|#-@--#|#---.#|#----#|######", "######|#----#|#-@--#|#---*#|#----#|######"):
        env.room = read(line)
        assert env.right_actions() == []


@pytest.mark.filterwarnings("ignore:.*not within the expected bounds")
def test_gymnasiums_checks_pass() -> None:
    check_env(environment(), skip_render_check=False)


def test_a_move_that_is_none_is_refused() -> None:
    env = environment()
    env.reset(seed=0)
    for move in (-1, 4):
        with pytest.raises(ValueError, match=rf"The action {move} must be one of 0, 1, 2, 3"):
            env.step(move)


def test_sheeprl_makes_it_with_cells_or_with_pixels() -> None:
    keys = {"cells": (64,), "rgb": (3, 64, 64)}
    for key, others in (("cells", "cnn"), ("rgb", "mlp")):
        own = "mlp" if others == "cnn" else "cnn"
        overrides = [f"algo.{own}_keys.encoder=[{key}]", f"algo.{others}_keys.encoder=[]"]
        cfg = experiment("exp=dnp_sokoban_baseline", "env.wrapper.worlds=evaluation", *overrides)
        env = make_env(dotdict(OmegaConf.to_container(cfg, resolve=True)), seed=0, rank=0)()
        obs, _ = env.reset(seed=0)
        assert {name: value.shape for name, value in obs.items() if name in keys} == {key: keys[key]}
        assert env.observation_space[key].contains(obs[key])


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"size": 5}, r"`env\.wrapper\.size=5` must be one of 6, 7"),
        ({"size": [6]}, r"`env\.wrapper\.size=\[6\]` must be one of"),
        ({"boxes": 3}, r"`env\.wrapper\.boxes=3` must be 1 or 2"),
        ({"boxes": 1.0}, r"`env\.wrapper\.boxes=1\.0` must be 1 or 2"),
        ({"difficulty": (1, 5)}, r"`env\.wrapper\.difficulty=\(1, 5\)` .* from 1 to 4 for `env\.wrapper\.size=6`"),
        ({"size": 7, "boxes": 2, "difficulty": (0, 4)}, r"from 1 to 10 for `env\.wrapper\.size=7` .*boxes=2`"),
        ({"difficulty": 3}, r"`env\.wrapper\.difficulty=3` must be two whole numbers"),
        ({"max_moves": 0}, r"`env\.wrapper\.max_moves=0` must be a whole number from 1"),
        ({"max_moves": "many"}, r"`env\.wrapper\.max_moves=many` must be a whole number from 1"),
    ],
)
def test_a_room_that_cannot_be_is_named(kwargs: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        environment(**kwargs)
