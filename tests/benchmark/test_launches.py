"""What a GPU would launch and wait for, counted; and the targets that it must keep."""

import pandas as pd
import pytest
import torch
from conftest import TINY_AGENT

from sheeprl_dnp.benchmark.agents import Settings
from sheeprl_dnp.benchmark.launches import count, measure_launches


def test_views_are_no_operations_and_reading_a_tensor_waits() -> None:
    values = torch.rand(4, 3)
    assert count(lambda: values.T.reshape(3, 4).unsqueeze(0)) == (0, 0)
    assert count(lambda: values.exp() + 1) == (2, 0)
    assert count(lambda: values.sum().item()) == (2, 1)
    assert count(lambda: values[values > 0.5]) == (2, 1)  # how many are there?


@pytest.fixture(scope="module")
def launches() -> pd.DataFrame:
    # The lengths and depths of the small agent for Crafter: what is counted depends on nothing else
    small = ["algo.per_rank_sequence_length=32", "algo.horizon=15", "algo.mlp_layers=1"]
    kept = [key for key in TINY_AGENT if not key.startswith(tuple(key.split("=")[0] for key in small))]
    return measure_launches(Settings("XS", (*kept, *small)), (1, 4), print).set_index("agent")


def test_no_operation_of_ours_waits(launches: pd.DataFrame) -> None:
    assert launches.loc["dreamer_v3", "waits"] > 0  # what a wait is, is known
    assert (launches[["waits_of_ours", "action_waits_of_ours"]] == 0).all(axis=None)


def test_the_operations_keep_their_targets(launches: pd.DataFrame) -> None:
    ratios = launches["ratio"]
    targets = {"n1": 1.03, "n4_all": 1.10, "n4_marginal": 1.10, "n4_dream": 1.35, "n4_dream_all": 1.35}
    assert launches.index.tolist() == ["dreamer_v3", *targets]
    assert all(1 < ratios[name] <= target for name, target in targets.items()), ratios


def test_an_action_that_halts_takes_few_operations_more(launches: pd.DataFrame) -> None:
    ratios = launches["action_ratio"]
    assert 1 < ratios["n1"] < ratios["n4_marginal"] == ratios["n4_all"] < 1.3 < ratios["n4_dream"] < 2.1
