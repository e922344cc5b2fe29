"""Environments whose episodes have a difficulty are reported by it."""

from pathlib import Path
from statistics import fmean, stdev

import pytest
import yaml

from sheeprl_dnp.report.frozen_figures import difficulty
from sheeprl_dnp.report.markdown import markdown
from sheeprl_dnp.report.results import Results
from sheeprl_dnp.report.tables import load, publish

from .synthetic import FORCED, change, copy_of, make_study, read, report_of, results_of, row, rows, run_folder, training


@pytest.fixture(scope="module")
def results(graded: Path) -> Results:
    """Its report."""
    return report_of(graded)


def test_an_environment_with_difficulties_is_reported_by_difficulty(graded: Path, results: Results) -> None:
    runs = [read(run_folder(graded, "ponder", seed) / "evaluation_default.json")["episodes"] for seed in (1, 2, 3)]
    for level in (1, 2, 3, 4):
        for measure in ("return", "ponder_steps", "first_ponder_steps"):
            found = row(results.rows(measure, rule="default", difficulty=level), arm="ponder")
            seeds = [fmean(e[measure] for e in run if e["difficulty"] == level) for run in runs]
            assert found["value"] == pytest.approx(fmean(seeds)) and found["n"] == 3
        assert results.counts.loc[("ponder", level), "episodes"] == 9
        ours, others = (
            row(results.rows("return", rule="default", difficulty=level), arm=arm)["value"]
            for arm in ("ponder", "baseline")
        )
        differences = results.rows("return", rule="default", statistic="difference", difficulty=level)
        assert row(differences, arm="ponder", than="baseline")["value"] == pytest.approx(ours - others)
        assert "baseline" not in set(differences["arm"])
    hardest = [row(results.rows("return", rule=str(n), difficulty=4), arm="fixed")["value"] for n in FORCED]
    assert hardest == sorted(hardest)  # as it was made: more steps, more return


def test_whether_the_steps_follow_the_difficulty_is_told_by_run(results: Results) -> None:
    found = results.rows(rule="default")
    rhos = found[found["measure"].str.startswith("spearman")].set_index("measure")
    assert 0.9 < rhos["value"]["spearman_of_episodes"] < 1
    assert rhos["value"]["spearman_of_means"] == pytest.approx(1)
    assert rhos["value"]["spearman_of_first_means"] == pytest.approx(-1)
    assert set(rhos["arm"]) == {"ponder"}  # the steps of the others never vary


def test_arms_are_compared_with_each_other_where_it_is_hardest(graded: Path, results: Results) -> None:
    assert "Return of an episode of the highest difficulty, 4, frozen policy:" in markdown(results, {})
    pairs = results.rows("return", rule="default", statistic="difference", difficulty=4)
    assert len(pairs) == 3
    for _, pair in pairs.iterrows():
        means = {name: [] for name in (pair["arm"], pair["than"])}
        for name, seeds in means.items():
            for seed in (1, 2, 3):
                episodes = read(run_folder(graded, name, seed) / "evaluation_default.json")["episodes"]
                seeds.append(fmean(episode["return"] for episode in episodes if episode["difficulty"] == 4))
        pairs = [ours - others for ours, others in zip(*means.values(), strict=True)]
        assert pair["value"] == pytest.approx(fmean(pairs), abs=1e-9)
        half = 4.303 * stdev(pairs) / 3**0.5
        assert pair["high"] - pair["value"] == pytest.approx(half, rel=1e-3, abs=1e-9)


def test_what_more_steps_bring_is_paired_by_seed(graded: Path, results: Results) -> None:
    gains = rows(results.gains, arm="fixed")
    assert len(gains) == 10
    for few, many in ((1, 4), (4, 8)):
        for level in (None, 1, 2, 3, 4):
            gain, pairs = row(gains, **{"from": str(few), "to": str(many), "difficulty": level}), []
            for seed in (1, 2, 3):
                folder = run_folder(graded, "fixed", seed)
                both = (read(folder / f"evaluation_{rule}.json")["episodes"] for rule in (many, few))
                means = [fmean(e["return"] for e in episodes if level in (None, e["difficulty"])) for episodes in both]
                pairs.append(means[0] - means[1])
            assert gain["value"] == pytest.approx(fmean(pairs), abs=1e-9) and gain["n"] == 3
            assert gain["high"] - gain["value"] == pytest.approx(4.303 * stdev(pairs) / 3**0.5, rel=1e-3)
    text = (graded / "report" / "report.md").read_text()
    assert "| fixed | 4 steps less that with 1 | " in text and "| ponder | 8 steps less that with 4 | " in text
    assert "12 by its own rule, 12 with each forced number of steps" in text


def test_what_the_choice_of_the_steps_is_worth_is_of_the_worlds_that_both_played(graded: Path, tmp_path: Path) -> None:
    study = copy_of(graded, tmp_path / "study")
    config = yaml.safe_load((study / "study.yaml").read_text())
    config["evaluations"] |= {"forced_episodes": 6, "forced_steps": ["shuffled"]}
    (study / "study.yaml").write_text(yaml.safe_dump(config))
    pairs: dict[int | None, list[float]] = {None: [], 1: []}
    for seed in (1, 2, 3):
        folder = run_folder(study, "ponder", seed)
        own, shuffled = (read(folder / f"evaluation_{rule}.json")["episodes"] for rule in ("default", "shuffled"))
        change(folder / "evaluation_shuffled.json", episodes=shuffled[:6])
        for level in pairs:
            means = [fmean(e["return"] for e in es[:6] if level in (None, e["difficulty"])) for es in (own, shuffled)]
            pairs[level].append(means[0] - means[1])
    results = results_of(study)
    assert results.problems.empty and set(results.gains["arm"]) == {"ponder"}
    assert set(zip(results.gains["from"], results.gains["to"], strict=True)) == {("shuffled", "default")}
    for level, differences in pairs.items():
        assert row(results.gains, difficulty=level)["value"] == pytest.approx(fmean(differences), abs=1e-9)
    assert row(results.gains, difficulty=None)["value"] == pytest.approx(0.3, abs=0.1)  # as it was made
    text = markdown(results, {})
    assert "| arm | own rule | shuffled |\n" in text
    assert "| ponder | own rule less that with its steps shuffled | " in text


def test_rules_that_were_played_in_no_common_world_are_not_compared(graded: Path, tmp_path: Path) -> None:
    study = copy_of(graded, tmp_path / "study")
    for seed in (1, 2, 3):
        path = run_folder(study, "ponder", seed) / "evaluation_shuffled.json"
        change(path, episodes=[e | {"seed": e["seed"] + 1000} for e in read(path)["episodes"]])
    results = results_of(study)
    assert len(results.rows("return", arm="ponder", rule="shuffled")) == 1
    assert "shuffled" not in set(results.gains["from"])


def test_the_learning_curves_are_drawn_by_difficulty(graded: Path, results: Results) -> None:
    curves = results.rows("learning_curve", arm="ponder", rule="training", by=("difficulty", "step"))
    assert sorted(curves["difficulty"].unique()) == [1, 2, 3, 4]
    records = [training(graded, "ponder", seed) for seed in (1, 2, 3)]
    for level, curve in curves.groupby("difficulty"):
        first = curve.iloc[0]
        seeds = [
            [r["reward"] for r in run if r["difficulty"] == level and r["step"] <= first["step"]] for run in records
        ]
        assert first["value"] == pytest.approx(fmean(fmean(rewards) for rewards in seeds if rewards))
    assert (graded / "report" / "learning_curves_by_difficulty.png").stat().st_size > 10_000


def test_the_worlds_of_a_difficulty_are_counted(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", seeds=1, budget=1000, game="lights_out")
    path = run_folder(study, "ponder", 1) / "evaluation_default.json"
    change(path, episodes=[episode | {"board": episode["seed"] // 8} for episode in read(path)["episodes"]])
    assert results_of(study).counts.loc["ponder", "worlds"].tolist() == [2, 2, 2, 2]
    text = markdown(results_of(study), {})
    assert "| ponder | 1 | 3 (2) | " in text and "| episodes (boards) |" in text


def test_the_report_by_difficulty_has_its_table_and_figures(graded: Path, results: Results) -> None:
    text = (graded / "report" / "report.md").read_text()
    assert {"difficulty", "forced_steps_by_difficulty"} <= {path.stem for path in (graded / "report").glob("*.png")}
    lines = [line for line in text.split("### By difficulty")[1].splitlines() if line.startswith("| ponder | ")]
    assert [line.split(" | ")[1:3] for line in lines] == [[str(level), "9 (3)"] for level in (1, 2, 3, 4)]
    assert "- fixed: not defined, since the ponder steps or the difficulties never vary" in text
    assert "the same worlds for all runs; no training episode began in one of them" in text
    assert "official protocol" not in text and " runs)" not in text.split("Spearman")[1]
    assert "score" not in text.split("## Figures")[0] and "success_rates.png" not in text


def test_of_how_many_runs_a_correlation_is_is_said(graded: Path, tmp_path: Path) -> None:
    study = copy_of(graded, tmp_path / "study")
    path = run_folder(study, "ponder", 2) / "evaluation_default.json"
    change(path, episodes=[episode | {"ponder_steps": 2.0} for episode in read(path)["episodes"]])
    path = run_folder(study, "ponder", 3) / "evaluation_default.json"
    without = ("difficulty", "first_ponder_steps")
    change(path, episodes=[{k: v for k, v in e.items() if k not in without} for e in read(path)["episodes"]])
    (line,) = (line for line in markdown(results_of(study), {}).splitlines() if line.startswith("- ponder:"))
    assert "of the mean ponder steps at each difficulty (1 of 3 runs)" in line
    assert "of those of the first action (2 of 3 runs)" in line


def test_rooms_of_sokoban_are_told_by_their_pushes(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", seeds=2, budget=2000, game="sokoban")
    results = results_of(study)
    assert results.problems.empty and results.worlds == {"same_for_all": True, "episodes": [12], "met_in_training": 0}
    for level, successes in ((2, 4 / 4), (7, 2 / 4), (15, 0)):
        for measure in ("return", "success"):
            found = row(results.rows(measure, rule="default", difficulty=level), arm="ponder")
            runs = [read(run_folder(study, "ponder", seed) / "evaluation_default.json")["episodes"] for seed in (1, 2)]
            seeds = [fmean(e[measure] for e in run if e["difficulty"] == level) for run in runs]
            assert found["value"] == pytest.approx(fmean(seeds)) and found["n"] == 2
        assert found["value"] == successes  # as it was made
    assert results.counts.loc["ponder", "worlds"].tolist() == [4, 4, 4]
    text = markdown(results, {})
    assert "| difficulty | episodes (rooms) | return of an episode | difference from baseline | success |" in text
    assert "| ponder | 15 | 8 (4) | " in text and "highest difficulty, 15, frozen policy" in text
    panels = difficulty(results).axes
    assert [panel.get_ylabel() for panel in panels][:2] == ["return of an episode", "success (share of episodes)"]
    assert [tick.get_text() for tick in panels[1].get_xticklabels()] == ["2\n(4)", "7\n(4)", "15\n(4)"]
    publish(load(study), tmp_path / "published" / "study")
    assert markdown(results_of(tmp_path / "published" / "study"), {}) == text
