"""What differs between the configurations of the runs is told, by arm and by seed."""

from pathlib import Path
from typing import Any

import yaml

from sheeprl_dnp.report.configuration import differences
from sheeprl_dnp.report.markdown import markdown
from sheeprl_dnp.report.results import Results

from .synthetic import results_of, run_folder


def change_config(path: Path, **algo: Any) -> None:
    config = yaml.safe_load(path.read_text())
    config["algo"] |= algo
    path.write_text(yaml.safe_dump(config))


def test_the_differences_between_the_arms_are_printed(whole: Path, results: Results) -> None:
    text = (whole / "report" / "report.md").read_text().split("## Differences between the configurations")[1]
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    assert rows == [
        "| `algo.name` | `dreamer_v3` | `dreamer_v3_ponder` | `dreamer_v3_ponder` |",
        "| `algo.ponder.halting` | `(absent)` | `sample` | `sample` |",
        "| `algo.ponder.lambda_p` | `(absent)` | `0.4` | `0.4` |",
        "| `algo.ponder.learn_halting` | `(absent)` | `true` | `false` |",
        "| `algo.ponder.max_halts` | `(absent)` | `4` | `4` |",
    ]
    intro = text.splitlines()[2]
    assert "compared: 1, 2, 3" in intro and "`root_dir`" in intro and "`run_name`" in intro


def test_a_hyperparameter_that_strays_in_one_seed_is_found(study: Path) -> None:
    change_config(run_folder(study, "fixed", 2) / "version_0" / "config.yaml", horizon=10)
    strays = "| `algo.horizon` (seed 2 only) | `15` | `15` | `15` (seeds 1, 3), `10` (seed 2) |"
    assert strays in markdown(results_of(study), {})


def test_a_hyperparameter_that_all_arms_change_between_seeds_is_found(study: Path) -> None:
    for path in study.glob("runs/*/seed_3/version_0/config.yaml"):
        change_config(path, horizon=10)
    value = "`15` (seeds 1, 2), `10` (seed 3)"
    assert f"| `algo.horizon` (between seeds) | {value} | {value} | {value} |" in markdown(results_of(study), {})


def test_a_value_that_is_the_seed_may_change_with_it(study: Path) -> None:
    for path in study.glob("runs/*/seed_*/version_0/config.yaml"):
        change_config(path, stream=int(path.parts[-3].removeprefix("seed_")))
    assert not any("stream" in key for key in differences(results_of(study).configurations).index)


def test_a_run_with_another_seed_than_its_folder_says_is_noticed(study: Path) -> None:
    path = run_folder(study, "fixed", 2) / "version_0" / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"seed": 1}))
    problems = results_of(study).problems
    (problem,) = problems[problems["reason"].str.contains("config.yaml")].to_dict("records")
    assert problem["run"] == "fixed seed 2" and "its `seed` is 1" in problem["reason"]
