"""Environments whose episodes have a difficulty are reported by it."""

from pathlib import Path
from statistics import fmean, stdev

import pytest
import yaml
from synthetic import FORCED, change, make_study, read, results_of, run_folder, training

from sheeprl_dnp.study.markdown import markdown
from sheeprl_dnp.study.report import report


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study on another environment, whose episodes have a difficulty, and its report."""
    study = make_study(tmp_path_factory.mktemp("graded") / "study", budget=4000, difficulty=True)
    report(study, study / "report")
    return study


def test_an_environment_with_difficulties_is_reported_by_difficulty(graded: Path) -> None:
    runs = [read(run_folder(graded, "ponder", seed) / "evaluation_default.json")["episodes"] for seed in (1, 2, 3)]
    arms = read(graded / "report" / "results.json")["arms"]
    levels = arms["ponder"]["difficulty"]["levels"]
    assert [(level["difficulty"], level["episodes"]) for level in levels] == [(1, 9), (2, 9), (3, 9), (4, 9)]
    for level in levels:
        for name, key in (
            ("reward", "return"),
            ("ponder_steps", "ponder_steps"),
            ("first_ponder_steps", "first_ponder_steps"),
        ):
            seeds = [fmean(e[key] for e in run if e["difficulty"] == level["difficulty"]) for run in runs]
            assert level[name]["value"] == pytest.approx(fmean(seeds)) and level[name]["n"] == 3
    rhos = arms["ponder"]["difficulty"]["spearman"]
    assert 0.9 < rhos["episodes"]["value"] < 1
    assert rhos["means"]["value"] == pytest.approx(1) and rhos["first_means"]["value"] == pytest.approx(-1)
    assert set(arms["fixed"]["difficulty"]["spearman"].values()) == {None}
    for ours, others in zip(levels, arms["baseline"]["difficulty"]["levels"], strict=True):
        difference = ours["reward"]["value"] - others["reward"]["value"]
        assert ours["reward_difference"]["value"] == pytest.approx(difference)
        assert "reward_difference" not in others
    forced = arms["fixed"]["difficulty"]["forced_steps"]
    assert [entry["steps"] for entry in forced] == list(FORCED)
    hardest = [entry["levels"][-1]["reward"]["value"] for entry in forced]
    assert hardest == sorted(hardest)  # as it was made: more steps, more return


def test_arms_are_compared_with_each_other_where_it_is_hardest(graded: Path) -> None:
    between = read(graded / "report" / "results.json")["between_arms"]
    assert list(between) == [
        "reward of an episode, frozen policy",
        "reward of an episode of the highest difficulty, 4, frozen policy",
    ]
    *_, hardest = between.values()
    for pair in hardest:
        means = {name: [] for name in (pair["arm"], pair["than"])}
        for name, seeds in means.items():
            for seed in (1, 2, 3):
                episodes = read(run_folder(graded, name, seed) / "evaluation_default.json")["episodes"]
                seeds.append(fmean(episode["return"] for episode in episodes if episode["difficulty"] == 4))
        pairs = [ours - others for ours, others in zip(*means.values(), strict=True)]
        assert pair["difference"]["value"] == pytest.approx(fmean(pairs), abs=1e-9)
        half = 4.303 * stdev(pairs) / 3**0.5
        assert pair["difference"]["high"] - pair["difference"]["value"] == pytest.approx(half, rel=1e-3, abs=1e-9)


def test_what_more_steps_bring_is_paired_by_seed(graded: Path) -> None:
    gains = read(graded / "report" / "results.json")["arms"]["fixed"]["forced_gains"]
    assert [(g["from"], g["to"], g["difficulty"]) for g in gains] == [
        (few, many, level) for few, many in ((1, 4), (4, 8)) for level in (None, 1, 2, 3, 4)
    ]
    for gain in gains:
        pairs = []
        for seed in (1, 2, 3):
            folder = run_folder(graded, "fixed", seed)
            episodes = (read(folder / f"evaluation_{gain[key]}.json")["episodes"] for key in ("to", "from"))
            means = [fmean(e["return"] for e in es if gain["difficulty"] in (None, e["difficulty"])) for es in episodes]
            pairs.append(means[0] - means[1])
        assert gain["reward"]["value"] == pytest.approx(fmean(pairs), abs=1e-9) and gain["reward"]["n"] == 3
        assert gain["reward"]["high"] - gain["reward"]["value"] == pytest.approx(
            4.303 * stdev(pairs) / 3**0.5, rel=1e-3
        )
    text = (graded / "report" / "report.md").read_text()
    assert "| `fixed` | 4 steps less that with 1 | " in text and "| `ponder` | 8 steps less that with 4 | " in text
    assert "12 by its own rule, 12 with each forced number of steps" in text


def test_what_the_choice_of_the_steps_is_worth_is_of_the_worlds_that_both_played(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", budget=4000, difficulty=True)
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
    assert results["problems"] == []
    gains = results["arms"]["ponder"]["forced_gains"]
    assert [(g["from"], g["to"], g["difficulty"]) for g in gains] == [
        ("shuffled", "default", level) for level in (None, 1, 2, 3, 4)
    ]
    for gain in gains[:2]:
        assert gain["reward"]["value"] == pytest.approx(fmean(pairs[gain["difficulty"]]), abs=1e-9)
    assert gains[0]["reward"]["value"] == pytest.approx(0.3, abs=0.1)  # as it was made
    assert results["arms"]["fixed"]["shuffled"] is None and not results["arms"]["fixed"]["forced_gains"]
    text = markdown(results, {})
    assert "| arm | own rule | shuffled |\n" in text
    assert "| `ponder` | own rule less that with its steps shuffled | " in text


def test_rules_that_were_played_in_no_common_world_are_not_compared(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", difficulty=True)
    for seed in (1, 2, 3):
        path = run_folder(study, "ponder", seed) / "evaluation_shuffled.json"
        change(path, episodes=[e | {"seed": e["seed"] + 1000} for e in read(path)["episodes"]])
    results = results_of(study)["arms"]["ponder"]
    assert results["shuffled"] is not None
    assert "shuffled" not in {gain["from"] for gain in results["forced_gains"]}


def test_the_learning_curves_are_drawn_by_difficulty(graded: Path) -> None:
    entries = read(graded / "report" / "results.json")["arms"]["ponder"]["curve_by_difficulty"]
    assert [entry["difficulty"] for entry in entries] == [1, 2, 3, 4]
    records = [training(graded, "ponder", seed) for seed in (1, 2, 3)]
    for entry in entries:
        first = entry["curve"][0]
        seeds = [
            [r["reward"] for r in run if r["difficulty"] == entry["difficulty"] and r["step"] <= first["step"]]
            for run in records
        ]
        assert first["value"] == pytest.approx(fmean(fmean(rewards) for rewards in seeds if rewards))
    assert (graded / "report" / "learning_curves_by_difficulty.png").stat().st_size > 10_000


def test_the_worlds_of_a_difficulty_are_counted(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", seeds=1, budget=1000, difficulty=True)
    path = run_folder(study, "ponder", 1) / "evaluation_default.json"
    change(path, episodes=[episode | {"board": episode["seed"] // 8} for episode in read(path)["episodes"]])
    levels = results_of(study)["arms"]["ponder"]["difficulty"]["levels"]
    assert [level["worlds"] for level in levels] == [2, 2, 2, 2]
    assert "| `ponder` | 1 | 3 (2) | " in markdown(results_of(study), {})


def test_the_report_by_difficulty_has_its_table_and_figures(graded: Path) -> None:
    text = (graded / "report" / "report.md").read_text()
    assert {"difficulty", "forced_steps_by_difficulty"} <= {path.stem for path in (graded / "report").glob("*.png")}
    rows = [line for line in text.split("### By difficulty")[1].splitlines() if line.startswith("| `ponder` | ")]
    assert [row.split(" | ")[1:3] for row in rows] == [[str(level), "9 (3)"] for level in (1, 2, 3, 4)]
    assert "- `fixed`: not defined, since the ponder steps or the difficulties never vary" in text
    assert "the same worlds for all runs; no training episode began in one of them" in text
    assert "official protocol" not in text and " runs)" not in text.split("Spearman")[1]
    assert "score" not in text.split("## Figures")[0] and "success_rates.png" not in text


def test_of_how_many_runs_a_correlation_is_is_said(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", budget=4000, difficulty=True)
    path = run_folder(study, "ponder", 2) / "evaluation_default.json"
    change(path, episodes=[episode | {"ponder_steps": 2.0} for episode in read(path)["episodes"]])
    path = run_folder(study, "ponder", 3) / "evaluation_default.json"
    without = ("difficulty", "first_ponder_steps")
    change(path, episodes=[{k: v for k, v in e.items() if k not in without} for e in read(path)["episodes"]])
    (line,) = (line for line in markdown(results_of(study), {}).splitlines() if line.startswith("- `ponder`:"))
    assert "of the mean ponder steps at each difficulty (1 of 3 runs)" in line
    assert "of those of the first action (2 of 3 runs)" in line
