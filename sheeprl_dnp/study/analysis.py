"""What the finished runs of an arm show: numbers, as they go into `results.json`; the figures and tables draw them.

An estimate is a dict `{"value", "low", "high", "n"}`: see `statistics.Estimate`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np

from sheeprl_dnp.crafter_score import PREFIX, Record, score, summarise, unlocked, within_budget
from sheeprl_dnp.study import statistics
from sheeprl_dnp.study.run_results import DEFAULT, Evaluation, RunResults

OFFICIAL_BIN = 10_000  # environment steps, of the published curves
LAST_PART = 0.2  # of the budget: "the last part of the training"
DRAWS = 200  # of as many episodes as the run with the fewest has

T = TypeVar("T")
BySeed = dict[int, float]
Estimate = dict[str, Any]


def estimate(values: Sequence[float]) -> Estimate | None:
    """Of the mean, each value a seed; None without values."""
    return asdict(statistics.mean(values)) if values else None


def compare(values: BySeed, baseline: BySeed | None) -> dict[str, Any] | None:
    """Mean, interquartile mean, standard deviation (of the population, as published), and against the baseline's."""
    if not values:
        return None
    sample = list(values.values())
    result = {"by_seed": values, "mean": estimate(sample), "std": float(np.std(sample)) if len(sample) > 1 else None}
    result["iqm"] = asdict(statistics.interquartile_mean(sample))
    if baseline:
        result["difference"] = asdict(statistics.difference(values, baseline))
        improvement = statistics.probability_of_improvement(sample, list(baseline.values()))
        result["probability_of_improvement"] = asdict(improvement)
    return result


def by_seed(compared: Mapping[str, Any] | None) -> BySeed:
    """The values that `compare` was given."""
    return compared["by_seed"] if compared else {}


def between_arms(arms: Mapping[str, BySeed]) -> list[dict[str, Any]]:
    """The `difference` of each `arm` from each one before it (`than`); an arm without values has none."""
    names = [name for name, values in arms.items() if values]
    return [
        {"arm": name, "than": other, "difference": asdict(statistics.difference(arms[name], arms[other]))}
        for index, name in enumerate(names)
        for other in names[:index]
    ]


class Training:
    """The training episodes of a run within the budget: the official protocol of Crafter."""

    def __init__(self, run: RunResults, budget: int) -> None:
        self.budget = budget
        self.records: list[Record] = within_budget(run.episodes or [], budget)
        self.last = [record for record in self.records if record["step"] > (1 - LAST_PART) * budget]

    @property
    def plays_crafter(self) -> bool:
        return bool(self.records) and any(key.startswith(PREFIX) for key in self.records[0])

    def mean(self, key: str) -> float | None:
        return float(np.mean([record[key] for record in self.records])) if self.records else None

    def score(self) -> float | None:
        return summarise(self.records)["score"] if self.plays_crafter else None

    def score_of(self, episodes: int) -> float | None:
        """The expected score of so many of the episodes, drawn at random: the score depends on how many there are."""
        if not self.plays_crafter:
            return None
        all_unlocked = unlocked(self.records)
        order = np.random.default_rng(0).random((DRAWS, len(self.records))).argsort(-1)[:, :episodes]
        rates = [100 * all_unlocked[chosen].mean(0) for chosen in order]  # [draws, achievements]
        return float(score(np.array(rates)).mean())

    def success_rates(self, *, last: bool) -> dict[str, float]:
        records = self.last if last else self.records
        return summarise(records)["success_rates"] if records and self.plays_crafter else {}

    def points(self, difficulty: float | None = None) -> list[tuple[int, float]]:
        """For the learning curve: the end step, and the official reward (achievements - 0.9) or else the return.

        Of all episodes, or those of one difficulty.
        """
        if not self.plays_crafter:
            chosen = (r for r in self.records if difficulty is None or r["difficulty"] == difficulty)
            return [(record["step"], record["reward"]) for record in chosen]
        rewards = unlocked(self.records).sum(-1) - 0.9
        return [(record["step"], float(reward)) for record, reward in zip(self.records, rewards, strict=True)]


def bin_size(budget: int) -> int:
    """That of the published curves; in a short study a round number that makes 10 to 20 bins."""
    sizes = (factor * 10**power for power in range(8) for factor in (1, 2, 5))
    return min(OFFICIAL_BIN, next(size for size in sizes if size >= budget / 20))


def binned(points: Sequence[tuple[int, float]], size: int) -> dict[int, float]:
    """The means of the points (step, value) in bins `(end - size, end]`, by their end."""
    bins: dict[int, list[float]] = {}
    for step, value in points:
        bins.setdefault(-(-step // size) * size, []).append(value)
    return {end: float(np.mean(values)) for end, values in sorted(bins.items())}


def curve(series: Sequence[Sequence[tuple[int, float]]], size: int) -> list[dict[str, Any]]:
    """The mean over seeds of the means in each bin, each with its interval."""
    seeds = [binned(points, size) for points in series]
    ends = sorted(set().union(*seeds))
    return [{"step": end, **estimate([seed[end] for seed in seeds if end in seed])} for end in ends]


def curve_by_difficulty(trainings: Sequence[Training], size: int) -> list[dict[str, Any]]:
    """The learning curve of the episodes of each difficulty; empty where some episodes have none."""
    records = [record for training in trainings for record in training.records]
    if not all("difficulty" in record for record in records):
        return []
    levels = sorted({record["difficulty"] for record in records})
    return [{"difficulty": level, "curve": curve([t.points(level) for t in trainings], size)} for level in levels]


def success_rates(seeds: Sequence[Mapping[str, float]]) -> dict[str, Estimate]:
    names = next((list(rates) for rates in seeds if rates), [])
    return {name: estimate([rates[name] for rates in seeds if name in rates]) for name in names}


def training_part(runs: Mapping[int, Training], baseline: Mapping[int, Training] | None, fewest: int) -> dict[str, Any]:
    """By seed to statistics; `fewest`: the episodes of the run that has the fewest."""
    measures: dict[str, Callable[[Training], float | None]] = {
        "episodes": lambda training: float(len(training.records)),
        "score": Training.score,
        "score_of_equal_episodes": lambda training: training.score_of(fewest),
        "reward": lambda training: training.mean("reward"),
        "length": lambda training: training.mean("length"),
    }
    return {name: _compare(runs, baseline, measure) for name, measure in measures.items()}


def frozen_part(runs: Mapping[int, Evaluation], baseline: Mapping[int, Evaluation] | None) -> dict[str, Any]:
    """Of the evaluations by the agents' own halting rule."""
    names = ("score", "reward", "length", "ponder_steps", "latency_ms")
    return {name: _compare(runs, baseline, attrgetter(name)) for name in names}


def cost_part(runs: Sequence[RunResults]) -> dict[str, Any]:
    """Means over the runs; the parameters and the FLOPs of a gradient step are the same for all seeds."""
    costs = next((run.costs for run in runs if run.costs), None)
    return {
        "parameters": costs and costs.parameters,
        "flops_per_action": _mean(map(flops_per_action, runs)),
        "flops_per_gradient_step": costs and costs.flops_per_gradient_step,
        "gradient_steps": _mean(run.gradient_steps for run in runs),
        "wall_s": _mean(total(run, "wall_s") for run in runs),
        "cpu_s": _mean(total(run, "cpu_s") for run in runs),
    }


def cost_points(runs: Sequence[RunResults]) -> list[dict[str, Any]]:
    """What each run cost and brought: of those that have both."""
    return [
        {
            "seed": run.run.seed,
            "flops_per_action": flops_per_action(run),
            "training_flops": training_flops(run),
            "wall_s": total(run, "wall_s"),
            "reward": run.evaluations[DEFAULT].reward,
        }
        for run in runs
        if DEFAULT in run.evaluations
    ]


def training_flops(run: RunResults) -> float | None:
    """Of the gradient steps and of the actions, these with the ponder steps of the frozen policy."""
    per_action = flops_per_action(run)
    if run.costs is None or per_action is None or run.gradient_steps is None:
        return None
    return run.costs.flops_per_gradient_step * run.gradient_steps + per_action * run.steps


def flops_per_action(run: RunResults) -> float | None:
    """At the mean ponder steps of the frozen policy."""
    if run.costs is None or DEFAULT not in run.evaluations:
        return None
    return run.costs.flops_at(run.evaluations[DEFAULT].ponder_steps)


def total(run: RunResults, key: str) -> float | None:
    """Over the attempts at a run; None if one of them doesn't say."""
    values = [attempt.get(key) for attempt in run.attempts]
    return float(sum(values)) if values and None not in values else None


def _compare(
    runs: Mapping[int, T], baseline: Mapping[int, T] | None, measure: Callable[[T], float | None]
) -> dict[str, Any] | None:
    return compare(_measured(runs, measure), None if baseline is None else _measured(baseline, measure))


def _measured(runs: Mapping[int, T], measure: Callable[[T], float | None]) -> BySeed:
    """A measure of each run that has it, by seed."""
    values = {seed: measure(run) for seed, run in runs.items()}
    return {seed: value for seed, value in values.items() if value is not None}


def _mean(values: Iterable[float | None]) -> float | None:
    """Of those that are known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
