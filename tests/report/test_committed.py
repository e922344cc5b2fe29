"""The committed reports say what the committed tables do: each number is computed again, from the rows alone."""

import bz2
import csv
import itertools
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from statistics import fmean, pstdev, stdev
from typing import Any

import numpy as np
import pytest
from scipy.stats import t

from sheeprl_dnp.envs.crafter_score import ACHIEVEMENTS

RESULTS = Path(__file__).parents[2] / "results"
BIN = 1000  # steps of Lights Out, in its curves
Row = dict[str, str]
Key = tuple[Any, ...]


@cache
def table(study: str, name: str) -> list[Row]:
    path = RESULTS / study / name
    with bz2.open(path, "rt") if path.suffix == ".bz2" else path.open() as file:
        return list(csv.DictReader(file))


@cache
def report(study: str) -> dict[str, Any]:
    return json.loads((RESULTS / study / "report" / "results.json").read_text())


def find(rows: Iterable[dict[str, Any]], **keys: Any) -> dict[str, Any]:
    """The one row with these values; null where a key isn't named."""
    keys = {"rule": None, "difficulty": None, "step": None, "than": None, "statistic": "mean"} | keys
    (found,) = (row for row in rows if all(row.get(key) == value for key, value in keys.items()))
    return found


def episodes(study: str, rule: str | None = None, environment: str = "") -> list[Row]:
    """Of the frozen policies, in one environment (the training's, if none is named)."""
    rows = [row for row in table(study, "evaluation.csv.bz2") if row.get("environment", "") == environment]
    return [row for row in rows if rule in (None, row["rule"])]


def by_run(rows: list[Row], value: Callable[[list[Row]], float], *keys: str) -> dict[Key, dict[int, float]]:
    """A number of each run's rows with the same keys: by these keys and the arm, then by the seed."""
    groups: dict[Key, list[Row]] = defaultdict(list)
    for row in rows:
        groups[(*(row[key] for key in keys), row["arm"], int(row["seed"]))].append(row)
    found: dict[Key, dict[int, float]] = defaultdict(dict)
    for key in sorted(groups):
        found[key[:-1]][key[-1]] = value(groups[key])
    return found


def mean_of(name: str) -> Callable[[list[Row]], float]:
    return lambda rows: fmean(float(row[name]) for row in rows)


def score(rows: list[Row]) -> float:
    rates = [100 * fmean(float(row[f"achievement_{name}"]) > 0 for row in rows) for name in ACHIEVEMENTS]
    return math.exp(fmean(math.log1p(rate) for rate in rates)) - 1


def check(found: dict[str, Any], seeds: dict[int, float]) -> None:
    values = list(seeds.values())
    assert found["value"] == pytest.approx(fmean(values), rel=1e-8, abs=1e-9) and found["n"] == len(values)
    if len(values) > 1:
        assert min(values) - 1e-9 <= found["low"] <= found["value"] + 1e-9
        assert found["value"] - 1e-9 <= found["high"] <= max(values) + 1e-9


def check_difference(found: dict[str, Any], ours: dict[int, float], theirs: dict[int, float]) -> None:
    """Paired by the seeds that both have, with Student's t interval."""
    differences = [ours[seed] - theirs[seed] for seed in ours.keys() & theirs.keys()]
    assert found["value"] == pytest.approx(fmean(differences), abs=1e-9) and found["n"] == len(differences)
    if len(differences) == 1:
        assert found.keys().isdisjoint({"low", "high"})
        return
    half = t.ppf(0.975, len(differences) - 1) * stdev(differences) / math.sqrt(len(differences))
    assert found["high"] - found["value"] == pytest.approx(half, abs=1e-8)
    assert found["value"] - found["low"] == pytest.approx(half, abs=1e-8)


@pytest.mark.parametrize("study", ["crafter_symbolic", "lights_out", "sokoban"])
def test_the_means_of_the_episodes_are_those_of_the_tables(study: str) -> None:
    estimates = report(study)["estimates"]
    for rows, rule, key in (
        (table(study, "training.csv.bz2"), "training", "reward"),
        (episodes(study, "default"), "default", "return"),
    ):
        for (arm,), seeds in by_run(rows, mean_of(key)).items():
            check(find(estimates, measure="return", rule=rule, arm=arm), seeds)
            if len(seeds) > 1:
                std = find(estimates, measure="return", rule=rule, arm=arm, statistic="std")
                assert std["value"] == pytest.approx(pstdev(seeds.values()))
    measures = {"return", "ponder_steps"} | ({"first_ponder_steps"} if study != "crafter_symbolic" else set())
    for measure in measures:
        for (rule, arm), seeds in by_run(episodes(study), mean_of(measure), "rule").items():
            check(find(estimates, measure=measure, rule=rule, arm=arm), seeds)


def test_the_interval_of_a_few_seeds_is_that_of_all_their_resamples() -> None:
    estimates = report("crafter_symbolic")["estimates"]
    for (arm,), seeds in by_run(table("crafter_symbolic", "training.csv.bz2"), score).items():
        found = find(estimates, measure="score", rule="training", arm=arm)
        check(found, seeds)
        means = [fmean(draw) for draw in itertools.product(seeds.values(), repeat=len(seeds))]
        low, high = np.quantile(means, (0.025, 0.975), method="inverted_cdf")
        assert (found["low"], found["high"]) == pytest.approx((low, high), rel=1e-8)


def test_success_rates_are_those_of_the_episodes() -> None:
    estimates = report("crafter_symbolic")["estimates"]
    training = table("crafter_symbolic", "training.csv.bz2")
    parts = {"training": training, "training_last_part": [row for row in training if float(row["step"]) > 80_000]}
    for rule, name in itertools.product(parts, ("wake_up", "place_table", "collect_coal")):
        measure = f"achievement_{name}"
        rates = by_run(parts[rule], lambda rows, key=measure: 100 * fmean(float(row[key]) > 0 for row in rows))
        for (arm,), seeds in rates.items():
            check(find(estimates, measure=measure, rule=rule, arm=arm), seeds)


@pytest.mark.parametrize("environment", ["", "harder"])
def test_arms_are_compared_in_pairs_of_seeds(environment: str) -> None:
    study = report("lights_out")
    estimates = study["elsewhere"][environment]["estimates"] if environment else study["estimates"]
    own = episodes("lights_out", "default", environment)
    of_all, by_level = by_run(own, mean_of("return")), by_run(own, mean_of("return"), "difficulty")
    runs = {(None, arm): seeds for (arm,), seeds in of_all.items()}
    runs |= {(float(level), arm): seeds for (level, arm), seeds in by_level.items()}
    for (level, arm), seeds in runs.items():
        check(find(estimates, measure="return", rule="default", arm=arm, difficulty=level), seeds)
    pairs = [row for row in estimates if row["statistic"] == "difference" and row["measure"] == "return"]
    pairs = [row for row in pairs if row["rule"] == "default"]
    assert len(pairs) == len(runs) / len(study["arms"]) * math.comb(len(study["arms"]), 2)
    for pair in pairs:
        check_difference(pair, *(runs[pair.get("difficulty"), pair[key]] for key in ("arm", "than")))


@pytest.mark.parametrize("environment", ["", "harder"])
def test_what_four_steps_bring_is_of_the_boards_that_both_played(environment: str) -> None:
    study = report("lights_out")
    found = study["elsewhere"][environment]["gains"] if environment else study["gains"]
    key = ("arm", "seed", "episode")
    played = {
        rule: {tuple(row[k] for k in key): row for row in episodes("lights_out", rule, environment)}
        for rule in ("1", "4")
    }
    both = [
        {**row, "gain": float(row["return"]) - float(played["1"][run]["return"])}
        for run, row in played["4"].items()
        if run in played["1"]
    ]
    levels = {(None, arm): seeds for (arm,), seeds in by_run(both, mean_of("gain")).items()}
    levels |= {(float(n), arm): seeds for (n, arm), seeds in by_run(both, mean_of("gain"), "difficulty").items()}
    assert len(levels) > 1
    for (level, arm), seeds in levels.items():
        (gain,) = (g for g in found if (g["arm"], g["from"], g["to"], g.get("difficulty")) == (arm, "1", "4", level))
        check_difference(gain, seeds, dict.fromkeys(seeds, 0.0))


def test_the_learning_curves_have_the_mean_of_each_bin() -> None:
    estimates = report("lights_out")["estimates"]
    for row in (rows := table("lights_out", "training.csv.bz2")):
        row["bin"] = str(BIN * math.ceil(float(row["step"]) / BIN))
    curves = by_run([row for row in rows if float(row["step"]) <= 20_000], mean_of("reward"), "bin")
    assert len(curves) == 20_000 / BIN * len(report("lights_out")["arms"])
    points = [row for row in estimates if row["measure"] == "learning_curve" and row.get("difficulty") is None]
    for (end, arm), seeds in curves.items():
        check(find(points, rule="training", arm=arm, step=float(end)), seeds)


def test_halting_is_that_of_the_metrics() -> None:
    study = report("lights_out")
    logged = [row for row in table("lights_out", "metrics.csv.bz2") if row["Ponder/halt_mass_01"]]
    for row in logged:
        row["bin"] = str(BIN * math.ceil(float(row["step"]) / BIN))
    for measure in ("halt_mass_01", "halt_mass_04", "expected_steps"):
        points = [row for row in study["estimates"] if row["measure"] == measure]
        for (end, arm), seeds in by_run(logged, mean_of(f"Ponder/{measure}"), "bin").items():
            check(find(points, measure=measure, arm=arm, step=float(end)), seeds)
    prior = [0.2 * 0.8**n for n in range(4)]
    assert study["prior"]["dream"] == pytest.approx([p / sum(prior) for p in prior], rel=1e-6)


def test_flops_are_those_of_the_steps_that_were_pondered() -> None:
    runs = {(row["arm"], int(row["seed"])): row for row in report("lights_out")["runs"]}
    for row in table("lights_out", "runs.csv"):
        if not row["steps"]:
            continue  # not finished
        found, per_action = runs[row["arm"], int(row["seed"])], [float(f) for f in row["flops_per_action"].split()]
        more = (per_action[-1] - per_action[0]) / max(len(per_action) - 1, 1)
        flops = per_action[0] + more * (found["default_ponder_steps"] - 1)
        assert found["flops_per_action"] == pytest.approx(flops, rel=1e-9)
        gradient_steps = float(row["flops_per_gradient_step"]) * float(row["gradient_steps"])
        assert found["training_flops"] == pytest.approx(gradient_steps + flops * float(row["steps"]), rel=1e-9)
