"""Timings in turns, with a clock that the timed functions move themselves."""

import time
from collections.abc import Callable, Iterator

import pytest
import torch

from sheeprl_dnp.benchmark.timing import Spread, alternate, exponent, spread

CPU = torch.device("cpu")


class Clock:
    """Time that passes only while something works; everything takes `slowness` times as long."""

    def __init__(self) -> None:
        self.now, self.slowness = 0.0, 1.0

    def work(self, seconds: float) -> Callable[[], None]:
        def call() -> None:
            self.now += seconds * self.slowness

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    return clock


def test_a_ratio_is_to_the_turns_of_the_reference_beside_it(clock: Clock) -> None:
    functions = {"double": clock.work(2), "half": clock.work(0.5)}
    *_, timings = alternate(clock.work(1), functions, rounds=3, turn=0.1, device=CPU)
    assert timings["double"].seconds == [2] * 3 and timings["double"].ratios == [2] * 3
    assert timings["half"].ratios == [0.5] * 3
    assert timings["reference"].seconds == [1] * 6 and timings["reference"].ratios == []


def test_a_machine_that_grows_slower_and_slower_changes_no_ratio(clock: Clock) -> None:
    ratios = []
    for timings in alternate(clock.work(1), {"triple": clock.work(3)}, rounds=5, turn=0.1, device=CPU):
        clock.slowness *= 2
        ratios = timings["triple"].ratios
    assert ratios == [3] * 5


def test_in_a_turn_the_function_and_the_reference_alternate_until_it_is_over(clock: Clock) -> None:
    calls = []

    def call(name: str, seconds: float) -> Callable[[], None]:
        return lambda: (calls.append(name), clock.work(seconds)())

    list(alternate(call("r", 1), {"fast": call("f", 0.25)}, rounds=1, turn=1, device=CPU))
    assert calls[:3] == ["r", "f", "f"]  # to set up, and to see how long it takes
    assert calls[3:] == ["r", "f", "r", "f", "r", "f", "r", "f", "r"]


def test_a_spread_is_the_median_and_the_quartiles() -> None:
    assert spread([5.0, 1.0, 2.0, 4.0, 3.0]) == Spread(3, 2, 4)
    assert spread([7.0]) == Spread(7, 7, 7)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_the_power_law(power: float) -> None:
    assert exponent({n: 3 * n**power for n in (2, 4, 8, 16)}) == pytest.approx(power)
