"""`scripts/tune`: what was stopped goes on, and a training that crashes is told."""

import csv
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from conftest import TINY_AGENT, clean_environment
from tunings import ENT_COEF, MAX_HALTS, SHARED, STUDY, changed

from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.study.trials import Outcome, open_arms
from sheeprl_dnp.study.tune import TrialRuns, held
from sheeprl_dnp.study.tuned_arms import tuned_arms
from sheeprl_dnp.study.tuning import Tuning


def test_a_trial_that_ended_before_it_was_told_is_told_and_not_run_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tuning = Tuning.model_validate(changed(trials=1))
    tuned = tuned_arms(tuning)
    arms = open_arms(tmp_path, tuning, tuned)
    for arm, objective in zip(arms, (0.5, None), strict=True):
        arm.ask().end(Outcome(objective, "success", reason=None if objective else "a reason"))
    again = open_arms(tmp_path, tuning, tuned)
    TrialRuns(tmp_path, tuning, again).run(processes=2, threads=1)
    assert [len(arm.told()) for arm in again] == [1, 1] and not list(tmp_path.rglob("runs"))
    assert again[0].best() and not again[1].best()
    said = capfd.readouterr().err.splitlines()
    assert said == [
        "Dreamer V3 trial 0: success 0.5 (1 of 2 trials have ended)",
        "D&P trial 0: failed: a reason (2 of 2 trials have ended)",
    ]


class EndedJob:
    """A job that says its training failed."""

    process = SimpleNamespace(returncode=1)

    def reason(self) -> str:
        return "the training failed"


@pytest.mark.parametrize(("code", "told"), [(-9, 0), (1, 1)])
def test_a_training_that_is_killed_by_itself_is_gone_on_with(tmp_path: Path, code: int, told: int) -> None:
    tuning = Tuning.model_validate(changed(trials=1))
    (arm, _) = arms = open_arms(tmp_path, tuning, tuned_arms(tuning))
    trial = arm.ask()
    trial.run.folder.mkdir(parents=True)
    for number, ended in enumerate((None, 1, code)):
        (trial.run.folder / f"attempt_{number}.json").write_text(json.dumps({"exit": ended, "cpu_s": 1.0}))
    TrialRuns(tmp_path, tuning, arms)._ended(arm, trial, EndedJob())
    assert len(arm.told()) == told and not arm.best()


def test_a_folder_is_tuned_by_one_process_at_a_time(tmp_path: Path) -> None:
    with held(tmp_path / "t"), pytest.raises(ConfigError, match="another process is at this tuning"):
        with held(tmp_path / "t"):
            pass
    with held(tmp_path / "t"), (tmp_path / "t" / "lock").open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def tune_command(folder: Path) -> subprocess.Popen[str]:
    two_at_once = ["--processes", "2", "--threads", "1"]
    return subprocess.Popen(
        [sys.executable, "-m", "sheeprl_dnp.study.tune", "tiny.yaml", "--folder", "it's #1 {a}?", *two_at_once],
        cwd=folder,
        env=clean_environment(),
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def write_tuning(path: Path) -> None:
    """Of two arms on Lights Out; some trials of one crash: there are fewer lights than it would dream of."""
    overrides = ["env.num_envs=2", "algo.total_steps=800", "algo.learning_starts=64", "algo.replay_ratio=0.1"]
    tiny = [o for o in TINY_AGENT if "cnn" not in o]
    arms = [STUDY["arms"][0], {"label": "dream", "exp": "dnp_lights_out_dream", "overrides": [f"{MAX_HALTS}=10"]}]
    study = {"arms": arms, "seeds": [1], "overrides": [*tiny, *overrides, "checkpoint.every=40"]}
    space = {ENT_COEF: SHARED[ENT_COEF], MAX_HALTS: {"choice": [10, 12]}}
    tuning = {"study": study, "trials": 3, "episodes": 8, "first_seed": 50, "space": space}
    path.write_text(yaml.safe_dump(tuning))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_tuning_goes_on_and_a_training_that_crashes_is_told(tmp_path: Path) -> None:
    write_tuning(tmp_path / "tiny.yaml")
    folder = tmp_path / "it's #1 {a}?"
    process = tune_command(tmp_path)
    while not list(folder.glob("trials/*/0/runs/*/*/version_0/checkpoint/ckpt_[123]?0_0.ckpt")):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    process = tune_command(tmp_path)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    with (folder / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["arm"], row["number"], row["seed"]) for row in rows] == [
        (arm, str(n), str(50 + n)) for arm in ("Dreamer V3", "dream") for n in range(3)
    ]
    for row in rows:
        crashes = row[MAX_HALTS] == "12"
        assert row["state"] == ("failed" if crashes else "finished"), output
        assert row["objective"] == "-inf" if crashes else 0 <= float(row["objective"]) <= 1
        assert (
            "`algo.ponder.max_halts=12` would dream of more actions" in row["reason"] if crashes else not row["reason"]
        )
        assert crashes or ((row["measure"], row["steps"]) == ("success", "400") and int(row["updates"]) > 20)
        assert float(row["cpu_s"]) > 0
    assert any(row[MAX_HALTS] == "12" for row in rows)
    attempts = [json.loads(path.read_text()) for path in folder.glob("trials/*/0/runs/*/*/attempt_*.json")]
    assert any(attempt["from_step"] > 0 for attempt in attempts)
    evaluations = [json.loads(path.read_text()) for path in folder.glob("trials/*/*/runs/*/*/evaluation_*.json")]
    assert {(evaluation["worlds"], len(evaluation["episodes"])) for evaluation in evaluations} == {("validation", 8)}
    assert not list(folder.rglob("*.ckpt"))
    assert "Dreamer V3: success" in output and "dream: success" in output
    before = (folder / "trials.csv").read_text()
    process = tune_command(tmp_path)
    assert process.wait() == 0 and (folder / "trials.csv").read_text() == before
