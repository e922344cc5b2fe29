"""The commands of a user with an agent that dreams: train, resume, evaluate."""

import json
from pathlib import Path

import pytest
from conftest import TINY_CRAFTER, Command, differences, last_checkpoint, load

RUN = ["exp=dnp_crafter_small_dream", *TINY_CRAFTER]


@pytest.mark.slow
def test_an_agent_that_dreams_goes_on_from_its_checkpoint_and_is_evaluated(
    train: Command, command: Command, tmp_path: Path
) -> None:
    train(*RUN, "algo.total_steps=120", "run_name=first")
    checkpoint = last_checkpoint(tmp_path)
    assert "ponder.step_module.log_kappa" in load(checkpoint)["actor"]
    # With nothing left to learn from, what it saves at once is what it loaded
    train(*RUN, "algo.total_steps=122", f"checkpoint.resume_from={checkpoint}", "run_name=second")
    resumed = load(last_checkpoint(next(tmp_path.rglob("second"))))
    assert set(differences(load(checkpoint), resumed)) <= {"/iter_num", "/last_checkpoint", "/last_log", "/ratio/_prev"}
    # What a training goes on to learn has another scale of the returns, which its dreams see
    train(*RUN, "algo.total_steps=160", f"checkpoint.resume_from={checkpoint}", "run_name=third")
    result = command("sheeprl-eval", f"checkpoint_path={checkpoint}", "+eval_episodes=1")
    assert result.returncode == 0, result.stderr[-2000:]
    for steps in (1, 4):
        arguments = ["--episodes", "2", "--envs", "2", "--steps", str(steps)]
        result = command("python", "-m", "sheeprl_dnp.study.evaluate", str(checkpoint), *arguments)
        assert result.returncode == 0, result.stderr[-2000:]
    found = [json.loads(path.read_text()) for path in tmp_path.rglob("*.json") if "eval" in path.name]
    assert {1, 4} <= {content["mean_ponder_steps"] for content in found}
