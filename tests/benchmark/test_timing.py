"""Timings in turns, with a clock that the timed functions move themselves."""

import time
from collections.abc import Callable, Iterator

import pandas as pd
import pytest
import torch

from sheeprl_dnp.benchmark.timing import alternate, exponent, summary

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
    *_, turns = alternate(clock.work(1), functions, rounds=3, turn=0.1, device=CPU)
    assert turns["name"].tolist() == ["double", "half"] * 3 and (turns["reference"] == 1).all()
    found = summary(turns)
    assert found["ratio"].to_dict() == {"dreamer_v3": 1, "double": 2, "half": 0.5}
    assert found["seconds"].to_dict() == {"dreamer_v3": 1, "double": 2, "half": 0.5}


def test_a_machine_that_grows_slower_and_slower_changes_no_ratio(clock: Clock) -> None:
    turns = pd.DataFrame()
    for turns in alternate(clock.work(1), {"triple": clock.work(3)}, rounds=5, turn=0.1, device=CPU):  # noqa: B007
        clock.slowness *= 2
    assert summary(turns).loc["triple", ["ratio", "low", "high"]].tolist() == [3, 3, 3]


def test_in_a_turn_the_function_and_the_reference_alternate_until_it_is_over(clock: Clock) -> None:
    calls = []

    def call(name: str, seconds: float) -> Callable[[], None]:
        return lambda: (calls.append(name), clock.work(seconds)())

    list(alternate(call("r", 1), {"fast": call("f", 0.25)}, rounds=1, turn=1, device=CPU))
    assert calls[:3] == ["r", "f", "f"]  # to set up, and to see how long it takes
    assert calls[3:] == ["r", "f", "r", "f", "r", "f", "r", "f", "r"]


def test_a_summary_has_the_median_and_the_quartiles() -> None:
    turns = pd.DataFrame({"name": "ours", "seconds": [5.0, 1.0, 2.0, 4.0, 3.0], "reference": 1.0})
    assert summary(turns).loc["ours"].tolist() == [3, 2, 4, 3]


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_the_power_law(power: float) -> None:
    assert exponent({n: 3 * n**power for n in (2, 4, 8, 16)}) == pytest.approx(power)
