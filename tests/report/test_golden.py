"""The tables of a report have the numbers of an earlier implementation, which computed them without pandas."""

import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sheeprl_dnp.report.frozen import mean_of
from sheeprl_dnp.report.results import Results, analyse
from sheeprl_dnp.report.statistics import ESTIMATE
from sheeprl_dnp.report.tables import RUN, load

from .synthetic import row

ROOT = Path(__file__).parents[2]
STUDIES = ("crafter_small", "lights_out")
OLD_STATISTICS = {"mean": "mean", "iqm": "iqm", "difference": "difference", "probability_of_improvement": "improvement"}
OLD_MEASURES = {"reward": "return", "success": "success"} | {k: k for k in ("ponder_steps", "first_ponder_steps")}
OLD_COSTS = ("flops_per_action", "training_flops", "wall_s")

Number = tuple[Any, float, float | None]  # what it is, the new value, the old one


@pytest.fixture(params=STUDIES, scope="module")
def both(request: pytest.FixtureRequest) -> tuple[Results, dict[str, Any]]:
    path = Path(__file__).parent / "golden" / f"{request.param}.json.gz"
    results = analyse(load(ROOT / "results" / request.param))
    golden = json.loads(gzip.decompress(path.read_bytes()))
    renamed = dict(zip(results.arms, golden["arms"].values(), strict=True))
    return results, golden | {"arms": renamed}


def estimates(what: Any, new: pd.Series, old: dict[str, Any]) -> Iterator[Number]:
    for key in ESTIMATE:
        yield (*what, key), new[key], old[key]


def measures(results: Results, arm: str, old: dict[str, Any]) -> Iterator[Number]:
    for part in ("training", "frozen"):
        for name, compared in old[part].items():
            measure = f"{part}_{name}"
            own = results.summary[(results.summary["measure"] == measure) & (results.summary["arm"] == arm)]
            assert (compared is None) == own.empty, measure
            for seed, value in (compared or {"by_seed": {}})["by_seed"].items():
                yield (arm, measure, seed), results.runs.loc[(arm, int(seed)), measure], value
            for key, statistic in OLD_STATISTICS.items():
                if compared and key in compared:
                    yield from estimates((arm, measure, key), row(own, statistic=statistic), compared[key])
            if compared and compared["std"] is not None:
                yield (arm, measure, "std"), row(own, statistic="std")["value"], compared["std"]
    for point in old["cost_points"]:
        for key in OLD_COSTS:
            yield (arm, key), results.runs.loc[(arm, point["seed"]), key], point[key]
    for key in ("flops_per_action", "gradient_steps", "wall_s", "cpu_s", "flops_per_gradient_step"):
        yield (arm, key), results.runs.loc[arm, key].mean(), old["cost"][key]
    for key, value in old["cost"]["parameters"].items():
        yield (arm, key), results.runs.loc[arm, f"parameters_{key}"].iloc[0], value


def curves(results: Results, arm: str, old: dict[str, Any]) -> Iterator[Number]:
    by_level = {None: old["curve"]} | {e["difficulty"]: e["curve"] for e in old["curve_by_difficulty"]}
    for level, points in by_level.items():
        for point in points:
            new = row(results.learning_curves, arm=arm, difficulty=level, step=point["step"])
            yield from estimates((arm, level), new, point)
    for part, rates in old["success_rates"].items():
        for name, rate in rates.items():
            yield from estimates((arm, name), row(results.achievements, arm=arm, part=part, achievement=name), rate)
    halting = old["halting"] or {"halt_mass": [], "step": [], "expected_steps": [], "player_steps": []}
    for number, masses in enumerate(halting["halt_mass"], 1):
        for step, mass in zip(halting["step"], masses, strict=True):
            new = row(results.halting, arm=arm, metric=f"halt_mass_{number:02d}", step=step)
            yield (arm, number, step), new["value"], mass
    for metric in ("expected_steps", "player_steps"):
        for point in halting[metric]:
            yield from estimates((arm, metric), row(results.halting, arm=arm, metric=metric, step=point["step"]), point)
    if old["halting"]:  # which was computed in single precision
        assert mean_of(results.prior[arm]) == pytest.approx(halting["prior_steps"], rel=1e-6)


def frozen(results: Results, arm: str, old: dict[str, Any]) -> Iterator[Number]:
    for entry in old["forced_steps"]:
        new = row(results.by_rule, arm=arm, rule=str(entry["steps"]), difficulty=None, measure="return")
        yield from estimates((arm, entry["steps"]), new, entry["reward"])
    for name, estimate in (old["shuffled"] or {}).items():
        new = row(results.by_rule, arm=arm, rule="shuffled", difficulty=None, measure=OLD_MEASURES[name])
        yield from estimates((arm, "shuffled"), new, estimate)
    assert len(old["forced_gains"]) == (results.gains["arm"] == arm).sum()
    for gain in old["forced_gains"]:
        keys = {"from": str(gain["from"]), "to": str(gain["to"]), "difficulty": gain["difficulty"]}
        yield from estimates((arm, keys), row(results.gains, arm=arm, **keys), gain["reward"])


def difficulties(results: Results, arm: str, old: dict[str, Any]) -> Iterator[Number]:
    graded = old["difficulty"] or {"levels": [], "forced_steps": [], "spearman": {}}
    by_rule = {"default": graded["levels"]} | {str(e["steps"]): e["levels"] for e in graded["forced_steps"]}
    for rule, levels in by_rule.items():
        for level in levels:
            for key in OLD_MEASURES.keys() & level.keys():
                keys = {"rule": rule, "difficulty": level["difficulty"], "measure": OLD_MEASURES[key]}
                new = row(results.by_rule, arm=arm, **keys)
                yield from estimates((arm, keys), new, level[key])
                yield (arm, keys, "episodes"), new["episodes"], level["episodes"]
                yield (arm, keys, "worlds"), new["worlds"], level["worlds"]
            if "reward_difference" in level:
                new = row(results.differences_by_difficulty, arm=arm, difficulty=level["difficulty"])
                yield from estimates((arm, level["difficulty"]), new, level["reward_difference"])
    for kind, rho in graded["spearman"].items():
        found = results.correlations[(results.correlations["arm"] == arm) & (results.correlations["of"] == kind)]
        assert (rho is None) == found.empty
        yield from estimates((arm, kind), found.iloc[0], rho) if rho else ()


def between_arms(results: Results, golden: dict[str, Any]) -> Iterator[Number]:
    for measure, pairs in golden["between_arms"].items():
        new = results.between_arms[results.between_arms["measure"] == measure]
        for (_, difference), pair in zip(new.iterrows(), pairs, strict=True):
            yield from estimates((measure, pair["arm"], pair["than"]), difference, pair["difference"])


def test_each_number_of_the_reports_is_the_same_to_ten_digits(both: tuple[Results, dict[str, Any]]) -> None:
    results, golden = both
    parts = (measures, curves, frozen, difficulties)
    numbers = [n for arm, old in golden["arms"].items() for part in parts for n in part(results, arm, old)]
    numbers += between_arms(results, golden)
    assert len(numbers) > 1500
    for what, new, old in numbers:
        assert math.isclose(new, math.nan if old is None else old, rel_tol=1e-9, abs_tol=1e-11) or (
            old is None and math.isnan(new)
        ), (what, new, old)


def test_what_the_reports_say_is_the_same(both: tuple[Results, dict[str, Any]]) -> None:
    results, golden = both
    assert results.worlds == golden["worlds"]
    assert (results.budget, results.bin) == (golden["budget"], golden["bin"])
    assert results.runs["training_episodes"].min() == golden["fewest_episodes"]
    assert {arm: old["trained_steps"] for arm, old in golden["arms"].items()} == {
        arm: results.trained_steps.get(arm) for arm in results.arms
    }
    for arm, old in golden["arms"].items():
        assert [seed for name, seed in results.runs.index if name == arm] == old["seeds"]
    assert results.problems.empty and RUN == results.runs.index.names
