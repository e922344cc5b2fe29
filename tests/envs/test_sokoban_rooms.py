"""Rooms of Sokoban: the rules, rooms exactly as hard as they say, and layouts of one kind of worlds alone."""

from collections import deque
from itertools import combinations

import numpy as np
import pytest

from sheeprl_dnp.envs.sokoban_rooms import HARDEST, INNER_WALLS, Room, cells_of, draw_room, moves, regions
from sheeprl_dnp.envs.worlds import WORLDS, kind_of_start

UP, DOWN, LEFT, RIGHT = moves(6)


def read(text: str) -> Room:
    """The room of a line in the notation of `Room.__str__`."""
    lines = text.split("|")

    def having(symbols: str) -> int:
        return sum(1 << cell for cell, symbol in enumerate("".join(lines)) if symbol in symbols)

    return Room(len(lines), having("-.$*@+"), having(".*+"), having("$*"), having("@+"))


def fewest_pushes(room: Room) -> int:
    """Found forwards, with nothing but the rules: a walk costs nothing, a push one."""
    fewest, queue = {room: 0}, deque([room])
    while queue:
        state = queue.popleft()
        if state.solved:
            return fewest[state]
        for after in (state.after(move) for move in moves(room.size)):
            push = after.boxes != state.boxes
            if fewest[state] + push < fewest.get(after, 99):
                fewest[after] = fewest[state] + push
                (queue.append if push else queue.appendleft)(after)
    raise AssertionError(f"{room} can't be solved")


@pytest.mark.parametrize(
    ("before", "move", "after"),
    [
        ("######|#----#|#-@--#|#----#|#$--.#|######", RIGHT, "######|#----#|#--@-#|#----#|#$--.#|######"),
        ("######|#----#|#-@--#|#-$--#|#---.#|######", DOWN, "######|#----#|#----#|#-@--#|#-$-.#|######"),
        ("######|#----#|#.$@-#|#----#|#----#|######", LEFT, "######|#----#|#*@--#|#----#|#----#|######"),
        ("######|#----#|#-*@-#|#----#|#----#|######", LEFT, "######|#----#|#$+--#|#----#|#----#|######"),
        ("######|#----#|#@---#|#.---#|#-$--#|######", DOWN, "######|#----#|#----#|#+---#|#-$--#|######"),
    ],
)
def test_a_move_walks_or_pushes(before: str, move: int, after: str) -> None:
    assert str(read(before)) == before
    assert str(read(before).after(move)) == after


@pytest.mark.parametrize(
    ("room", "move"),
    [
        ("######|#-@--#|#----#|#----#|#$--.#|######", UP),  # the border
        ("######|#----#|#-@--#|#-#--#|#$--.#|######", DOWN),  # a wall
        ("######|#----#|#$@--#|#----#|#---.#|######", LEFT),  # a box at the border
        ("######|#---@#|#---$#|#---$#|#.-.-#|######", DOWN),  # a box behind a box
        ("######|#----#|#@$#-#|#----#|#---.#|######", RIGHT),  # a box at a wall
    ],
)
def test_a_move_that_cannot_be_changes_nothing(room: str, move: int) -> None:
    assert str(read(room).after(move)) == room


@pytest.mark.parametrize(("size", "boxes"), HARDEST)
def test_a_room_takes_exactly_as_many_pushes_as_its_difficulty(size: int, boxes: int) -> None:
    rng = np.random.default_rng(0)
    for difficulty in range(1, HARDEST[size, boxes] + 1):
        for _ in range(8 if boxes == 1 else 3):
            room = draw_room(rng, size, boxes, difficulty, "training")
            assert fewest_pushes(room) == difficulty


@pytest.mark.parametrize(("size", "boxes"), HARDEST)
def test_a_room_has_its_walls_its_boxes_and_a_floor_in_one_piece(size: int, boxes: int) -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        room = draw_room(rng, size, boxes, 1, "evaluation")
        assert len(list(cells_of(room.floor))) == (size - 2) ** 2 - INNER_WALLS[size]
        assert len(list(cells_of(room.boxes))) == len(list(cells_of(room.goals))) == boxes
        assert room.boxes & ~room.floor == room.goals & ~room.floor == 0
        assert len(list(cells_of(room.player))) == 1 and room.player & room.floor & ~room.boxes
        assert list(regions(room.floor, size)) == [room.floor]
        text = str(room).replace("|", "")
        assert set(text[:size] + text[-size:] + text[::size] + text[size - 1 :: size]) == {"#"}


def test_a_layout_is_of_one_kind_of_worlds() -> None:
    def drawn(worlds: str) -> set[tuple[int, int]]:
        rooms = [draw_room(np.random.default_rng(seed), 6, 1, 1 + seed % 4, worlds) for seed in range(400)]
        return {(room.floor, room.goals) for room in rooms}

    layouts = {worlds: drawn(worlds) for worlds in WORLDS}
    assert not any(left & right for left, right in combinations(layouts.values(), 2))
    assert all(kind_of_start(6, *layout) == worlds for worlds in WORLDS for layout in layouts[worlds])


def test_every_start_is_drawn_and_the_player_stands_anywhere_on_its_side() -> None:
    rng = np.random.default_rng(2)
    rooms = [draw_room(rng, 6, 1, 2, "training") for _ in range(2000)]
    assert len({room.player for room in rooms}) == 16
    assert len({str(room) for room in rooms}) > 1800
