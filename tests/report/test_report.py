"""A report has the numbers of the runs' own files."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, pstdev

import pandas as pd
import pytest
import yaml

from sheeprl_dnp.report.frozen_figures import success_rates
from sheeprl_dnp.report.markdown import markdown
from sheeprl_dnp.report.measures import flops_at
from sheeprl_dnp.report.report import main
from sheeprl_dnp.report.results import Results
from sheeprl_dnp.report.training_figures import learning_curves

from .synthetic import (
    ARMS,
    attempt,
    change,
    make_study,
    read,
    results_of,
    row,
    rows,
    run_folder,
    score_by_hand,
    training,
    write,
)


def frozen(study: Path, arm: str, key: str) -> list[float]:
    return [read(run_folder(study, arm, seed) / "evaluation_default.json")[key] for seed in (1, 2, 3)]


@pytest.mark.parametrize("arm", ARMS)
def test_the_table_has_the_numbers_of_the_files(whole: Path, results: Results, arm: str) -> None:
    episodes = [training(whole, arm, seed) for seed in (1, 2, 3)]
    expected = {
        "training_score": [score_by_hand(run) for run in episodes],
        "training_return": [fmean(e["reward"] for e in run) for run in episodes],
        "training_episodes": [len(run) for run in episodes],
        "default_score": frozen(whole, arm, "score"),
        "default_return": frozen(whole, arm, "mean_return"),
        "default_ponder_steps": frozen(whole, arm, "mean_ponder_steps"),
    }
    table = pd.read_csv(whole / "report" / "table.csv")
    for name, seeds in expected.items():
        rule, measure = name.split("_", 1)
        mean = row(table, arm=arm, rule=rule, measure=measure, statistic="mean")
        assert mean["value"] == pytest.approx(fmean(seeds)) and mean["n"] == 3, name
        assert min(seeds) - 1e-9 <= mean["low"] <= mean["high"] <= max(seeds) + 1e-9, name
        std = row(table, arm=arm, rule=rule, measure=measure, statistic="std")
        assert std["value"] == pytest.approx(pstdev(seeds)), name
        assert results.runs.loc[arm, name].tolist() == pytest.approx(seeds), name


def test_arms_are_compared_with_the_first_arm(whole: Path, results: Results) -> None:
    own, base = frozen(whole, "ponder", "mean_return"), frozen(whole, "baseline", "mean_return")
    pairs = [(a > b) + (a == b) / 2 for a in own for b in base]
    table = rows(results.main_table(), rule="default", measure="return")
    compared = rows(table, arm="ponder").drop_duplicates("statistic").set_index("statistic")["value"]
    assert compared["improvement"] == pytest.approx(fmean(pairs))
    assert compared["difference"] == pytest.approx(fmean(own) - fmean(base))
    assert set(rows(table, arm="baseline")["statistic"]) == {"mean", "iqm", "std"}  # not with itself


def test_arms_are_compared_with_each_other(whole: Path, results: Results) -> None:
    for measure, rule in (("score", "training"), ("return", "default")):
        means = results.rows(measure, rule=rule).set_index("arm")["value"]
        pairs = results.rows(measure, rule=rule, statistic="difference").set_index(["arm", "than"])
        assert list(pairs.index) == [("ponder", "baseline"), ("fixed", "baseline"), ("fixed", "ponder")]
        for (arm, other), pair in pairs.iterrows():
            assert pair["value"] == pytest.approx(means[arm] - means[other], abs=1e-8) and pair["n"] == 3
    text = (whole / "report" / "report.md").read_text().split("### Each arm against each")[1]
    assert "| less | baseline | ponder |" in text
    assert [line.count("[") for line in text.split("frozen policy:")[1].splitlines()[4:6]] == [1, 2]


def test_an_arm_without_runs_is_compared_with_no_other(study: Path) -> None:
    for seed in (1, 2, 3):
        shutil.rmtree(run_folder(study, "ponder", seed))
    pairs = results_of(study).rows("return", rule="default", statistic="difference")
    assert pairs[["arm", "than"]].to_numpy().tolist() == [["fixed", "baseline"]]


def test_costs_are_those_of_the_steps_that_were_pondered(whole: Path, results: Results) -> None:
    steps = fmean(frozen(whole, "ponder", "mean_ponder_steps"))
    assert 1.2 < steps < 1.8
    runs = results.runs.loc["ponder"]
    assert runs["flops_per_action"].mean() == pytest.approx(4_000_000 + 500_000 * (steps - 1))
    assert runs["wall_s"].tolist() == [3600, 7200, 10800] and runs["cpu_s"].tolist() == [1800, 3600, 5400]
    assert set(runs["parameters_agent"]) == {1_699_999} and set(runs["gradient_steps"]) == {500}
    assert runs["training_flops"].tolist() == pytest.approx(
        [5e12 + 10_000 * flops for flops in runs["flops_per_action"]]
    )
    assert set(results.runs.loc["baseline", "flops_per_action"]) == {5_000_000}
    per_action = results.study.of_arm("flops_per_action")["ponder"]
    assert [flops_at(per_action, n) for n in (1, 2, 4, 8)] == [4e6, 4.5e6, 5.5e6, 7.5e6]  # the last is beyond N


def test_the_report_says_all_of_it(whole: Path, results: Results) -> None:
    text = (whole / "report" / "report.md").read_text()
    for said in (
        "9 of 9 runs are finished",
        "| seeds finished | 3 of 3 | 3 of 3 | 3 of 3 |",
        "Training episodes within the first 10,000 steps",
        "not comparable with the above",
        "not comparable with each other",
        "biased low where episodes are few",
        "the same worlds for all runs; no training episode began in one of them",
        "(the official protocol of Crafter)",
        "Difference: paired by seed, with Student's t interval. Probability",
        "Model 1, 2 cores, no GPU",
        "commit 0123456789abcdef",
    ):
        assert said in text
    assert "Not reported" not in text
    mean = row(results.rows("score", rule="training"), arm="ponder")
    assert "{value:,.2f} [{low:,.2f}, {high:,.2f}]".format(**mean) in text


def test_results_are_json_without_nan(whole: Path, results: Results) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    content = json.loads((whole / "report" / "results.json").read_text(), parse_constant=refuse)
    keys = {"arm": "fixed", "measure": "score", "rule": "training", "statistic": "mean"}
    found, expected = row(pd.DataFrame(content["estimates"]), **keys), row(results.estimates, **keys)
    assert found["value"] == pytest.approx(expected["value"], rel=1e-9)
    assert content["arms"] == list(ARMS) and content["worlds"]["met_in_training"] == 0
    assert [run["seed"] for run in content["runs"] if run["arm"] == "ponder"] == [1, 2, 3]


def test_equal_numbers_of_episodes_are_compared(study: Path) -> None:
    path = run_folder(study, "fixed", 2) / "version_0" / "episodes.jsonl"
    path.write_text("".join(line + "\n" for line in path.read_text().splitlines()[:10]))
    results = results_of(study)
    assert results.runs["training_episodes"].min() == 10
    of_equal, of_all = results.runs["training_score_of_equal_episodes"], results.runs["training_score"]
    assert of_equal["baseline"].mean() < of_all["baseline"].mean()
    assert of_equal["fixed", 2] == pytest.approx(of_all["fixed", 2])
    assert "score of 10 episodes a run, drawn at random (%)" in markdown(results, {})


def test_runs_of_different_lengths_are_compared_within_the_shortest(study: Path) -> None:
    change(run_folder(study, "ponder", 1) / "finished.json", steps=6000)
    results = results_of(study)
    assert results.study.budget == 6000
    expected = score_by_hand(training(study, "baseline", 3, budget=6000))
    assert results.runs.loc[("baseline", 3), "training_score"] == pytest.approx(expected)
    text = markdown(results, {})
    assert "not equally long (6,000, 10,000 steps)" in text and "cost are of the whole runs" in text


def test_a_run_without_an_episode_within_the_shortest_is_reported_without_them(study: Path) -> None:
    change(run_folder(study, "ponder", 1) / "finished.json", steps=2000)
    path = run_folder(study, "fixed", 2) / "version_0" / "episodes.jsonl"
    late = [line + "\n" for line in path.read_text().splitlines() if json.loads(line)["step"] > 2000]
    path.write_text("".join(late))
    results = results_of(study)
    (problem,) = results.problems.to_dict("records")
    assert problem["run"] == "fixed seed 2" and "none of its episodes ended within the first 2,000" in problem["reason"]
    assert results.runs.loc["fixed", "training_score"].dropna().index.tolist() == [1, 3]
    assert results.runs.loc["fixed", "default_score"].dropna().index.tolist() == [1, 2, 3]


def test_a_resumed_run_counts_its_episodes_once(study: Path) -> None:
    folder = run_folder(study, "ponder", 1)
    version = shutil.copytree(folder / "version_0", folder / "version_1")
    config = yaml.safe_load((version / "config.yaml").read_text())
    config["checkpoint"]["resume_from"] = "runs/ponder/seed_1/version_0/checkpoint/ckpt_5000_0.ckpt"
    (version / "config.yaml").write_text(yaml.safe_dump(config))
    episodes = training(study, "ponder", 1)
    later = [json.dumps(episode) + "\n" for episode in episodes if episode["step"] > 5000]
    (version / "episodes.jsonl").write_text("".join(later))
    write(folder / "attempt_0.json", attempt("ponder", 1, wall_s=3600, code=None))  # killed
    write(folder / "attempt_1.json", attempt("ponder", 1, wall_s=400))
    results = results_of(study)
    run = results.runs.loc[("ponder", 1)]
    assert run["training_episodes"] == len(episodes) and run["wall_s"] == 4000 and run["cpu_s"] == 2000
    assert results.problems.empty and "resume_from" not in markdown(results, {}).split("Left out")[1].split("\n", 1)[1]


def test_differences_of_fewer_runs_than_an_arm_has_are_said(study: Path) -> None:
    shutil.rmtree(run_folder(study, "baseline", 2))
    (run_folder(study, "ponder", 1) / "evaluation_default.json").unlink()
    text = markdown(results_of(study), {})
    said = text.split("Difference: paired by seed (")[1].split("), with")[0]
    assert "ponder, training: of 2 of its 3 seeds" in said and "ponder, frozen: of 1 of its 2 seeds" in said
    for seed in (1, 3):
        shutil.rmtree(run_folder(study, "fixed", seed))
    assert "fixed, training: unpaired, since it shares no seed with baseline" in markdown(results_of(study), {})


def met(first: dict, second: dict, study: Path) -> list[dict]:
    return [first | {"world_seed": training(study, "baseline", 2)[0]["world_seed"]}, second]


def swapped(first: dict, second: dict, study: Path) -> list[dict]:
    return [first | {"world_seed": second["world_seed"]}, second | {"world_seed": first["world_seed"]}]


def unknown(first: dict, second: dict, study: Path) -> list[dict]:
    return [{key: value for key, value in first.items() if key != "world_seed"}, second]


@pytest.mark.parametrize(
    "other, said",
    [
        (met, "**not the same worlds for all runs**; **training episodes began in 1 of them**"),
        (swapped, "**not the same worlds for all runs**; no training episode began in one of them"),
        (
            unknown,
            "whether in the same worlds is not recorded; whether training episodes began in them is not recorded",
        ),
    ],
)
def test_other_evaluation_worlds_are_noticed(study: Path, other: Callable[..., list[dict]], said: str) -> None:
    path = run_folder(study, "ponder", 1) / "evaluation_default.json"
    first, second, *others = read(path)["episodes"]
    change(path, episodes=[*other(first, second, study), *others])
    assert said in markdown(results_of(study), {})


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
    assert "scripts/report [-h] [--output FOLDER] STUDY" in usage and "95% intervals" in usage
    assert "default: STUDY/report" in usage


@pytest.mark.parametrize("named", ["others", "more than those of Crafter"])
def test_an_environment_with_achievements_of_its_own_is_told_by_its_returns_alone(study: Path, named: str) -> None:
    def own(counts: dict[str, int]) -> dict[str, int | str]:
        return {"kills": 3, "rank": "novice"} if named == "others" else counts | {"fly": 1}

    for run in study.glob("runs/*/*"):
        path = run / "version_0" / "episodes.jsonl"
        lines = []
        for episode in map(json.loads, path.read_text().splitlines()):
            counts = {key: episode.pop(key) for key in [*episode] if key.startswith("achievement_")}
            counts = {key.removeprefix("achievement_"): value for key, value in counts.items()}
            lines.append(episode | {f"achievement_{name}": value for name, value in own(counts).items()})
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        for path in run.glob("evaluation_*.json"):
            change(path, episodes=[e | {"achievements": own(e["achievements"])} for e in read(path)["episodes"]])
    results, text = results_of(study), markdown(results_of(study), {})
    assert results.problems.empty and not results.study.plays_crafter
    assert results.rows("score", rule="training").empty and success_rates(results) is None
    assert "score" not in text and "Crafter" not in text and "achievement" not in text
    returns = [fmean(e["reward"] for e in training(study, "ponder", seed)) for seed in (1, 2, 3)]
    assert row(results.rows("return", rule="training"), arm="ponder")["value"] == pytest.approx(fmean(returns))
    assert learning_curves(results).axes[0].get_ylabel() == "return of an episode"
