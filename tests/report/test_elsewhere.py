"""Policies that are also played looking ahead, and in another environment than that of the training."""

from pathlib import Path
from statistics import fmean

import pandas as pd
import pytest
import yaml

from sheeprl_dnp.report.markdown import markdown
from sheeprl_dnp.report.results import Results
from sheeprl_dnp.report.tables import load, publish

from .synthetic import ARMS, change, make_study, read, results_of, row, run_folder, write

LOST = {"baseline": 0.5, "ponder": 0.25, "fixed": 1.0}  # of the return, where it is harder
SEEDS = (1, 2)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each policy wins 0.3 by looking ahead, and loses `LOST` where it is harder, unless it looks ahead."""
    folder = make_study(
        tmp_path_factory.mktemp("elsewhere") / "study", seeds=len(SEEDS), budget=2000, game="lights_out"
    )
    plan = yaml.safe_load((folder / "study.yaml").read_text())
    plan["evaluations"] |= {"forced_steps": [], "dream": [4]}
    plan["evaluations"]["environments"] = {"harder": ["env.wrapper.difficulty=[5,8]"]}
    (folder / "study.yaml").write_text(yaml.safe_dump(plan))
    for arm, lost in LOST.items():
        for seed in SEEDS:
            run = run_folder(folder, arm, seed)
            own = read(run / "evaluation_default.json")
            for name, gain, harder in (("dream_4", 0.3, 0), ("default@harder", -lost, 4), ("dream_4@harder", 0, 4)):
                moved = [
                    {**e, "return": e["return"] + gain, "difficulty": e["difficulty"] + harder} for e in own["episodes"]
                ]
                write(run / f"evaluation_{name}.json", own | {"episodes": moved})
    return folder


@pytest.fixture(scope="module")
def results(study: Path) -> Results:
    return results_of(study)


def own_return(study: Path, arm: str) -> float:
    runs = [read(run_folder(study, arm, seed) / "evaluation_default.json")["episodes"] for seed in SEEDS]
    return fmean(fmean(episode["return"] for episode in run) for run in runs)


def test_what_is_played_elsewhere_is_told_apart(study: Path, results: Results) -> None:
    there = results.elsewhere["harder"]
    for arm in ARMS:
        here = row(results.rows("return", rule="default"), arm=arm)
        away = row(there.rows("return", rule="default"), arm=arm)
        assert here["value"] == pytest.approx(own_return(study, arm))
        assert away["value"] == pytest.approx(own_return(study, arm) - LOST[arm]) and away["n"] == len(SEEDS)
    levels = [set(each.rows(by=("difficulty",), rule="default")["difficulty"]) for each in (results, there)]
    assert levels == [{1, 2, 3, 4}, {5, 6, 7, 8}]


def test_looking_ahead_is_compared_with_the_own_rule_of_each_arm(results: Results) -> None:
    for arm in ARMS:
        keys = {"arm": arm, "to": "dream_4", "difficulty": None}
        assert row(results.gains, **keys)["value"] == pytest.approx(0.3)
        assert row(results.elsewhere["harder"].gains, **keys)["value"] == pytest.approx(LOST[arm])


def test_the_text_has_both(results: Results) -> None:
    text = markdown(results, {})
    assert "12 with each forced number of steps and looking ahead (best of n, dreamed: " in text
    here, there = text.split("### Frozen policies in another environment: harder\n")
    assert "`env.wrapper.difficulty=[5,8]`" in there and "| difficulty 8 |" in there and "| difficulty 8 |" not in here
    for part in (here, there):
        assert "| arm | own rule | best of 4, dreamed |" in part
        assert "| baseline | best of 4, dreamed less by its own rule | " in part
    assert results.as_json()["elsewhere"].keys() == {"harder"}


def test_a_published_study_says_the_same(study: Path, results: Results, tmp_path: Path) -> None:
    publish(load(study), tmp_path)
    published = results_of(tmp_path)
    for ours, theirs in ((results, published), (results.elsewhere["harder"], published.elsewhere["harder"])):
        assert len(ours.estimates) > 100 and len(ours.gains) == 15
        for part in ("estimates", "gains"):
            pd.testing.assert_frame_equal(getattr(ours, part), getattr(theirs, part), check_dtype=False)


def test_an_evaluation_that_is_missing_is_named(study: Path, results: Results, tmp_path: Path) -> None:
    (run_folder(study, "fixed", 2) / "evaluation_default@harder.json").rename(tmp_path / "kept")
    change(run_folder(study, "fixed", 1) / "evaluation_dream_4.json", episodes=[])
    problems = load(study).problems.set_index("run")["reason"]
    assert "without `evaluation_default@harder.json`" in problems["fixed seed 2"]
    assert "`evaluation_dream_4.json` is corrupt (it has 0 episodes" in problems["fixed seed 1"]
