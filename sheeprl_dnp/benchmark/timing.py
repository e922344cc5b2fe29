"""Timings that a noisy machine can't turn around: turn by turn with a reference, as ratios to its turns beside them."""

import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

import pandas as pd
import torch

Call = Callable[[], object]


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
) -> Iterator[pd.DataFrame]:
    """Times functions in turns, round by round; in a turn, calls of the function and of the reference alternate.

    Args:
        turn: how long the calls of a function in its turn take at least, in seconds; there is at least one.

    Yields:
        After each round, the turns so far: the `name` of the function, and the mean `seconds` of its calls and of
        those of the `reference` in between.
    """
    reference()
    calls = {name: _calls(function, turn, device) for name, function in functions.items()}
    turns = []
    for _ in range(rounds):
        for name, function in functions.items():
            beside, own = [seconds_of(reference, device)], []
            for _ in range(calls[name]):
                own.append(seconds_of(function, device))
                beside.append(seconds_of(reference, device))
            turns.append({"name": name, "seconds": statistics.mean(own), "reference": statistics.mean(beside)})
        yield pd.DataFrame(turns)


def _calls(function: Call, turn: float, device: torch.device) -> int:
    """How many calls fill a turn. The first one may set things up: where it is short, a second one tells."""
    seconds = seconds_of(function, device)
    if seconds < turn:
        seconds = seconds_of(function, device)
    return max(1, math.ceil(turn / seconds))


def summary(turns: pd.DataFrame) -> pd.DataFrame:
    """By name: the `ratio` to the reference, a median between the quartiles `low` and `high`, and the `seconds`.

    The first row is the reference, `dreamer_v3`.
    """
    ratios = (turns["seconds"] / turns["reference"]).groupby(turns["name"], sort=False)
    found = ratios.agg(ratio="median", low=lambda ratio: ratio.quantile(0.25), high=lambda ratio: ratio.quantile(0.75))
    found["seconds"] = turns.groupby("name")["seconds"].median()
    reference = dict.fromkeys(("ratio", "low", "high"), 1.0) | {"seconds": turns["reference"].median()}
    return pd.concat([pd.DataFrame(reference, index=["dreamer_v3"]), found]).rename_axis("agent")


def exponent(growth: Mapping[int, float]) -> float:
    """The slope of a line through `log y` over `log x`, by least squares: y grows like x to this power."""
    x, y = ([math.log(value) for value in values] for values in zip(*growth.items(), strict=True))
    return statistics.linear_regression(x, y).slope
