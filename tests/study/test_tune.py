"""`scripts/tune`: equal trials for each arm, none lost and none counted twice, and their best settings."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from conftest import TINY_AGENT, clean_environment

from sheeprl_dnp.studies import read_plan
from sheeprl_dnp.study.plan import compose_arm, compose_arms
from sheeprl_dnp.study.trial_pool import TrialPool
from sheeprl_dnp.study.trials import WORST, ArmTrials, Outcome, Trial, open_arms, save_best, save_table
from sheeprl_dnp.study.tuned_arms import TunedArm, tuned_arms
from sheeprl_dnp.study.tuning import Tuning

ENT_COEF, LR, CRITIC_LR = "algo.actor.ent_coef", "algo.actor.optimizer.lr", "algo.critic.optimizer.lr"
MAX_HALTS = "algo.ponder.max_halts"
SHARED = {
    ENT_COEF: {"low": "1e-4", "high": "3e-2", "log": True},  # as PyYAML reads 1e-4
    LR: {"low": 1e-4, "high": 3e-3, "log": True, "also": [CRITIC_LR]},
}
STUDY = {
    "arms": [{"label": "Dreamer V3", "exp": "dnp_lights_out_baseline"}, {"label": "D&P", "exp": "dnp_lights_out"}],
    "seeds": [1, 2],
}
TUNING = {
    "study": STUDY,
    "trials": 6,
    # The keys that arms share come first, whatever their place here
    "space": {MAX_HALTS: {"low": 2, "high": 6, "integer": True}, **SHARED},
}


def changed(**keys: Any) -> dict[str, Any]:
    return {**TUNING, **keys}


@pytest.fixture(scope="module")
def tuned() -> list[TunedArm]:
    return tuned_arms(Tuning.model_validate(TUNING))


def opened(folder: Path, tuned: list[TunedArm], **keys: Any) -> tuple[Tuning, list[ArmTrials]]:
    folder.mkdir(exist_ok=True)
    tuning = Tuning.model_validate(changed(**keys))
    return tuning, open_arms(folder, tuning, tuned)


def ask_all(arm: ArmTrials, trials: int, objective: Any = lambda trial: trial.settings[ENT_COEF]) -> list[Trial]:
    """Tells Optuna of each trial before it asks for the next one."""
    asked = []
    for _ in range(trials):
        asked.append(arm.ask())
        end(arm, asked[-1], Outcome(objective(asked[-1]), "success", steps=5, updates=2, cpu_s=1.5))
    return asked


def end(arm: ArmTrials, trial: Trial, outcome: Outcome) -> None:
    trial.end(outcome)
    arm.tell(trial, outcome)


def test_an_arm_is_tuned_in_the_keys_that_it_has_and_starts_with_its_own_settings(tuned: list[TunedArm]) -> None:
    baseline, ponder = tuned
    assert list(baseline.space) == [ENT_COEF, LR] and list(ponder.space) == [ENT_COEF, LR, MAX_HALTS]
    assert all(baseline.space[key] == ponder.space[key] for key in baseline.space)
    assert baseline.own == {key: ponder.own[key] for key in baseline.own}
    assert ponder.own[LR] == 1e-3 and ponder.own[MAX_HALTS] == 4
    assert baseline.total_steps == ponder.total_steps == 15000


def test_a_setting_goes_to_the_keys_that_have_the_same_value(tuned: list[TunedArm]) -> None:
    own = tuned[1].arm.model_copy(update={"overrides": ("algo.horizon=4", f"{LR}=0.001")})
    arm = replace(tuned[1], arm=own).with_settings({LR: 2e-3, MAX_HALTS: 3}, "algo.total_steps=80")
    settings = (f"{LR}=0.002", f"{CRITIC_LR}=0.002", f"{MAX_HALTS}=3")
    assert arm.overrides == ("algo.horizon=4", *settings, "algo.total_steps=80")
    cfg = compose_arm(arm)
    assert cfg.algo.actor.optimizer.lr == cfg.algo.critic.optimizer.lr == 2e-3
    assert (cfg.algo.ponder.max_halts, cfg.algo.total_steps) == (3, 80)


def test_each_arm_has_as_many_trials_with_the_same_seeds_and_the_same_first_values_of_what_they_share(
    tmp_path: Path, tuned: list[TunedArm]
) -> None:
    _, arms = opened(tmp_path, tuned)
    trials = [ask_all(arm, 6) for arm in arms]
    for asked, arm in zip(trials, tuned, strict=True):
        assert [trial.number for trial in asked] == list(range(6))
        assert [trial.seed for trial in asked] == list(range(1001, 1007))
        assert asked[0].settings == arm.own
        assert len({trial.settings[ENT_COEF] for trial in asked}) == 6
        for trial in asked:
            assert list(trial.settings) == list(arm.space)
            assert all(arm.space[key].has(value) for key, value in trial.settings.items())
    for first, second in zip(*(asked[:3] for asked in trials), strict=True):  # those that don't depend on what was told
        assert first.settings == {key: second.settings[key] for key in first.settings}


def test_the_same_tuning_gives_the_same_trials_wherever_it_was_stopped(tmp_path: Path, tuned: list[TunedArm]) -> None:
    at_once = ask_all(opened(tmp_path / "a", tuned)[1][1], 6)
    again = [ask_all(opened(tmp_path / "b", tuned)[1][1], 1)[0] for _ in range(6)]
    assert [trial.settings for trial in again] == [trial.settings for trial in at_once]
    other = ask_all(opened(tmp_path / "c", tuned, first_seed=2001)[1][1], 6)
    assert other[0].settings == at_once[0].settings
    assert all(a.settings != b.settings for a, b in zip(at_once[1:], other[1:], strict=True))


def test_what_was_told_moves_the_later_trials(tmp_path: Path, tuned: list[TunedArm]) -> None:
    high = ask_all(opened(tmp_path / "a", tuned, trials=20)[1][0], 20)
    low = ask_all(opened(tmp_path / "b", tuned, trials=20)[1][0], 20, lambda trial: -trial.settings[ENT_COEF])
    means = [sum(math.log(trial.settings[ENT_COEF]) for trial in trials[10:]) / 10 for trials in (high, low)]
    assert means[0] > means[1] + 1  # nats


def test_a_trial_that_was_on_is_taken_up_again_and_one_that_was_half_asked_for_is_asked_again(
    tmp_path: Path, tuned: list[TunedArm]
) -> None:
    _, (arm, _) = opened(tmp_path, tuned)
    first, second = arm.ask(), arm.ask()
    end(arm, first, Outcome(0.5, "success"))
    whole = opened(tmp_path / "whole", tuned)[1][0]
    expected = [whole.ask() for _ in range(3)][2]
    arm._study.sampler = optuna.samplers.TPESampler(seed=0)
    arm._study.ask(fixed_distributions={ENT_COEF: arm._distributions[ENT_COEF]})  # and stopped before the next key
    _, (again, _) = opened(tmp_path, tuned)
    assert (again.asked, again.told, again.untold()) == (2, 1, [second])
    third = again.ask()
    assert (third.number, third.seed, third.settings) == (2, 1003, expected.settings)


def test_a_trial_that_ended_before_it_was_told_is_told_and_not_run_again(
    tmp_path: Path, tuned: list[TunedArm], capfd: pytest.CaptureFixture[str]
) -> None:
    _, arms = opened(tmp_path, tuned, trials=1)
    for arm, objective in zip(arms, (0.5, None), strict=True):
        arm.ask().end(Outcome(objective, "success", reason=None if objective else "a reason"))
    tuning, again = opened(tmp_path, tuned, trials=1)
    TrialPool(tmp_path, tuning, again, threads=1).run(processes=2)
    assert [arm.told for arm in again] == [1, 1] and not list(tmp_path.rglob("runs"))
    assert again[0].best() and not again[1].best()
    said = capfd.readouterr().err.splitlines()
    assert said == [
        "Dreamer V3 trial 0: success 0.5 (1 of 2 trials have ended)",
        "D&P trial 0: failed: a reason (2 of 2 trials have ended)",
    ]


def test_a_failed_trial_is_the_worst_and_the_table_says_why(tmp_path: Path, tuned: list[TunedArm]) -> None:
    tuning, arms = opened(tmp_path, tuned)
    trials = [arms[1].ask() for _ in range(3)]
    end(arms[1], trials[0], Outcome(-3.0, "return", steps=400, updates=20, cpu_s=9.5))
    end(arms[1], trials[1], Outcome(reason="ValueError: nan, of course", steps=120, cpu_s=3.0))
    assert arms[1].best() == trials[0]
    assert arms[1]._study.best_value == -3.0 and arms[1]._study.trials[1].value == WORST
    save_table(tmp_path, tuning, arms)
    with (tmp_path / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    costs = ["objective", "measure", "steps", "updates", "cpu_s", "state", "reason"]
    assert list(rows[0]) == ["arm", "number", "seed", MAX_HALTS, ENT_COEF, LR, *costs]
    assert [[row[key] for key in costs] for row in rows] == [
        ["-3.0", "return", "400", "20", "9.5", "finished", ""],
        ["-inf", "", "120", "", "3.0", "failed", "ValueError: nan, of course"],
        ["", "", "", "", "", "running", ""],
    ]
    for row, trial in zip(rows, trials, strict=True):
        assert (row["arm"], row["number"], row["seed"]) == ("D&P", str(trial.number), str(trial.seed))
        assert {key: float(row[key]) for key in trial.settings} == trial.settings


def test_the_best_settings_are_the_arms_of_a_plan(tmp_path: Path, tuned: list[TunedArm]) -> None:
    tuning, arms = opened(tmp_path, tuned)
    trials = [ask_all(arm, 5) for arm in arms]
    save_best(tmp_path, tuning, arms)
    text = (tmp_path / "best.yaml").read_text()
    path = tmp_path / "plan.yaml"
    path.write_text(text + "seeds: [1]\n")
    plan = read_plan(path)
    assert plan.labels == ["Dreamer V3", "D&P"]
    for asked, cfg in zip(trials, compose_arms(plan).values(), strict=True):
        best = max(asked, key=lambda trial: trial.settings[ENT_COEF])
        assert cfg.algo.actor.ent_coef == best.settings[ENT_COEF]
        assert cfg.algo.actor.optimizer.lr == cfg.algo.critic.optimizer.lr == best.settings[LR]
        assert cfg.algo.total_steps == 30000
        assert f"trial {best.number}, after 5 of 6" in text
    assert len(yaml.safe_load(text)["arms"][0]["overrides"]) == 3


def tune_command(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "sheeprl_dnp.study.tune", "tiny.yaml", "--folder", "it's #1 {a}?", "--processes", "2"],
        cwd=folder,
        env=clean_environment(),
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_killed_tuning_goes_on_and_a_training_that_crashes_is_told(tmp_path: Path) -> None:
    """Two arms on Lights Out; some trials of one crash: there are fewer lights than it would dream of."""
    overrides = ["env.num_envs=2", "algo.total_steps=800", "algo.learning_starts=64", "algo.replay_ratio=0.1"]
    tiny = [o for o in TINY_AGENT if "cnn" not in o]
    arms = [STUDY["arms"][0], {"label": "dream", "exp": "dnp_lights_out_dream", "overrides": [f"{MAX_HALTS}=10"]}]
    study = {"arms": arms, "seeds": [1], "overrides": [*tiny, *overrides, "checkpoint.every=40"]}
    space = {ENT_COEF: SHARED[ENT_COEF], MAX_HALTS: {"choice": [10, 12]}}
    (tmp_path / "tiny.yaml").write_text(
        yaml.safe_dump({"study": study, "trials": 3, "episodes": 8, "first_seed": 50, "space": space})
    )
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
