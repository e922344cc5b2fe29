"""Parameters and floating-point operations, counted."""

from functools import cache

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import TINY_AGENT
from omegaconf import DictConfig, OmegaConf
from sheeprl.utils.utils import dotdict
from test_configs import experiment

from sheeprl_dnp import costs as costs_module
from sheeprl_dnp.costs import costs, count_flops, describe

OBSERVATIONS = gym.spaces.Dict(
    {
        "rgb": gym.spaces.Box(0, 255, (3, 64, 64), np.uint8),
        "lights": gym.spaces.Box(-1, 1, (9,), np.float32),
        "reward": gym.spaces.Box(-np.inf, np.inf, (1,), np.float32),
    }
)


@cache
def counted(arm: str, *overrides: str) -> dict:
    return costs_of(experiment(f"exp={arm}", *TINY_AGENT, *overrides), actions=17)


def costs_of(cfg: DictConfig, actions: int) -> dict:
    return costs(dotdict(OmegaConf.to_container(cfg, resolve=True)), OBSERVATIONS, gym.spaces.Discrete(actions))


def test_a_multiply_add_is_two_operations() -> None:
    layer = torch.nn.Linear(3, 5)
    assert count_flops(lambda: layer(torch.ones(7, 3))) == 2 * 7 * 3 * 5


def test_one_ponder_step_costs_what_dreamer_v3_costs() -> None:
    baseline = counted("dnp_crafter_small_baseline")
    assert counted("dnp_crafter_small", "algo.ponder.max_halts=1") == baseline
    assert len(baseline["flops"]["per_action"]) == 1
    parts = ("world_model", "actor", "critic")
    assert baseline["parameters"]["agent"] == sum(baseline["parameters"][part] for part in parts)


def test_a_forced_ponder_step_of_an_action_costs_the_half_of_the_cell_that_sees_the_step_before() -> None:
    width = 16
    one = counted("dnp_crafter_small", "algo.ponder.max_halts=1")["flops"]["per_action"]
    ponder = counted("dnp_crafter_small")["flops"]["per_action"]
    assert np.diff(ponder).tolist() == [2 * width * width] * 3
    # The trunk has two layers less for the cell, whose other half is computed for all steps
    assert ponder[0] == one[0] - 2 * 2 * width * width + 2 * width * width
    assert counted("dnp_crafter_small", "algo.ponder.learn_halting=False")["flops"]["per_action"] == ponder


def test_a_dream_costs_the_world_model_and_the_critic() -> None:
    step = "algo.ponder.step=dream", "algo.ponder.estimator=marginal"
    actions = np.diff(counted("dnp_crafter_small", *step)["flops"]["per_action"]).tolist()
    # The first dream needs the value of the state too, the others that of what they dream of
    assert actions[0] > actions[1] == actions[2] > 0
    baseline = counted("dnp_crafter_small_baseline")
    assert counted("dnp_crafter_small", *step)["parameters"]["agent"] <= baseline["parameters"]["agent"]


def test_a_gradient_step_costs_one_behaviour_for_each_trajectory() -> None:
    one, two, four = (
        counted("dnp_crafter_small", f"algo.ponder.max_halts={n}")["flops"]["per_gradient_step"] for n in (1, 2, 4)
    )
    assert (four - two) / (two - one) == pytest.approx(2, rel=0.2)
    fixed = counted("dnp_crafter_small", "algo.ponder.learn_halting=False")["flops"]["per_gradient_step"]
    assert one < fixed < two


@pytest.mark.parametrize("arm", ["dnp_crafter_small_baseline", "dnp_crafter_small"])
def test_the_operations_of_a_sample_stand_for_those_of_the_batch(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = ["algo.per_rank_sequence_length=16", "algo.per_rank_batch_size=4"]
    estimate = counted(arm, *batch)
    monkeypatch.setattr(costs_module, "SAMPLE", (16, 4))
    exact = counted.__wrapped__(arm, *batch)
    assert estimate["flops"]["per_gradient_step"] == pytest.approx(exact["flops"]["per_gradient_step"], rel=0.02)
    assert f"{exact['flops']['per_gradient_step'] / 1e9:.4g} GFLOPs per gradient step" in describe(exact)


def test_counting_draws_no_random_number() -> None:
    torch.manual_seed(0)
    first = torch.rand(3)
    torch.manual_seed(0)
    counted.__wrapped__("dnp_crafter_small")
    assert torch.equal(torch.rand(3), first)


@pytest.mark.parametrize("step", ["refine", "dream"])
def test_one_trajectory_from_each_root_costs_less_than_one_for_each_ponder_step(step: str) -> None:
    one, several = (
        counted("dnp_crafter_small", f"algo.ponder.step={step}", f"algo.ponder.estimator={estimator}")["flops"]
        for estimator in ("marginal", "trajectories")
    )
    assert one["world_model"] == several["world_model"]
    assert one["behaviour"] < several["behaviour"] / 2
