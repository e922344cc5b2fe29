"""The trials of an arm: equal for each, none lost and none counted twice, and what is said of them."""

import csv
import math
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
import pytest
import yaml
from tunings import ENT_COEF, LR, MAX_HALTS, TUNING, changed

from sheeprl_dnp.studies import read_plan
from sheeprl_dnp.study.plan import compose_arms
from sheeprl_dnp.study.trials import WORST, ArmTrials, Outcome, Trial, open_arms, save
from sheeprl_dnp.study.tuned_arms import TunedArm, tuned_arms
from sheeprl_dnp.study.tuning import Tuning


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
        arm.tell(asked[-1], Outcome(objective(asked[-1]), "success", steps=5, updates=2, cpu_s=1.5))
    return asked


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
    high = ask_all(opened(tmp_path / "a", tuned, trials=12)[1][0], 12)
    low = ask_all(opened(tmp_path / "b", tuned, trials=12)[1][0], 12, lambda trial: -trial.settings[ENT_COEF])
    means = [fmean(math.log(trial.settings[ENT_COEF]) for trial in trials[6:]) for trials in (high, low)]
    assert means[0] > means[1] + 1  # nats


def test_a_trial_that_was_on_is_taken_up_again_and_one_that_was_half_asked_for_is_asked_again(
    tmp_path: Path, tuned: list[TunedArm]
) -> None:
    _, (arm, _) = opened(tmp_path, tuned)
    first, second = arm.ask(), arm.ask()
    arm.tell(first, Outcome(0.5, "success"))
    whole = opened(tmp_path / "whole", tuned)[1][0]
    expected = [whole.ask() for _ in range(3)][2]
    arm._study.sampler = optuna.samplers.TPESampler(seed=0)
    arm._study.ask({ENT_COEF: arm.tuned.space[ENT_COEF].distribution})  # and stopped before the next key
    _, (again, _) = opened(tmp_path, tuned)
    assert (len(again.all()), len(again.told()), again.untold()) == (2, 1, [second])
    third = again.ask()
    assert (third.number, third.seed, third.settings) == (2, 1003, expected.settings)


def test_a_failed_trial_is_the_worst_and_the_table_says_why(tmp_path: Path, tuned: list[TunedArm]) -> None:
    tuning, arms = opened(tmp_path, tuned)
    trials = [arms[1].ask() for _ in range(3)]
    arms[1].tell(trials[0], Outcome(-3.0, "return", steps=400, updates=20, cpu_s=9.5))
    arms[1].tell(trials[1], Outcome(reason="ValueError: nan, of course", steps=120, cpu_s=3.0))
    assert arms[1].best() == replace(trials[0], value=-3.0)
    assert arms[1]._study.best_value == -3.0 and arms[1]._study.trials[1].value == WORST
    save(tmp_path, tuning, arms)
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
    save(tmp_path, tuning, arms)
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
