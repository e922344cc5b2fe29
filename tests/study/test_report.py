"""A report has the numbers of the runs' own files."""

import csv
import json
import shutil
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import pytest
import yaml
from matplotlib.image import imread
from synthetic import (
    ARMS,
    MAX_HALTS,
    attempt,
    change,
    make_study,
    read,
    results_of,
    run_folder,
    score_by_hand,
    training,
    write,
)

from sheeprl_dnp.crafter_score import ACHIEVEMENTS
from sheeprl_dnp.study.analysis import bin_size, binned
from sheeprl_dnp.study.figures import learning_curves, reference_curves
from sheeprl_dnp.study.markdown import markdown
from sheeprl_dnp.study.report import main, report

BUDGET = 10_000
FIGURES = {"learning_curves", "success_rates", "halting", "forced_steps", "cost"}
Study = Path


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A finished study on Crafter, and its report."""
    study = make_study(tmp_path_factory.mktemp("whole") / "study", budget=BUDGET)
    report(study, study / "report")
    return study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """One without a report, to be changed."""
    return make_study(tmp_path / "study", budget=BUDGET)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the values matter; the studies above are reported with as many as always."""
    monkeypatch.setattr("sheeprl_dnp.study.statistics.RESAMPLES", 100)


def table(study: Study) -> dict[str, dict[str, str]]:
    with (study / "report" / "table.csv").open() as file:
        return {row["arm"]: row for row in csv.DictReader(file)}


def test_the_table_has_the_numbers_of_the_files(whole: Study) -> None:
    assert list(table(whole)) == list(ARMS)
    for arm, row in table(whole).items():
        episodes = [training(whole, arm, seed) for seed in (1, 2, 3)]
        frozen = [read(run_folder(whole, arm, seed) / "evaluation_default.json") for seed in (1, 2, 3)]
        expected = {
            "training_score": [score_by_hand(run) for run in episodes],
            "training_reward": [fmean(e["reward"] for e in run) for run in episodes],
            "training_episodes": [len(run) for run in episodes],
            "frozen_score": [run["score"] for run in frozen],
            "frozen_reward": [run["mean_return"] for run in frozen],
            "frozen_ponder_steps": [run["mean_ponder_steps"] for run in frozen],
        }
        for name, seeds in expected.items():
            assert float(row[f"{name}_mean_value"]) == pytest.approx(fmean(seeds)), name
            assert float(row[f"{name}_std"]) == pytest.approx(pstdev(seeds)), name
            assert min(seeds) - 1e-9 <= float(row[f"{name}_mean_low"]) <= float(row[f"{name}_mean_high"]), name
            assert float(row[f"{name}_mean_high"]) <= max(seeds) + 1e-9, name
            assert [float(row[f"{name}_by_seed_{seed}"]) for seed in (1, 2, 3)] == pytest.approx(seeds), name


def test_arms_are_compared_with_the_first_arm(whole: Study) -> None:
    rows = table(whole)
    own, base = ([float(rows[arm][f"frozen_reward_by_seed_{n}"]) for n in (1, 2, 3)] for arm in ("ponder", "baseline"))
    pairs = [(a > b) + (a == b) / 2 for a in own for b in base]
    row = rows["ponder"]
    assert float(row["frozen_reward_probability_of_improvement_value"]) == pytest.approx(fmean(pairs))
    assert float(row["frozen_reward_difference_value"]) == pytest.approx(fmean(own) - fmean(base))
    compared = [key for key in rows["baseline"] if "_difference_" in key or "_probability_" in key]
    assert compared and all(rows["baseline"][key] == "" for key in compared)  # not with itself


def test_arms_are_compared_with_each_other(whole: Study) -> None:
    between, rows = read(whole / "report" / "results.json")["between_arms"], table(whole)
    columns = {
        "score of the training episodes (%)": "training_score",
        "reward of an episode, frozen policy": "frozen_reward",
    }
    assert list(between) == list(columns)
    for measure, column in columns.items():
        pairs = {(pair["arm"], pair["than"]): pair["difference"] for pair in between[measure]}
        assert list(pairs) == [("ponder", "baseline"), ("fixed", "baseline"), ("fixed", "ponder")]
        for (arm, other), difference in pairs.items():
            mean, less = (float(rows[name][f"{column}_mean_value"]) for name in (arm, other))
            assert difference["value"] == pytest.approx(mean - less, abs=1e-8) and difference["n"] == 3
    text = (whole / "report" / "report.md").read_text().split("### Each arm against each")[1]
    assert "| less | `baseline` | `ponder` |" in text
    assert [line.count("[") for line in text.split("frozen policy:")[1].splitlines()[4:6]] == [1, 2]


def test_an_arm_without_runs_is_compared_with_no_other(study: Study) -> None:
    for seed in (1, 2, 3):
        shutil.rmtree(run_folder(study, "ponder", seed))
    pairs = results_of(study)["between_arms"]["reward of an episode, frozen policy"]
    assert [(pair["arm"], pair["than"]) for pair in pairs] == [("fixed", "baseline")]


def test_costs_are_those_of_the_steps_that_were_pondered(whole: Study) -> None:
    row = table(whole)["ponder"]
    steps = fmean(
        read(run_folder(whole, "ponder", n) / "evaluation_default.json")["mean_ponder_steps"] for n in (1, 2, 3)
    )
    assert 1.2 < steps < 1.8
    assert float(row["cost_flops_per_action"]) == pytest.approx(4_000_000 + 500_000 * (steps - 1))
    assert float(row["cost_wall_s"]) == fmean([3600, 7200, 10800])
    assert float(row["cost_cpu_s"]) == fmean([1800, 3600, 5400])
    assert int(row["cost_parameters_agent"]) == 1_699_999
    assert float(row["cost_gradient_steps"]) == 500
    forced = read(whole / "report" / "results.json")["arms"]["ponder"]["forced_steps"]
    assert [entry["flops_per_action"] for entry in forced] == [4e6, 4.5e6, 5.5e6, 7.5e6]  # the last is beyond N
    assert table(whole)["baseline"]["cost_flops_per_action"] == "5000000.0"


def test_the_report_says_all_of_it(whole: Study) -> None:
    text = (whole / "report" / "report.md").read_text()
    assert "9 of 9 runs are finished" in text and "Not reported" not in text
    assert "| seeds finished | 3 of 3 | 3 of 3 | 3 of 3 |" in text
    assert "Training episodes within the first 10,000 steps" in text
    assert "not comparable with the above" in text and "not comparable with each other" in text
    assert "biased low where episodes are few" in text
    assert "the same worlds for all runs; no training episode began in one of them" in text
    assert "(the official protocol of Crafter)" in text
    assert "Difference: paired by seed, with Student's t interval. Probability" in text
    row = table(whole)["ponder"]
    mean, low, high = (float(row[f"training_score_mean_{part}"]) for part in ("value", "low", "high"))
    assert f"{mean:,.2f} [{low:,.2f}, {high:,.2f}]" in text
    assert "Model 1, 2 cores, no GPU" in text and "commit 0123456789abcdef" in text


def test_the_figures_are_pictures(whole: Study) -> None:
    text = (whole / "report" / "report.md").read_text()
    assert {path.stem for path in (whole / "report").glob("*.png")} == FIGURES
    for name in FIGURES:
        pixels = imread(whole / "report" / f"{name}.png")
        assert min(pixels.shape[:2]) > 500 and pixels.std() > 0.05, name
        assert f"]({name}.png)" in text


def test_results_are_json_without_nan(whole: Study) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = (whole / "report" / "results.json").read_text()
    results = json.loads(content, parse_constant=refuse)
    assert results["arms"]["fixed"]["training"]["score"]["mean"]["value"] == pytest.approx(
        float(table(whole)["fixed"]["training_score_mean_value"])
    )


def test_the_learning_curve_has_the_mean_of_each_bin(whole: Study) -> None:
    results = read(whole / "report" / "results.json")
    assert results["bin"] == 500
    seeds = []
    for seed in (1, 2, 3):
        inside = [e for e in training(whole, "ponder", seed) if 3000 < e["step"] <= 3500]
        seeds.append([sum(e[f"achievement_{name}"] > 0 for name in ACHIEVEMENTS) - 0.9 for e in inside])
    point = next(point for point in results["arms"]["ponder"]["curve"] if point["step"] == 3500)
    assert point["value"] == pytest.approx(fmean(fmean(values) for values in seeds if values))


def test_bins_are_the_official_ones_or_finer() -> None:
    assert [bin_size(budget) for budget in (1_000_000, 200_000, 100_000, 50_000, 600)] == [
        10_000,
        10_000,
        5000,
        5000,
        50,
    ]
    assert binned([(1, 1.0), (10, 3.0), (11, 5.0)], 10) == {10: 2.0, 20: 5.0}


def test_the_published_curves_are_drawn_up_to_the_budget(whole: Study) -> None:
    assert dict(reference_curves()["dreamerv2"])[100_000] == 4.24
    assert dict(reference_curves()["random"])[50_000] == 1.33
    assert all(len(points) == 99 for points in reference_curves().values())
    figure = learning_curves(read(whole / "report" / "results.json") | {"budget": 50_000})
    lines = {line.get_label(): list(line.get_xdata()) for line in figure.axes[0].get_lines()}
    assert lines["DreamerV2 (Hafner 2021)"] == [10, 20, 30, 40, 50]
    assert set(lines) == {*ARMS, *(f"{name} (Hafner 2021)" for name in ("Random", "PPO", "Rainbow", "DreamerV2"))}


def test_halting_is_that_of_the_metrics(whole: Study) -> None:
    arms = read(whole / "report" / "results.json")["arms"]
    assert arms["baseline"]["halting"] is None and arms["fixed"]["halting"] is None
    halting = arms["ponder"]["halting"]
    assert len(halting["halt_mass"]) == MAX_HALTS
    assert [sum(masses) for masses in zip(*halting["halt_mass"], strict=True)] == pytest.approx(
        [1] * len(halting["step"])
    )
    rows = []
    for seed in (1, 2, 3):
        with (run_folder(whole, "ponder", seed) / "metrics.csv").open() as file:
            inside = [row for row in csv.DictReader(file) if 4500 < int(row["step"]) <= 5000]
            rows.append(fmean(float(row["Ponder/halt_mass_02"]) for row in inside))
    assert halting["halt_mass"][1][halting["step"].index(5000)] == pytest.approx(fmean(rows))
    prior = [0.4 * 0.6**n for n in range(MAX_HALTS)]
    assert halting["prior_steps"] == pytest.approx(sum(n * p for n, p in enumerate(prior, 1)) / sum(prior))


def test_equal_numbers_of_episodes_are_compared(study: Study) -> None:
    path = run_folder(study, "fixed", 2) / "version_0" / "episodes.jsonl"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:10]))
    results = results_of(study)
    assert results["fewest_episodes"] == 10
    part = results["arms"]["baseline"]["training"]
    assert part["score_of_equal_episodes"]["mean"]["value"] < part["score"]["mean"]["value"]
    part = results["arms"]["fixed"]["training"]
    assert part["score_of_equal_episodes"]["by_seed"][2] == pytest.approx(part["score"]["by_seed"][2])


def test_runs_of_different_lengths_are_compared_within_the_shortest(study: Study) -> None:
    change(run_folder(study, "ponder", 1) / "finished.json", steps=6000)
    results = results_of(study)
    assert results["budget"] == 6000
    expected = score_by_hand(training(study, "baseline", 3, budget=6000))
    assert results["arms"]["baseline"]["training"]["score"]["by_seed"][3] == pytest.approx(expected)
    text = markdown(results, {})
    assert "not equally long (6,000, 10,000 steps)" in text and "cost are of the whole runs" in text


def test_a_run_without_an_episode_within_the_shortest_is_reported_without_them(study: Study) -> None:
    change(run_folder(study, "ponder", 1) / "finished.json", steps=2000)
    path = run_folder(study, "fixed", 2) / "version_0" / "episodes.jsonl"
    late = [line + "\n" for line in path.read_text().splitlines() if json.loads(line)["step"] > 2000]
    path.write_text("".join(late))
    results = results_of(study)
    (problem,) = results["problems"]
    assert problem["run"] == "fixed seed 2" and "none of its episodes ended within the first 2,000" in problem["reason"]
    assert list(results["arms"]["fixed"]["training"]["score"]["by_seed"]) == [1, 3]
    assert list(results["arms"]["fixed"]["frozen"]["score"]["by_seed"]) == [1, 2, 3]
    assert results["fewest_episodes"] > 0


def test_a_resumed_run_counts_its_episodes_once(study: Study) -> None:
    folder = run_folder(study, "ponder", 1)
    version = shutil.copytree(folder / "version_0", folder / "version_1")
    config = yaml.safe_load((version / "config.yaml").read_text())
    config["checkpoint"]["resume_from"] = "runs/ponder/seed_1/version_0/checkpoint/ckpt_5000_0.ckpt"
    (version / "config.yaml").write_text(yaml.safe_dump(config))
    episodes = training(study, "ponder", 1)
    later = [json.dumps(episode) + "\n" for episode in episodes if episode["step"] > 5000]
    (version / "episodes.jsonl").write_text("".join(later))
    write(folder / "attempt_0.json", attempt("ponder", 1, wall_s=3600, code=None))  # killed: its CPU time is unknown
    write(folder / "attempt_1.json", attempt("ponder", 1, wall_s=400))
    results = results_of(study)
    assert results["arms"]["ponder"]["training"]["episodes"]["by_seed"][1] == len(episodes)
    assert results["arms"]["ponder"]["cost"]["wall_s"] == pytest.approx(fmean([3600 + 400, 7200, 10800]))
    assert results["arms"]["ponder"]["cost"]["cpu_s"] == pytest.approx(fmean([3600, 5400]))
    assert not results["problems"] and not _differs(results, "resume_from")


def _differs(results: dict[str, Any], key: str) -> list[dict[str, Any]]:
    return [entry for entry in results["configuration"]["differences"] if key in entry["key"]]


def test_the_differences_between_the_configurations_are_printed(whole: Study) -> None:
    lines = (
        (whole / "report" / "report.md").read_text().split("## Differences between the configurations")[1].splitlines()
    )
    rows = [line for line in lines if line.startswith("| `")]
    assert rows == [
        "| `algo.name` | `dreamer_v3` | `dreamer_v3_ponder` | `dreamer_v3_ponder` |",
        "| `algo.ponder.halting` | `(absent)` | `sample` | `sample` |",
        "| `algo.ponder.lambda_p` | `(absent)` | `0.4` | `0.4` |",
        "| `algo.ponder.learn_halting` | `(absent)` | `true` | `false` |",
        "| `algo.ponder.max_halts` | `(absent)` | `4` | `4` |",
    ]
    assert "compared: 1, 2, 3" in lines[2] and "`root_dir`" in lines[2] and "`run_name`" in lines[2]


def test_a_hyperparameter_that_strays_in_one_seed_is_found(study: Study) -> None:
    path = run_folder(study, "fixed", 2) / "version_0" / "config.yaml"
    config = yaml.safe_load(path.read_text())
    config["algo"]["horizon"] = 10
    path.write_text(yaml.safe_dump(config))
    strays = "| `algo.horizon` (seed 2 only) | `15` | `15` | `15` (seeds 1, 3), `10` (seed 2) |"
    assert strays in markdown(results_of(study), {})


def test_a_hyperparameter_that_all_arms_change_between_seeds_is_found(study: Study) -> None:
    for path in study.glob("runs/*/seed_3/version_0/config.yaml"):
        config = yaml.safe_load(path.read_text())
        config["algo"]["horizon"] = 10
        path.write_text(yaml.safe_dump(config))
    value = "`15` (seeds 1, 2), `10` (seed 3)"
    assert f"| `algo.horizon` (between seeds) | {value} | {value} | {value} |" in markdown(results_of(study), {})


def test_a_run_with_another_seed_than_its_folder_says_is_noticed(study: Study) -> None:
    path = run_folder(study, "fixed", 2) / "version_0" / "config.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"seed": 1}))
    (problem,) = (entry for entry in results_of(study)["problems"] if "config.yaml" in entry["reason"])
    assert problem["run"] == "fixed seed 2" and "its `seed` is 1" in problem["reason"]


def test_differences_of_fewer_runs_than_an_arm_has_are_said(study: Study) -> None:
    shutil.rmtree(run_folder(study, "baseline", 2))
    (run_folder(study, "ponder", 1) / "evaluation_default.json").unlink()
    text = markdown(results_of(study), {})
    said = text.split("Difference: paired by seed (")[1].split("), with")[0]
    assert "`ponder`, training: of 2 of its 3 seeds" in said and "`ponder`, frozen: of 1 of its 2 seeds" in said
    for seed in (1, 3):
        shutil.rmtree(run_folder(study, "fixed", seed))
    assert "`fixed`, training: unpaired, since it shares no seed with `baseline`" in markdown(results_of(study), {})


def test_other_evaluation_worlds_are_noticed(study: Study) -> None:
    path = run_folder(study, "ponder", 1) / "evaluation_default.json"
    episodes = read(path)["episodes"]
    met = training(study, "baseline", 2)[0]["world_seed"]
    change(path, episodes=[episodes[0] | {"world_seed": met}, *episodes[1:]])
    text = markdown(results_of(study), {})
    assert "**not the same worlds for all runs**; **training episodes began in 1 of them**" in text


def test_worlds_in_another_order_are_not_the_same(study: Study) -> None:
    path = run_folder(study, "ponder", 1) / "evaluation_default.json"
    first, second, *others = read(path)["episodes"]
    swapped = [first | {"world_seed": second["world_seed"]}, second | {"world_seed": first["world_seed"]}]
    change(path, episodes=[*swapped, *others])
    assert results_of(study)["worlds"]["same_for_all"] is False


def test_worlds_that_are_not_recorded_are_not_known(study: Study) -> None:
    path = run_folder(study, "ponder", 1) / "evaluation_default.json"
    first, *others = read(path)["episodes"]
    change(path, episodes=[{key: value for key, value in first.items() if key != "world_seed"}, *others])
    text = markdown(results_of(study), {})
    assert "whether in the same worlds is not recorded; whether training episodes began in them is not recorded" in text


def test_the_command_writes_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path / "study", seeds=1, budget=1000)
    monkeypatch.chdir(tmp_path)
    main(["study", "--output", "there/it"])
    printed = capsys.readouterr().out
    assert "3 of 3 runs are finished" in printed and printed.endswith("there/it/report.md\n")
    assert {"report.md", "results.json", "table.csv"} <= {path.name for path in Path("there/it").iterdir()}
    assert not Path("study/report").exists()


def test_help_explains_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    usage = " ".join(capsys.readouterr().out.split())
    assert "scripts/report [-h] [--output FOLDER] STUDY" in usage and "95 % intervals" in usage
    assert "default: STUDY/report" in usage
