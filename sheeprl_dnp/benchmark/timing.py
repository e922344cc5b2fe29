"""Timings that a noisy machine can't turn around: turn by turn with a reference, as ratios to its calls beside them."""

import math
import time
from collections.abc import Callable

import numpy as np
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


def compare(reference: Call, function: Call, *, rounds: int, turn: float, device: torch.device) -> dict[str, float]:
    """Times a function in turns, in which its calls and those of the reference alternate.

    Args:
        turn: how long the calls of the function in a turn take at least, in seconds; there is at least one.

    Returns:
        The `ratio` of a turn to the reference's, a median between the quartiles `low` and `high`, and the median of the
        `seconds` of a call.
    """
    reference()
    function()
    calls = max(1, math.ceil(turn / seconds_of(function, device)))
    turns = []
    for _ in range(rounds):
        beside, own = [seconds_of(reference, device)], []
        for _ in range(calls):
            own.append(seconds_of(function, device))
            beside.append(seconds_of(reference, device))
        turns.append((np.mean(own), np.mean(beside)))
    seconds, references = np.transpose(turns)
    low, ratio, high = np.quantile(seconds / references, (0.25, 0.5, 0.75))
    return {"ratio": ratio, "low": low, "high": high, "seconds": np.median(seconds)}
