"""With one ponder step the stock command trains DreamerV3, whatever the step and the estimator."""

from pathlib import Path

import pytest
from conftest import TINY_CRAFTER, Command, differences, last_checkpoint, load

TINY_LIGHTS_OUT = [key for key in TINY_CRAFTER if "cnn_" not in key]


@pytest.mark.slow
@pytest.mark.parametrize(("experiment", "tiny"), [("crafter_small", TINY_CRAFTER), ("lights_out", TINY_LIGHTS_OUT)])
def test_it_is_dreamer_v3_bit_for_bit(train: Command, tmp_path: Path, experiment: str, tiny: list[str]) -> None:
    train(f"exp=dnp_{experiment}_baseline", *tiny, "run_name=theirs", "seed=3")
    theirs = load(last_checkpoint(next(tmp_path.rglob("theirs"))))
    assert theirs["per_rank_gradient_steps"] >= 20
    for step in ("refine", "dream"):
        for estimator in ("trajectories", "marginal"):
            chosen = ["algo.ponder.max_halts=1", f"algo.ponder.step={step}", f"algo.ponder.estimator={estimator}"]
            train(f"exp=dnp_{experiment}", *tiny, *chosen, f"run_name={step}_{estimator}", "seed=3")
            ours = load(last_checkpoint(next(tmp_path.rglob(f"{step}_{estimator}"))))
            assert differences(ours, theirs) == [], (step, estimator)
