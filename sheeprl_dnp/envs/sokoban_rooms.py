"""Rooms of Sokoban, made by pulling boxes off their goals, so that the fewest pushes that solve them are known exactly.

A set of cells is a whole number whose bit `row * size + column` says whether the cell is in it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sheeprl_dnp.envs.worlds import kind_of_start

# By size, border included, the walls inside
INNER_WALLS = {6: 2, 7: 3}
# By size and boxes, the greatest difficulty that at least one layout in ten has
HARDEST = {(6, 1): 4, (6, 2): 7, (7, 1): 6, (7, 2): 10}


@dataclass(frozen=True)
class Room:
    """A room with the player's and the boxes' places; `floor` is what is no wall."""

    size: int
    floor: int
    goals: int
    boxes: int
    player: int

    @property
    def solved(self) -> bool:
        return self.boxes == self.goals

    def after(self, move: int) -> "Room":
        """The room after a move of the player by so many bits: a box in its way is pushed, where it can be."""
        place = shifted(self.player, move)
        if not place & self.boxes:
            return replace(self, player=place) if place & self.floor else self
        beyond = shifted(place, move)
        if not beyond & self.floor & ~self.boxes:
            return self
        return replace(self, player=place, boxes=self.boxes ^ place ^ beyond)

    def __str__(self) -> str:
        """One line of the usual notation: `#` wall, `.` goal, `$` box, `@` player, `*` and `+` on a goal, `-` floor."""
        return "|".join(
            "".join(self._symbol(1 << (row * self.size + column)) for column in range(self.size))
            for row in range(self.size)
        )

    def _symbol(self, cell: int) -> str:
        if not cell & self.floor:
            return "#"
        symbols = "$*" if cell & self.boxes else "@+" if cell & self.player else "-."
        return symbols[bool(cell & self.goals)]


def moves(size: int) -> tuple[int, int, int, int]:
    """Up, down, left and right, in bits."""
    return -size, size, -1, 1


def draw_room(rng: np.random.Generator, size: int, boxes: int, difficulty: int, worlds: str) -> Room:
    """A room that takes `difficulty` pushes, with a layout (walls and goals) that is of these worlds alone."""
    while True:
        floor, goals = draw_layout(rng, size, boxes)
        if kind_of_start(size, floor, goals) != worlds:
            continue
        starts = starts_by_pushes(size, floor, goals, difficulty)[difficulty]
        if starts:
            placed, region = starts[rng.integers(len(starts))]
            return Room(size, floor, goals, placed, player=int(rng.choice(list(cells_of(region)))))


def draw_layout(rng: np.random.Generator, size: int, boxes: int) -> tuple[int, int]:
    """The floor, in one piece, and the goals."""
    inner = [1 << (row * size + column) for row in range(1, size - 1) for column in range(1, size - 1)]
    while True:
        order = rng.permutation(len(inner))
        walls, goals = np.split(order, [INNER_WALLS[size], INNER_WALLS[size] + boxes])[:2]
        floor = sum(inner) - sum(inner[cell] for cell in walls)
        if reachable(floor & -floor, floor, size) == floor:
            return floor, sum(inner[cell] for cell in goals)


def starts_by_pushes(size: int, floor: int, goals: int, most: int) -> list[list[tuple[int, int]]]:
    """For each number of pushes from 0 to `most`, the starts that take so many: the boxes, and where the player may be.

    Breadth first, backwards: from the solved room the player pulls boxes, which undoes pushes.
    """
    layers = [[(goals, region) for region in regions(floor & ~goals, size)]]
    seen = set(layers[0])
    for _ in range(most):
        pulled = dict.fromkeys(start for boxes, region in layers[-1] for start in pulls(size, floor, boxes, region))
        layers.append([start for start in pulled if start not in seen])
        seen.update(layers[-1])
    return layers


def pulls(size: int, floor: int, boxes: int, region: int) -> Iterator[tuple[int, int]]:
    """The starts from which one push leads to these boxes, with the player in this region."""
    for box in cells_of(boxes):
        for move in moves(size):
            player = shifted(box, move)
            behind = shifted(player, move)
            if player & region and behind & floor & ~boxes:
                pulled = boxes ^ box ^ player
                yield pulled, reachable(behind, floor & ~pulled, size)


def regions(free: int, size: int) -> Iterator[int]:
    """The parts of the free cells between which the player can't walk."""
    while free:
        region = reachable(free & -free, free, size)
        yield region
        free ^= region


def reachable(start: int, free: int, size: int) -> int:
    """The free cells to which the player can walk from `start`; no free cell is on the border."""
    while True:
        wider = (start | start << 1 | start >> 1 | start << size | start >> size) & free
        if wider == start:
            return start
        start = wider


def cells_of(cells: int) -> Iterator[int]:
    """Each cell of a set by itself."""
    while cells:
        cell = cells & -cells
        yield cell
        cells ^= cell


def shifted(cells: int, move: int) -> int:
    return cells << move if move > 0 else cells >> -move
