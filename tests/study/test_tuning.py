"""The file of a tuning: what it may say, and what is said of one that can't be run."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from tunings import LR, SHARED, STUDY, TUNING, changed

from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.studies import Plan, write_file
from sheeprl_dnp.study.plan import TUNINGS
from sheeprl_dnp.study.trials import open_arms
from sheeprl_dnp.study.tune import main
from sheeprl_dnp.study.tuned_arms import tuned_arms
from sheeprl_dnp.study.tuning import FILE_NAME, Tuning, read_tuning

BETA = "algo.ponder.beta"


def in_space(key: str, **values: Any) -> dict[str, Any]:
    return changed(space={key: values})


BAD = {  # what is said, by what is wrong
    "`study` is missing": {"space": SHARED},
    "`space` is missing": {"study": STUDY},
    "`space={}` must be one key": changed(space={}),
    "`study=nothing` is not a study: it must be one of": changed(study="nothing"),
    "`study.seeds=1,1` must be one whole number": changed(study={**STUDY, "seeds": [1, 1]}),
    "`trials=0` must be a whole number from 1": changed(trials=0),
    "`length=0` must be a number above 0 and up to 1": changed(length=0),
    "`trial` is not a key": changed(trial=3),
    "`arms=E` must be labels of the study's arms: `Dreamer V3`, `D&P`": changed(arms=["E"]),
    "`first_seed=1` must give the 6 trials seeds up to": changed(first_seed=1),
    "none of the study's, 12,1003": changed(study={**STUDY, "seeds": [12, 1003]}),
    f"`space.{LR}.low=x` must be a number": in_space(LR, low="x", high=1),
    f"`space.{LR}.lo` is not a key": in_space(LR, lo=1, high=1),
    f"`space.{LR}` must have `low` and `high`, or `choice`": in_space(LR, low=1),
    f"`space.{LR}` must have either `low`": in_space(LR, low=1, choice=[1, 2]),
    f"`space.{LR}` must have a `low` below its `high`, not 2 and 1": in_space(LR, low=2, high=1),
    f"`space.{LR}` must have a `low` above 0": in_space(LR, low=0, high=1, log=True),
    f"`space.{LR}` must be from a whole number": in_space(LR, low=0.5, high=1, integer=True),
    f"`space.{LR}.choice=1,1` must be two values or more, each once": in_space(LR, choice=[1, 1]),
    f"`space.{LR}.arms=E` must be labels": in_space(LR, low=1, high=2, arms=["E"]),
    f"`space.{LR}` can't be there twice": in_space(LR, low=1, high=2, also=[LR]),
    "`space.algo.total_steps` can't be: a tuning sets it": in_space("algo.total_steps", low=1, high=2),
    "`space.seed` can't be: a study sets `exp`, `seed`": in_space("seed", low=1, high=2),
    # What the arms are needed for
    "`space.algo.nothing` is not a key of any arm": in_space("algo.nothing", low=1, high=2),
    f"`space.{LR}`: the arm `Dreamer V3` has no key `algo.x`": in_space(LR, low=1e-4, high=1, also=["algo.x"]),
    f"`space.{BETA}`: the arm `Dreamer V3` has no key": in_space(BETA, low=0, high=1, arms=["Dreamer V3"]),
    "`space` has no key for the arm `Dreamer V3`: leave it out of `arms`": in_space(BETA, low=0, high=1),
    f"has `{LR}=0.001`, not from 0.1 to 1": in_space(LR, low=0.1, high=1),
    f"and the same for {LR},algo.gamma": in_space(LR, low=1e-4, high=1, also=["algo.gamma"]),
    "`algo.ponder.lambda_p=1.5` must be a number strictly": changed(
        arms=["D&P"], space={"algo.ponder.lambda_p": {"low": 0.1, "high": 1.5}}
    ),
    "`length=0.02` leaves the arm `Dreamer V3` 600 steps: it must leave more than": changed(length=0.02),
    "`objective=sucess` is not measured here": changed(objective="sucess"),
}


def refused(*arguments: str) -> str:
    """The sentence that the command ends with."""
    with pytest.raises(SystemExit, match=r"^Error: ") as stopped:
        main(arguments)
    return str(stopped.value)


@pytest.mark.parametrize("said", BAD)
def test_a_bad_tuning_is_named_before_any_work(tmp_path: Path, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bad.yaml").write_text(yaml.safe_dump(BAD[said]))
    error = refused("bad.yaml")
    assert said in error and "\n" not in error
    assert not Path("tunings").exists()


@pytest.mark.parametrize("name", ["nothing", "nothing.yaml"])
def test_a_tuning_that_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    assert f"{name}`" in refused(name, "--folder", str(tmp_path / "t")) and not (tmp_path / "t").exists()


def test_a_folder_goes_on_with_its_own_tuning_alone(tmp_path: Path) -> None:
    """Also where the file in the folder itself was edited."""
    write_file(tmp_path / FILE_NAME, Tuning.model_validate(TUNING))
    tuning = read_tuning(tmp_path / FILE_NAME)
    assert tuning == Tuning.model_validate(TUNING)
    arms = tuned_arms(tuning)
    open_arms(tmp_path, tuning, arms)
    for key, value in {"trials": 5, "episodes": 3, "space": SHARED, "study": {**STUDY, "seeds": [3]}}.items():
        with pytest.raises(ConfigError, match=f"`{key}` is not that of the trials in `{tmp_path}`"):
            open_arms(tmp_path, Tuning.model_validate(changed(**{key: value})), arms)
    open_arms(tmp_path, Tuning.model_validate(changed(trials=7)), arms)


@pytest.mark.parametrize("name", TUNINGS)
def test_each_tuning_that_comes_along_can_be_run(name: str) -> None:
    tuning = read_tuning(TUNINGS[name])
    assert isinstance(tuning.study, Plan)
    arms = tuned_arms(tuning)
    assert [arm.arm for arm in arms] == tuning.tuned
    assert {key for arm in arms for key in arm.space} == set(tuning.space)
