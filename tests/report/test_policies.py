"""The committed policies play the committed evaluations again."""

import math
import shutil
from pathlib import Path
from statistics import fmean, variance

import pandas as pd
import pytest
import torch

from sheeprl_dnp.evaluation import Settings
from sheeprl_dnp.machine import cpu_model
from sheeprl_dnp.report.tables import WORLDS
from sheeprl_dnp.runs import load_checkpoint
from sheeprl_dnp.studies import OWN_RULE, Arm
from sheeprl_dnp.study.evaluate import evaluate_checkpoint
from sheeprl_dnp.study.publish import KEPT

RESULTS = Path(__file__).parents[2] / "results"
POLICIES = sorted(RESULTS.glob("*/policies/*/checkpoint/*.ckpt"))
# What the studies were run with: the same arithmetic, bit for bit
MACHINE = ("AMD EPYC", "AVX512", "2.13.0+cpu")


def committed(study: str, arm: str) -> pd.DataFrame:
    """The episodes that the run of a policy played by its own rule, in the order of their worlds."""
    episodes = pd.read_csv(RESULTS / study / "evaluation.csv.bz2", low_memory=False)
    own = episodes[(episodes["arm"] == arm) & (episodes["rule"] == OWN_RULE)]
    if "environment" in own:
        own = own[own["environment"].isna()]
    return own[own["seed"] == own["seed"].min()].sort_values("episode")


def test_every_study_with_policies_has_one_of_each_arm_and_all_are_small() -> None:
    studies = {path.parents[3] for path in POLICIES}
    assert studies
    for study in studies:
        arms = pd.read_csv(study / "runs.csv")["arm"].unique()
        assert len(list(study.glob("policies/*/config.yaml"))) == len(arms)
        assert len(list(study.glob("policies/*/checkpoint/*.ckpt"))) == len(arms)
    assert sum(path.stat().st_size for path in POLICIES) < 25e6
    for path in POLICIES:
        assert tuple(load_checkpoint(str(path))) == KEPT


@pytest.mark.parametrize(
    ("study", "arm"),
    [
        ("lights_out", "dream"),
        pytest.param("lights_out", "refine, trajectories", marks=pytest.mark.slow),
        pytest.param("crafter_symbolic", "dream", marks=pytest.mark.slow),
        pytest.param("crafter_symbolic", "DreamerV3", marks=pytest.mark.slow),
    ],
)
def test_a_committed_policy_plays_the_committed_evaluation_again(tmp_path: Path, study: str, arm: str) -> None:
    policy = tmp_path / "policy"
    shutil.copytree(RESULTS / study / "policies" / Arm(label=arm, exp="any").folder, policy)
    (checkpoint,) = policy.glob("checkpoint/*.ckpt")
    before = committed(study, arm)
    played = evaluate_checkpoint(Settings(checkpoint=str(checkpoint), episodes=len(before)))["episodes"]
    (world,) = before.columns.intersection(list(WORLDS))
    assert [episode[world] for episode in played] == before[world].tolist()
    returns, were = [episode["return"] for episode in played], before["return"].tolist()
    if (cpu_model(), torch.backends.cpu.get_cpu_capability(), torch.__version__) == MACHINE:
        assert returns == pytest.approx(were, abs=1e-5)
        assert [episode["length"] for episode in played] == before["length"].tolist()
    # Of two samples of one policy: worse by chance in one of 10,000
    assert abs(fmean(returns) - fmean(were)) < 4 * math.sqrt((variance(returns) + variance(were)) / len(were))
