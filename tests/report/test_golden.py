"""The tables of a report have the numbers of an earlier implementation, which computed them without pandas."""

import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sheeprl_dnp.report.measures import bin_size
from sheeprl_dnp.report.results import Results, analyse
from sheeprl_dnp.report.statistics import ESTIMATE
from sheeprl_dnp.report.tables import RUN, load

from .synthetic import row

ROOT = Path(__file__).parents[2]
STUDIES = ("crafter_small", "lights_out")
OLD_STATISTICS = {"mean": "mean", "iqm": "iqm", "difference": "difference", "probability_of_improvement": "improvement"}
OLD_MEASURES = {"reward": "return", "success": "success"} | {k: k for k in ("ponder_steps", "first_ponder_steps")}
OLD_COSTS = ("flops_per_action", "training_flops", "wall_s")
OLD_CORRELATIONS = {
    "means": "spearman_of_means",
    "first_means": "spearman_of_first_means",
    "episodes": "spearman_of_episodes",
}
OLD_PARTS = {"training": "training", "training_last_part": "training_last_part", "frozen": "default"}

Number = tuple[Any, float, float | None]  # what it is, the new value, the old one


@pytest.fixture(params=STUDIES, scope="module")
def both(request: pytest.FixtureRequest) -> tuple[Results, dict[str, Any]]:
    path = Path(__file__).parent / "golden" / f"{request.param}.json.gz"
    results = analyse(load(ROOT / "results" / request.param))
    golden = json.loads(gzip.decompress(path.read_bytes()))
    renamed = dict(zip(results.arms, golden["arms"].values(), strict=True))
    return results, golden | {"arms": renamed, "old_arms": list(golden["arms"])}


def estimates(what: Any, new: pd.Series, old: dict[str, Any]) -> Iterator[Number]:
    for key in ESTIMATE:
        yield (*what, key), new[key], old[key]


def one(results: Results, measure: str, **keys: Any) -> pd.Series:
    """The one estimate with these keys, of which those that are None have none."""
    by = tuple(key for key, value in keys.items() if key in ("difficulty", "step") and value is not None)
    given = {key: value for key, value in keys.items() if value is not None}
    return row(results.rows(measure, by=by, **given), **keys)


def measures(results: Results, arm: str, old: dict[str, Any]) -> Iterator[Number]:
    runs = results.runs
    for part, rule in (("training", "training"), ("frozen", "default")):
        for name, compared in old[part].items():
            measure = OLD_MEASURES.get(name, name)
            own = results.estimates[results.estimates[["difficulty", "step"]].isna().all(axis=1)]
            own = own.query("measure == @measure and rule == @rule and arm == @arm")
            assert (compared is None) == own.empty, measure
            for seed, value in (compared or {"by_seed": {}})["by_seed"].items():
                yield (arm, measure, seed), runs.loc[(arm, int(seed)), f"{rule}_{measure}"], value
            for key, statistic in OLD_STATISTICS.items():
                if compared and key in compared:
                    against = {"than": results.arms[0]} if statistic in ("difference", "improvement") else {}
                    yield from estimates((arm, measure, key), row(own, statistic=statistic, **against), compared[key])
            if compared and compared["std"] is not None:
                yield (arm, measure, "std"), row(own, statistic="std")["value"], compared["std"]
    for point in old["cost_points"]:
        for key in OLD_COSTS:
            yield (arm, key), runs.loc[(arm, point["seed"]), key], point[key]
    for key in ("flops_per_action", "gradient_steps", "wall_s", "cpu_s", "flops_per_gradient_step"):
        yield (arm, key), runs.loc[arm, key].mean(), old["cost"][key]
    for key, value in old["cost"]["parameters"].items():
        yield (arm, key), runs.loc[arm, f"parameters_{key}"].iloc[0], value


def curves(results: Results, arm: str, old: dict[str, Any]) -> Iterator[Number]:
    by_level = {None: old["curve"]} | {e["difficulty"]: e["curve"] for e in old["curve_by_difficulty"]}
    for level, points in by_level.items():
        for point in points:
            new = one(results, "learning_curve", rule="training", arm=arm, difficulty=level, step=point["step"])
            yield from estimates((arm, level), new, point)
    for part, rates in old["success_rates"].items():
        for name, rate in rates.items():
            new = one(results, f"achievement_{name}", arm=arm, rule=OLD_PARTS[part])
            yield from estimates((arm, name), new, rate)
    halting = old["halting"] or {"halt_mass": [], "step": [], "expected_steps": [], "player_steps": []}
    for number, masses in enumerate(halting["halt_mass"], 1):
        for step, mass in zip(halting["step"], masses, strict=True):
            new = one(results, f"halt_mass_{number:02d}", arm=arm, step=step)
            yield (arm, number, step), new["value"], mass
    for metric in ("expected_steps", "player_steps"):
        for point in halting[metric]:
            yield from estimates((arm, metric), one(results, metric, arm=arm, step=point["step"]), point)
    if old["halting"]:  # which was computed in single precision
        mean = sum(n * p for n, p in enumerate(results.study.prior[arm], 1))
        assert mean == pytest.approx(halting["prior_steps"], rel=1e-6)


def frozen(results: Results, arm: str, old: dict[str, Any]) -> Iterator[Number]:
    for entry in old["forced_steps"]:
        new = one(results, "return", arm=arm, rule=str(entry["steps"]))
        yield from estimates((arm, entry["steps"]), new, entry["reward"])
    for name, estimate in (old["shuffled"] or {}).items():
        yield from estimates((arm, "shuffled"), one(results, OLD_MEASURES[name], arm=arm, rule="shuffled"), estimate)
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
                keys = {"rule": rule, "difficulty": level["difficulty"]}
                yield from estimates((arm, keys), one(results, OLD_MEASURES[key], arm=arm, **keys), level[key])
            if rule == "default":
                yield (arm, level), results.counts.loc[(arm, level["difficulty"]), "episodes"], level["episodes"]
                yield (arm, level), results.counts.loc[(arm, level["difficulty"]), "worlds"], level["worlds"]
            if "reward_difference" in level:
                keys = {"statistic": "difference", "rule": "default", "than": results.arms[0]}
                differences = results.rows("return", by=("difficulty",), **keys)
                new = row(differences, arm=arm, difficulty=level["difficulty"])
                yield from estimates((arm, level["difficulty"]), new, level["reward_difference"])
    for kind, rho in graded["spearman"].items():
        found = results.rows(OLD_CORRELATIONS[kind], rule="default", arm=arm)
        assert (rho is None) == found.empty
        yield from estimates((arm, kind), found.iloc[0], rho) if rho else ()


def between_arms(results: Results, golden: dict[str, Any]) -> Iterator[Number]:
    for measure, pairs in golden["between_arms"].items():
        name, rule = ("score", "training") if "score" in measure else ("return", "default")
        by = ("difficulty",) if "highest difficulty" in measure else ()
        new = results.rows(name, by=by, statistic="difference", rule=rule)
        new = new[new["difficulty"] == new["difficulty"].max()] if by else new
        for pair in pairs:
            found = row(
                new, arm=results_arm(results, golden, pair["arm"]), than=results_arm(results, golden, pair["than"])
            )
            yield from estimates((measure, pair["arm"], pair["than"]), found, pair["difference"])


def results_arm(results: Results, golden: dict[str, Any], arm: str) -> str:
    return arm if arm in results.arms else results.arms[list(golden["old_arms"]).index(arm)]


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
    assert (results.study.budget, bin_size(results.study.budget)) == (golden["budget"], golden["bin"])
    assert results.runs["training_episodes"].min() == golden["fewest_episodes"]
    assert {arm: old["trained_steps"] for arm, old in golden["arms"].items()} == {
        arm: results.study.trained_steps.get(arm) for arm in results.arms
    }
    for arm, old in golden["arms"].items():
        assert [seed for name, seed in results.runs.index if name == arm] == old["seeds"]
    assert results.problems.empty and RUN == results.runs.index.names
