"""Timings in turns, with a clock that the timed functions move themselves."""

import time
from collections.abc import Callable, Iterator

import pytest
import torch

from sheeprl_dnp.benchmark.timing import compare

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


def test_a_ratio_is_to_the_calls_of_the_reference_beside_it(clock: Clock) -> None:
    for seconds in (2, 0.5):
        found = compare(clock.work(1), clock.work(seconds), rounds=3, turn=0.1, device=CPU)
        assert found == {"ratio": seconds, "low": seconds, "high": seconds, "seconds": seconds}


def test_a_machine_that_grows_slower_and_slower_changes_no_ratio(clock: Clock) -> None:
    def work() -> None:
        clock.work(3)()
        clock.slowness *= 1.01

    found = compare(clock.work(1), work, rounds=5, turn=0.1, device=CPU)
    assert [found[key] for key in ("low", "ratio", "high")] == pytest.approx([3] * 3, rel=0.01)


def test_in_a_turn_the_function_and_the_reference_alternate_until_it_is_over(clock: Clock) -> None:
    calls = []

    def call(name: str, seconds: float) -> Callable[[], None]:
        return lambda: (calls.append(name), clock.work(seconds)())

    compare(call("r", 1), call("f", 0.25), rounds=1, turn=1, device=CPU)
    assert calls[:3] == ["r", "f", "f"]  # to set up, and to see how long it takes
    assert calls[3:] == ["r", "f", "r", "f", "r", "f", "r", "f", "r"]


def test_a_comparison_has_the_median_and_the_quartiles(clock: Clock) -> None:
    turns = iter([1.0, 1.0, 5.0, 1.0, 2.0, 4.0, 3.0])
    found = compare(clock.work(1), lambda: clock.work(next(turns))(), rounds=5, turn=0, device=CPU)
    assert found == {"ratio": 3, "low": 2, "high": 4, "seconds": 3}
