"""Timings that a noisy machine can't turn around: turn by turn with a reference, as ratios to its turns beside them."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch

Call = Callable[[], object]


class Spread(NamedTuple):
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float


class Timing(NamedTuple):
    """The turns of one function, one for each round."""

    seconds: list[float]  # of a call
    ratios: list[float]  # to the calls of the reference in between


def spread(values: list[float]) -> Spread:
    if len(values) == 1:
        return Spread(*values * 3)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, low, high)


def seconds_of(call: Call, device: torch.device) -> float:
    """The time of a call, with all that it left to the device."""
    synchronize(device)
    start = time.perf_counter()
    call()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def alternate(
    reference: Call, functions: Mapping[str, Call], *, rounds: int, turn: float, device: torch.device
) -> Iterator[dict[str, Timing]]:
    """Times functions in turns, round by round; in a turn, calls of the function and of the reference alternate.

    Args:
        turn: how long the calls of a function in its turn take at least, in seconds; there is at least one.

    Yields:
        After each round, what was measured so far; the reference is in it under the name `reference`.
    """
    reference()
    calls = {name: _calls(function, turn, device) for name, function in functions.items()}
    timings = {name: Timing([], []) for name in ("reference", *functions)}
    for _ in range(rounds):
        for name, function in functions.items():
            beside, own = [seconds_of(reference, device)], []
            for _ in range(calls[name]):
                own.append(seconds_of(function, device))
                beside.append(seconds_of(reference, device))
            timings["reference"].seconds.append(statistics.mean(beside))
            timings[name].seconds.append(statistics.mean(own))
            timings[name].ratios.append(statistics.mean(own) / statistics.mean(beside))
        yield timings


def _calls(function: Call, turn: float, device: torch.device) -> int:
    """How many calls fill a turn. The first one may set things up: where it is short, a second one tells."""
    seconds = seconds_of(function, device)
    if seconds < turn:
        seconds = seconds_of(function, device)
    return max(1, math.ceil(turn / seconds))


def exponent(growth: Mapping[int, float]) -> float:
    """The slope of a line through `log y` over `log x`, by least squares: y grows like x to this power."""
    x, y = ([math.log(value) for value in values] for values in zip(*growth.items(), strict=True))
    return statistics.linear_regression(x, y).slope
