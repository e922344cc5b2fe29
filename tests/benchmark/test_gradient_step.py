"""The figures of a gradient step, of agents of a few thousand weights."""

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import TINY_AGENT

from sheeprl_dnp.benchmark.agents import Agent, Settings, variants
from sheeprl_dnp.benchmark.gradient_step import KINDS, bounds, exponent, growth_exponents, peak_memory, phases


def test_the_bound_counts_the_behaviour_once_for_each_trajectory() -> None:
    baseline = {"world_model": 40, "behaviour": 60, "per_gradient_step": 100}
    ours = variants([8], 17, KINDS)
    assert bounds(baseline, {"per_gradient_step": 840}, ours["n8_all"]) == pytest.approx((5.2, 8.4))
    assert bounds(baseline, {"per_gradient_step": 140}, ours["n8_matched_commit"]) == pytest.approx((1.0, 1.4))
    assert bounds(baseline, {"per_gradient_step": 140}, ours["n8_marginal"]) == pytest.approx((1.4, 1.4))


def test_the_peak_is_what_a_step_has_at_one_time() -> None:
    def step() -> None:
        first, second = torch.zeros(1_000_000), torch.zeros(1_000_000)
        del first, second
        torch.zeros(500_000)

    assert peak_memory(step, torch.device("cpu")) == pytest.approx(8e6, rel=0.01)


@pytest.mark.parametrize("ponder", [None, {"max_halts": 2}])
def test_the_phases_fill_the_step(ponder: dict | None) -> None:
    seconds = phases(Agent(Settings("XS", tuple(TINY_AGENT)), ponder), steps=1)
    assert [*seconds] == ["world model", "imagination", "actor", "critic"]
    assert all(value > 0 for value in seconds.values())


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_exponent_is_that_of_the_power_law(power: float) -> None:
    n = np.array([2, 4, 8, 16])
    assert exponent(n, 3 * n**power) == pytest.approx(power)


def test_the_growth_is_that_of_each_kind_from_two_ponder_steps_on() -> None:
    names = ["dreamer_v3", "n1", "n2_all", "n4_all", "n8_all", "n2_dream", "n4_dream", "n4_dream_all"]
    ratios = [1, 9, 2, 4, 8, 1, 4, 9]
    grown = growth_exponents(pd.DataFrame({"agent": names, "ratio": ratios, "peak_MB": [3.0] * 8}))
    assert grown == pytest.approx(
        {"time_exponent": 1, "memory_exponent": 0, "dream_time_exponent": 2, "dream_memory_exponent": 0}
    )
