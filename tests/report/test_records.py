"""A damaged study is reported as far as it goes: what is missing, unfinished or corrupt is named."""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import refusal

from sheeprl_dnp.report.markdown import markdown
from sheeprl_dnp.report.report import main
from sheeprl_dnp.report.tables import Study, load
from sheeprl_dnp.runs import ConfigError

from .synthetic import (
    FORCED,
    attempt,
    change,
    copy_of,
    make_study,
    read,
    report_of,
    results_of,
    row,
    rows,
    run_folder,
    score_by_hand,
    training,
    write,
)

FIGURES = {"learning_curves", "success_rates", "halting", "forced_steps", "cost"}


def corrupt(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).write_text((run / name).read_text()[:-40])


def remove(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def still_running(run: Path) -> None:
    (run / "finished.json").unlink()
    write(run / "attempt_0.json", attempt("ponder", 1, wall_s=10, code=None))


def failed(run: Path) -> None:
    (run / "finished.json").unlink()
    write(run / "attempt_1.json", attempt("ponder", 1, wall_s=10, code=1))


def not_evaluated(run: Path) -> None:
    (run / "finished.json").unlink()


def never_attempted(run: Path) -> None:
    shutil.rmtree(run)
    run.mkdir()


def lost_costs(run: Path) -> None:
    change(run / "costs.json", flops={"per_action": [], "per_gradient_step": 1})


def infinite_return(run: Path) -> None:
    path = run / "evaluation_default.json"
    first, *others = read(path)["episodes"]
    change(path, episodes=[first | {"return": math.inf}, *others])


def fewer_episodes(run: Path) -> None:
    path = run / "evaluation_2.json"
    change(path, episodes=read(path)["episodes"][:5])


def lost_ponder_key(run: Path) -> None:
    path = run / "version_0" / "config.yaml"
    path.write_text(path.read_text().replace("    halting: sample\n", ""))


def no_episode(run: Path) -> None:
    (run / "version_0" / "episodes.jsonl").write_text("")


# What happened to a run, what is said of it, and the part that it is reported without (all of it if None)
DAMAGES = {
    "missing": (shutil.rmtree, "missing: it was never started", None),
    "running": (still_running, "is still running or was killed", None),
    "failed": (failed, "ended with exit code 1", None),
    "not evaluated": (not_evaluated, "its training has ended, its evaluation has not", None),
    "never attempted": (
        never_attempted,
        "unknown (it has no configuration yet); there is no record of an attempt",
        None,
    ),
    "mark": (corrupt("finished.json"), "corrupt: `finished.json`", None),
    "episodes": (corrupt("version_0/episodes.jsonl"), "`episodes.jsonl` is corrupt", "episodes"),
    "no episodes": (no_episode, "`episodes.jsonl` is corrupt (no episode ended)", "episodes"),
    "lost episodes": (remove("version_0/episodes.jsonl"), "finished, but without `episodes.jsonl`", "episodes"),
    "evaluation": (corrupt("evaluation_default.json"), "`evaluation_default.json` is corrupt", "default"),
    "infinite": (infinite_return, "(`return` is not always a finite number)", "default"),
    "lost evaluation": (remove("evaluation_default.json"), "without `evaluation_default.json`", "default"),
    "fewer": (fewer_episodes, "(it has 5 episodes, `study.yaml` asks for 12)", "2"),
    "forced": (remove("evaluation_8.json"), "without `evaluation_8.json`", "8"),
    "costs": (
        lost_costs,
        "`costs.json` is corrupt (`flops.per_action=` must be those at ponder step 1, 2, ",
        "costs",
    ),
    "metrics": (corrupt("metrics.csv"), "`metrics.csv` is corrupt", "metrics"),
    "attempt": (corrupt("attempt_0.json"), "`attempt_<n>.json` is corrupt", "attempts"),
    "config": (remove("version_0/config.yaml"), "without `config.yaml`", "config"),
    "ponder key": (lost_ponder_key, "`config.yaml` is corrupt (it has no 'halting')", "config"),
}


COLUMNS = {"costs": "flops_per_gradient_step", "attempts": "wall_s", "config": "config.algo.name"}


def parts_of(study: Study) -> set[tuple[str, int, str]]:
    """What each finished run has."""
    parts = {
        (arm, seed, name)
        for name, column in COLUMNS.items()
        for arm, seed in study.finished.dropna(subset=column)[["arm", "seed"]].to_numpy()
    }
    parts |= {(*run, "episodes") for run in study.training[["arm", "seed"]].drop_duplicates().to_numpy()}
    parts |= {(*run, "metrics") for run in study.metrics[["arm", "seed"]].drop_duplicates().to_numpy()}
    return parts | {tuple(run) for run in study.evaluation[["arm", "seed", "rule"]].drop_duplicates().to_numpy()}


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of one seed, not to be changed."""
    return make_study(tmp_path_factory.mktemp("single") / "study", seeds=1, budget=1000)


@pytest.mark.parametrize("damage, reason, part", DAMAGES.values(), ids=DAMAGES)
def test_what_is_wrong_with_a_run_is_said_and_the_rest_is_read(
    single: Path, tmp_path: Path, damage: Callable[[Path], None], reason: str, part: str | None
) -> None:
    before = parts_of(load(single))
    study = copy_of(single, tmp_path / "study")
    damage(run_folder(study, "ponder", 1))
    damaged = load(study)
    (problem, *more) = damaged.problems.to_dict("records")
    assert problem["run"] == "ponder seed 1" and reason in problem["reason"]
    lost = before - parts_of(damaged)
    assert parts_of(damaged) < before and {run[:2] for run in lost} == {("ponder", 1)}
    lost_parts = {name for _, _, name in lost}
    if part is None:
        everything = {"episodes", "costs", "metrics", "attempts", "config", "default", "shuffled", *map(str, FORCED)}
        assert lost_parts == everything and not more
    elif part == "config":  # which also says whether it ponders, and so which evaluations it has
        assert part in lost_parts
    else:
        assert lost_parts == {part} and not more


def test_a_study_full_of_damage_is_reported_as_far_as_it_goes(study: Path) -> None:
    still_running(run_folder(study, "baseline", 2))
    shutil.rmtree(run_folder(study, "fixed", 1))
    corrupt("version_0/episodes.jsonl")(run_folder(study, "ponder", 3))
    remove("evaluation_default.json")(run_folder(study, "ponder", 1))
    results = results_of(study)
    text = markdown(results, {})
    assert "7 of 9 runs are finished" in text and "| seeds finished | 2 of 3 | 3 of 3 | 2 of 3 |" in text
    lines = text.split("## Not reported, or not in full")[1].split("##")[0].strip().splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "- ponder seed 1",
        "- fixed seed 1",
        "- baseline seed 2",
        "- ponder seed 3",
    ]

    def seeds(arm: str, measure: str) -> list[int]:
        return results.runs.loc[arm, measure].dropna().index.tolist()

    assert seeds("baseline", "training_score") == [1, 3] and seeds("fixed", "default_return") == [2, 3]
    assert seeds("ponder", "training_score") == [1, 2] and seeds("ponder", "default_score") == [2, 3]
    expected = score_by_hand(training(study, "ponder", 2))
    assert results.runs.loc[("ponder", 2), "training_score"] == pytest.approx(expected)
    difference = row(results.rows("score", rule="training", statistic="difference"), arm="ponder", than="baseline")
    assert difference["n"] == 1  # only seed 1 is common


def test_an_arm_without_a_finished_run_leaves_the_others_reported(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", seeds=1, budget=2000)
    shutil.rmtree(study / "runs" / "baseline")
    results = report_of(study)
    text = (study / "report" / "report.md").read_text()
    assert "2 of 3 runs are finished" in text and "- baseline seed 1: missing" in text
    assert "(1 seed)" in text and "nan" not in text.lower() and "baseline has no configuration" in text
    scores = rows(results.main_table(), measure="score", rule="training")
    assert set(rows(scores, arm="ponder")["statistic"]) == {"mean", "iqm"}
    assert set(rows(scores, arm="fixed")["than"].dropna()) == {"ponder"}
    assert {path.stem for path in (study / "report").glob("*.png")} == FIGURES


def test_a_run_of_another_study_is_left_out_by_name(study: Path) -> None:
    shutil.copytree(run_folder(study, "ponder", 3), run_folder(study, "ponder", 4))
    results = results_of(study)
    assert results.problems.to_dict("records") == [{"run": "ponder seed 4", "reason": "not in `study.yaml`: left out"}]
    assert results.runs.loc["ponder"].index.tolist() == [1, 2, 3]


def test_what_is_not_a_study_is_refused(tmp_path: Path, study: Path) -> None:
    assert "is not a study: it must be a folder with a `study.yaml`" in refusal(main, str(tmp_path / "nothing"))
    (tmp_path / "study.yaml").write_text("arms: 3")  # tests/study/test_plan.py has what else can be wrong
    assert f"`{tmp_path / 'study.yaml'}`: `arms=3` must be one arm or more" in refusal(main, str(tmp_path))
    (tmp_path / "file").touch()
    assert "`--output=" in refusal(main, str(study), "--output", str(tmp_path / "file"))


def test_a_study_without_a_finished_run_is_refused(study: Path) -> None:
    for path in study.glob("runs/*/*/finished.json"):
        path.unlink()
    message = refusal(main, str(study))
    assert "has no finished run to report" in message and "ponder seed 3: unfinished: its last episode ended" in message
    assert not (study / "report").exists()
    with pytest.raises(ConfigError):
        results_of(study)
