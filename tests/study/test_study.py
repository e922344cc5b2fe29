"""`scripts/study`: which study, in which folder, and what is said of bad arguments."""

import json
from pathlib import Path

import pytest

from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.studies import Plan, read_study, write_file
from sheeprl_dnp.study.plan import compose_arms, find_plan, save_plan
from sheeprl_dnp.study.study import check_unchanged, main, parse_arguments, plan_and_folder

ARMS = ["dnp_crafter_small_baseline", "dnp_crafter_small"]
BAD = {
    "--arms=dnp_nothing": "dnp_nothing",
    "--arms=ppo": "trains `ppo`",
    "--arms=dnp_crafter_small,dnp_crafter_small": "the labels `dnp_crafter_small`, `dnp_crafter_small` must differ",
    "--seeds=one": "'one' is not a list of whole numbers",
    "--overrides=algo.ponder.max_halts=0": "`algo.ponder.max_halts=0`",
    "--overrides=algo.nothing=1": "algo.nothing",
    "--overrides=seed=7": "`overrides=seed=7` can't be: a study sets",
    "--overrides=+exp=dnp_crafter": "`overrides=+exp=dnp_crafter` can't be",
    "--overrides=hydra.run.dir=here": "`overrides=hydra.run.dir=here` can't be",
    "--overrides=algo.total_steps=50001": "`algo.total_steps=50001` must be a multiple of the 4 steps",
    "--overrides=algo.total_steps=0": "`algo.total_steps=0` must be a multiple of the 4 steps",
    "--overrides=checkpoint.save_last=False": "`checkpoint.save_last=False` must be True",
    "--overrides=dry_run=True": "`dry_run=True` must be False",
    "--overrides=metric.log_level=0": "`metric.log_level=0` must be 1: a report needs the metrics",
    "--overrides=metric.logger._target_=lightning.pytorch.loggers.CSVLogger": "CSVLogger` must be a logger of Tens",
    "--overrides=logger@metric.logger=mlflow": "MLFLOW_TRACKING_URI",
    "--overrides=metric=null": "`exp=dnp_crafter_small metric=null`: Config group override must",
    "--overrides=env.num_envs=0": "`env.num_envs=0` must be a whole number from 1",
    "--overrides=env.wrapper.worlds=mine": "`env.wrapper.worlds=mine` must be one of `training`, `validation`",
    "--forced-steps=2,0": "`evaluations.forced_steps=2,0` must be a list of whole numbers from 1",
    "--forced-steps=2,x": "`evaluations.forced_steps=2,x` must be a list of whole numbers from 1 and `shuffled`",
    "--seeds=4294967296": "`seeds=4294967296` must be one whole number or more from 0 to 4294967295",
    "--processes=0": "'0' is not a whole number from 1",
    "hydra.launcher.n_jobs=2": "name one with `--launcher`",
}


@pytest.mark.parametrize("argument", BAD)
def test_a_bad_argument_is_named_before_any_work_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argument: str
) -> None:
    arms = [] if argument.startswith("--arms") else ["--arms", ARMS[1]]
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "study"), *arms, argument])
    said = f"{ended.value}{capsys.readouterr().err}"
    assert ended.value.code not in (0, None) and BAD[argument] in said and "rror: " in said, said
    assert not (tmp_path / "study").exists()


def refused(*arguments: object) -> str:
    """The sentence that the command ends with."""
    with pytest.raises(SystemExit, match=r"^Error: ") as ended:
        main([str(argument) for argument in arguments])
    return str(ended.value)


def test_a_folder_that_hydra_cannot_run_in_is_named(tmp_path: Path) -> None:
    said = "${x` can't be: Hydra runs in no folder whose path has an unfinished `${…}`"
    assert said in refused(tmp_path / "${x", "--arms", ARMS[1])


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert f"`FOLDER={tmp_path}/file` must be a folder to write in" in refused(tmp_path / "file", "--arms", ARMS[1])


def test_a_study_is_not_changed_by_other_arguments(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(json.dumps({"arms": ARMS, "seeds": [1]}))
    for argument, said in {
        "--seeds=2": "`seeds=2` is not that of the study",
        f"--arms={ARMS[0]}": "is not that of the study",
        "--episodes=7": "`evaluations=episodes=7",
        "--overrides=algo.horizon=3": "is not that of the study",
    }.items():
        assert said in refused(tmp_path, argument)
    assert read_study(tmp_path) == Plan(arms=ARMS, seeds=[1])


def test_a_study_does_not_go_on_with_an_experiment_that_has_changed(tmp_path: Path) -> None:
    plan = Plan.model_validate({"arms": [ARMS[1]], "seeds": [1]})
    configs = compose_arms(plan)
    save_plan(tmp_path, plan, configs)
    configs[ARMS[1]].algo.actor.ent_coef = 0.5
    check_unchanged(tmp_path, plan, configs)  # nothing has run yet
    (tmp_path / "runs" / ARMS[1] / "seed_1").mkdir(parents=True)
    check_unchanged(tmp_path, plan, compose_arms(plan))
    with pytest.raises(ConfigError, match=f"`exp={ARMS[1]}` has changed since {ARMS[1]} seed 1 was started"):
        check_unchanged(tmp_path, plan, configs)


def test_a_study_gets_more_arms_and_seeds(tmp_path: Path) -> None:
    arms = [{"label": "first", "exp": ARMS[0]}]
    (tmp_path / "study.yaml").write_text(json.dumps({"arms": arms, "seeds": [1], "evaluations": {"episodes": 7}}))
    more = parse_arguments([str(tmp_path), "--seeds", "1,2", "--arms", f"{ARMS[1]},first"])
    plan, folder = plan_and_folder(more)
    assert plan == Plan(arms=[ARMS[1], *arms], seeds=[1, 2], evaluations={"episodes": 7})
    assert folder == tmp_path
    (tmp_path / "study.yaml").rename(tmp_path / "mine.yaml")  # goes on as it is there
    write_file(tmp_path / "study.yaml", plan)
    assert plan_and_folder(parse_arguments([str(tmp_path / "mine.yaml"), "--folder", str(tmp_path)])) == (
        plan,
        tmp_path,
    )


def test_a_study_is_found_by_its_name_its_file_and_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plan, folder = plan_and_folder(parse_arguments(["crafter_symbolic"]))
    assert plan == find_plan("crafter_symbolic") and folder == Path("studies/crafter_symbolic")
    assert plan_and_folder(parse_arguments(["crafter_symbolic", "--folder", "here"])) == (plan, Path("here"))
    write_file(Path("mine.yaml"), plan)
    assert plan_and_folder(parse_arguments(["mine.yaml"])) == (plan, Path("studies/mine"))
    Path("crafter_symbolic").mkdir()
    Path("mine.yaml").rename("crafter_symbolic/study.yaml")
    short = parse_arguments(["crafter_symbolic", "--seeds", "1,2,3,4"])
    assert plan_and_folder(short) == (plan.model_copy(update={"seeds": (1, 2, 3, 4)}), Path("crafter_symbolic"))


WRONG_PLACES = {
    ("nothing",): "`STUDY=nothing` is no study: it must be one of crafter_symbolic",
    ("nothing.yaml",): "`nothing.yaml` can't be read: No such file",
    ("new", "--folder", "other", "--arms", ARMS[0]): "`--folder=other` is for a study by name or file",
    ("mine", "--publish"): "`STUDY=mine` is no study",
}


@pytest.mark.parametrize("arguments", WRONG_PLACES)
def test_what_is_no_study_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    monkeypatch.chdir(tmp_path)
    assert WRONG_PLACES[arguments] in refused(*arguments) and not list(tmp_path.iterdir())
