"""A published study is tables, from which the same report is made."""

import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from sheeprl_dnp.report.markdown import markdown
from sheeprl_dnp.report.tables import FILES, joined, load, publish
from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.study.publish import publish_study

from .synthetic import ARMS, copy_of, make_study, results_of, run_folder


@pytest.fixture(params=["on Crafter", "with difficulties"])
def running(whole: Path, graded: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A study, a run of which is missing and another damaged."""
    study = copy_of(graded if request.param == "with difficulties" else whole, tmp_path / "study")
    shutil.rmtree(run_folder(study, "fixed", 1))
    (run_folder(study, "ponder", 3) / "evaluation_2.json").unlink()
    return study


def test_the_report_of_a_published_study_is_that_of_its_folder(running: Path, tmp_path: Path) -> None:
    publish(load(running), tmp_path / "results" / "study")
    assert {path.name for path in (tmp_path / "results" / "study").iterdir()} == {"study.yaml", *FILES.values()}
    before, after = (results_of(folder) for folder in (running, tmp_path / "results" / "study"))
    assert markdown(after, {}) == markdown(before, {})
    for name in ("values", "estimates", "gains", "counts", "problems"):
        # Sums are added up in another order: the tenth digit may differ, which is the last one that is written
        ours, theirs = getattr(before, name), getattr(after, name)
        pd.testing.assert_frame_equal(ours, theirs, check_dtype=False, rtol=1e-8, atol=1e-9)
    tables = {"problems", "runs", "estimates", "gains", "counts"}
    about, said = ({k: v for k, v in of.as_json().items() if k not in tables} for of in (before, after))
    assert about == said and {"budget", "prior", "worlds", "configurations"} < about.keys()
    assert "fixed seed 1: missing" in markdown(after, {}) and "ponder seed 3: finished, but" in markdown(after, {})


def test_publishing_again_gives_the_same_bytes(running: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        publish(load(running), tmp_path / name)
    publish(load(tmp_path / "a"), tmp_path / "c")
    for file in FILES.values():
        contents = [(tmp_path / name / file).read_bytes() for name in "abc"]
        assert contents[0] == contents[1] == contents[2]


def with_seeds(study: Path, seeds: list[int]) -> Path:
    """The study, as if only these were asked for."""
    plan = yaml.safe_load((study / "study.yaml").read_text())
    (study / "study.yaml").write_text(yaml.safe_dump(plan | {"seeds": seeds}))
    return study


def test_seeds_that_ran_elsewhere_are_published_together(running: Path, tmp_path: Path) -> None:
    seeds = load(running).plan.seeds
    parts = [with_seeds(copy_of(running, tmp_path / f"{n}"), [*part]) for n, part in enumerate((seeds[:1], seeds[1:]))]
    publish(load(parts[0]), tmp_path / "published")
    publish(joined(load(parts[1]), load(tmp_path / "published")), tmp_path / "published")
    publish(load(running), tmp_path / "at_once")
    for file in FILES.values():
        together, at_once = (pd.read_csv(tmp_path / name / file) for name in ("published", "at_once"))
        pd.testing.assert_frame_equal(together[at_once.columns], at_once, check_dtype=False)
    assert load(tmp_path / "published").plan == load(running).plan
    texts = [markdown(results_of(tmp_path / name), {}) for name in ("published", "at_once")]
    assert texts[0].replace("# published", "# at_once") == texts[1]


def test_published_runs_stay_where_the_study_has_not_finished_them(running: Path, tmp_path: Path) -> None:
    publish(load(running), tmp_path / "published")
    before = load(tmp_path / "published")
    shutil.rmtree(run_folder(running, "baseline", 2))
    publish(joined(load(running), before), tmp_path / "again")
    for file in FILES.values():
        kept, all_of_them = (pd.read_csv(tmp_path / name / file) for name in ("again", "published"))
        pd.testing.assert_frame_equal(kept[all_of_them.columns], all_of_them, check_dtype=False)
    changed = before.evaluation.assign(**{"return": before.evaluation["return"] + 1})
    assert joined(before, replace(before, evaluation=changed)).evaluation.equals(before.evaluation)


def test_the_policies_that_are_not_there_to_publish_are_named(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = copy_of(whole, tmp_path / "study")
    for arm in ARMS:
        (run_folder(study, arm, 1) / "finished.json").unlink()
    publish_study(study, tmp_path / "results" / "study", policies=True)
    runs = "baseline seed 1, ponder seed 1, fixed seed 1"
    assert f"No policy was written of a run that `{study}` has not finished: {runs}" in capsys.readouterr().out
    assert not (tmp_path / "results" / "study" / "policies").exists()


def test_another_study_is_not_joined(running: Path, tmp_path: Path) -> None:
    publish(load(running), tmp_path / "published")
    published = load(tmp_path / "published")
    plan = yaml.safe_load((running / "study.yaml").read_text())
    (running / "study.yaml").write_text(yaml.safe_dump(plan | {"seeds": [1], "arms": plan["arms"][:1]}))
    with pytest.raises(ConfigError, match="with other `arms`"):
        joined(load(running), published)
    (running / "study.yaml").write_text(yaml.safe_dump(plan | {"seeds": [1], "overrides": ["algo.horizon=3"]}))
    with pytest.raises(ConfigError, match="with other `overrides`"):
        joined(load(running), published)


def test_the_labels_of_the_arms_are_in_the_tables(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", seeds=1, budget=1000)
    plan = yaml.safe_load((study / "study.yaml").read_text())
    plan["arms"] = ["baseline", {"label": "Dream, & | ponder", "exp": "ponder"}, "fixed"]
    (study / "study.yaml").write_text(yaml.safe_dump(plan))
    (study / "runs" / "ponder").rename(study / "runs" / "Dream_ponder")
    publish(load(study), tmp_path / "published")
    assert set(pd.read_csv(tmp_path / "published" / "evaluation.csv.bz2")["arm"]) == set(load(study).plan.labels)
    assert "| Dream, & \\| ponder |" in markdown(results_of(tmp_path / "published"), {})


@pytest.mark.parametrize("missing", ["costs.json", "metrics.csv", "version_0/episodes.jsonl"])
def test_what_no_run_has_leaves_a_study_that_is_published_and_read(tmp_path: Path, missing: str) -> None:
    study = make_study(tmp_path / "study", seeds=1, budget=1000)
    for path in study.glob(f"runs/*/*/{missing}"):
        path.unlink()
    publish(load(study), tmp_path / "published")
    before, after = (markdown(results_of(folder), {}) for folder in (study, tmp_path / "published"))
    assert after.replace("# published", "# study") == before and missing.split("/")[-1] in before


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    publish(load(make_study(tmp_path / "study", seeds=1, budget=1000)), tmp_path / "published")
    path = tmp_path / "published" / "training.csv.bz2"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ConfigError, match=r"training.csv.bz2` can't be read: "):
        load(tmp_path / "published")
    path.unlink()
    with pytest.raises(ConfigError, match=r"training.csv.bz2` can't be read: .*No such file"):
        load(tmp_path / "published")
    pd.DataFrame({"arm": ["baseline"], "seed": [1]}).to_csv(path, index=False)
    with pytest.raises(ConfigError, match=r"training.csv.bz2` is not a table of a study: it has no `step`"):
        load(tmp_path / "published")
