"""The figures show what the tables have, and no more."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pandas as pd
import pytest
import yaml
from matplotlib.image import imread

from sheeprl_dnp.envs.crafter_score import ACHIEVEMENTS
from sheeprl_dnp.report.frozen_figures import cost, forced_steps, success_rates
from sheeprl_dnp.report.measures import bin_size
from sheeprl_dnp.report.results import Results
from sheeprl_dnp.report.training_figures import halting, learning_curves, reference_curves

from .synthetic import ARMS, MAX_HALTS, change, make_study, read, results_of, row, run_folder, training

FIGURES = {"learning_curves", "success_rates", "halting", "forced_steps", "cost"}
REFERENCES = {f"{name} (Hafner 2021)" for name in ("Random", "PPO", "Rainbow", "DreamerV2")}


def test_the_figures_are_pictures(whole: Path, results: Results) -> None:
    text = (whole / "report" / "report.md").read_text()
    assert {path.stem for path in (whole / "report").glob("*.png")} == FIGURES
    for name in FIGURES:
        pixels = imread(whole / "report" / f"{name}.png")
        assert min(pixels.shape[:2]) > 500 and pixels.std() > 0.05, name
        assert f"]({name}.png)" in text


def test_what_is_damaged_leaves_the_figures_of_the_rest(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", seeds=1, budget=1000)
    (run_folder(study, "ponder", 1) / "version_0/config.yaml").unlink()  # the only one with its prior
    (run_folder(study, "baseline", 1) / "version_0/episodes.jsonl").unlink()
    results = results_of(study)
    assert halting(results) is None
    rates = success_rates(results)
    assert rates and len(rates.axes[0].get_yticks()) == len(ACHIEVEMENTS)


def test_the_learning_curve_has_the_mean_of_each_bin(whole: Path, results: Results) -> None:
    assert results.as_json()["bin"] == 500
    seeds = []
    for seed in (1, 2, 3):
        inside = [e for e in training(whole, "ponder", seed) if 3000 < e["step"] <= 3500]
        seeds.append([sum(e[f"achievement_{name}"] > 0 for name in ACHIEVEMENTS) - 0.9 for e in inside])
    point = row(results.rows("learning_curve", rule="training", by=("step",)), arm="ponder", step=3500)
    assert point["value"] == pytest.approx(fmean(fmean(values) for values in seeds if values))


def test_bins_are_the_official_ones_or_finer() -> None:
    sizes = {1_000_000: 10_000, 200_000: 10_000, 100_000: 5000, 50_000: 5000, 600: 50}
    assert {steps: bin_size(steps) for steps in sizes} == sizes


def labels(figure) -> set[str]:
    return {line.get_label() for line in figure.axes[0].get_lines()}


def longer(results: Results) -> Results:
    """As if its runs were as long as the published ones."""
    study = results.study
    return replace(results, study=replace(study, runs=study.runs.assign(steps=1_000_000)))


def test_the_published_curves_are_drawn_beside_runs_of_their_length_alone(results: Results) -> None:
    curves = reference_curves()
    assert curves.loc[100_000, "dreamerv2_mean"] == 4.24 and curves.loc[50_000, "random_mean"] == 1.33
    assert len(curves) == 99
    assert labels(learning_curves(results)) == set(ARMS)
    assert labels(learning_curves(longer(results))) == {*ARMS, *REFERENCES}


def test_the_learning_curve_is_also_drawn_by_the_computation_of_the_training(results: Results) -> None:
    steps, flops = learning_curves(results).axes
    line = next(line for line in flops.get_lines() if line.get_label() == "baseline")
    assert line.get_xdata()[-1] == pytest.approx(results.runs.loc["baseline", "training_flops"].mean())
    assert {line.get_linestyle() for line in steps.get_lines()} == {"-"}


def test_an_arm_with_another_number_of_gradient_steps_is_dashed(study: Path) -> None:
    for seed in (1, 2, 3):
        change(run_folder(study, "ponder", seed) / "finished.json", gradient_steps=1000)
    styles = {line.get_label(): line.get_linestyle() for line in learning_curves(results_of(study)).axes[0].get_lines()}
    assert styles == {"baseline": "-", "ponder": "--", "fixed": "-"}


def test_costs_begin_at_zero(results: Results) -> None:
    assert [axes.get_xlim()[0] for axes in cost(results).axes] == [0, 0, 0]


def test_each_arm_has_its_own_panel_of_forced_steps(results: Results) -> None:
    panels = forced_steps(results).axes
    assert [panel.get_title() for panel in panels] == ["ponder", "fixed"]
    for panel, arm in zip(panels, ("ponder", "fixed"), strict=True):
        line = next(line for line in panel.get_lines() if list(line.get_xdata()) == [1, 2, 4, 8])
        returns = results.rows("return", arm=arm, by=("rule",)).set_index("rule")["value"]
        assert list(line.get_ydata()) == pytest.approx([returns[str(n)] for n in (1, 2, 4, 8)])


def test_halting_is_that_of_the_metrics(whole: Path, results: Results) -> None:
    logged = results.rows(by=("step",))
    assert set(logged["arm"]) == {"ponder"}
    masses = logged[logged["measure"].str.startswith("halt_mass")]
    assert masses["measure"].nunique() == MAX_HALTS
    assert masses.groupby("step")["value"].sum().tolist() == pytest.approx([1] * masses["step"].nunique())
    seeds = []
    for seed in (1, 2, 3):
        with (run_folder(whole, "ponder", seed) / "metrics.csv").open() as file:
            inside = [line for line in csv.DictReader(file) if 4500 < int(line["step"]) <= 5000]
            seeds.append(fmean(float(line["Ponder/halt_mass_02"]) for line in inside))
    assert row(masses, measure="halt_mass_02", step=5000)["value"] == pytest.approx(fmean(seeds))
    prior = [0.4 * 0.6**n for n in range(MAX_HALTS)]
    assert sum(n * p for n, p in enumerate(results.study.prior["ponder"], 1)) == pytest.approx(
        sum(n * p for n, p in enumerate(prior, 1)) / sum(prior), rel=1e-6
    )


def test_the_spread_over_states_is_drawn_where_it_was_logged(whole: Path, study: Path) -> None:
    def shaded(study: Path) -> list[str]:
        return [str(area.get_label()) for area in halting(results_of(study)).axes[1].collections]

    assert "10 to 90 % of the states" not in shaded(whole)
    for seed in (1, 2, 3):
        path = run_folder(study, "ponder", seed) / "metrics.csv"
        metrics = pd.read_csv(path)
        metrics["Ponder/expected_steps_p10"] = metrics["Ponder/expected_steps"] - 0.5
        metrics["Ponder/expected_steps_p90"] = metrics["Ponder/expected_steps"] + 0.5
        metrics.to_csv(path, index=False)
    assert "10 to 90 % of the states" in shaded(study)
    assert read(study / "runs/ponder/seed_1/finished.json")["steps"] == 10_000


def test_policies_that_look_ahead_have_their_own_line_of_the_test_time_curve(study: Path) -> None:
    plan = yaml.safe_load((study / "study.yaml").read_text())
    plan["evaluations"]["dream"] = [1, 3]
    (study / "study.yaml").write_text(yaml.safe_dump(plan))
    for run in study.glob("runs/*/*"):
        for number in (1, 3):
            shutil.copy(run / "evaluation_default.json", run / f"evaluation_dream_{number}.json")
    results = results_of(study)
    panels = forced_steps(results).axes
    assert [panel.get_title() for panel in panels] == list(ARMS)  # DreamerV3 looks ahead, too
    for panel, arm in zip(panels, ARMS, strict=True):
        line = next(line for line in panel.get_lines() if list(line.get_xdata()) == [1, 3])
        own = row(results.rows("return", rule="default"), arm=arm)["value"]
        assert list(line.get_ydata()) == pytest.approx([own, own]) and line.get_linestyle() == ":"
        assert panel.get_xlabel() == "ponder steps, or actions dreamed of"
    assert "best of so many actions, dreamed of" in {line.get_label() for line in panels[0].get_lines()}
