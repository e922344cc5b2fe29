"""What the ponder steps do: how the halting changes in training, what forced numbers of steps bring, and difficulty."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from sheeprl_dnp.pondernet import expected_steps, log_prior
from sheeprl_dnp.study.analysis import binned, curve, estimate
from sheeprl_dnp.study.run_results import DEFAULT, Evaluation, RunResults
from sheeprl_dnp.study.statistics import spearman

MASS = "Ponder/halt_mass_"


def halting(runs: Sequence[RunResults], bin_size: int) -> dict[str, Any] | None:
    """Over the training, means over seeds: the probability to halt at each ponder step, and the mean ponder steps.

    None for agents that don't learn to halt.
    """
    runs = [run for run in runs if any(name.startswith(MASS) for name in run.metrics)]
    if not runs:
        return None
    names = sorted({name for run in runs for name in run.metrics if name.startswith(MASS)})
    masses = [_mean_curve(runs, name, bin_size) for name in names]
    ends = sorted(set.intersection(*map(set, masses)))
    return {
        "step": ends,
        "halt_mass": [[mass[end] for end in ends] for mass in masses],  # [ponder steps, bins]
        **{
            name: curve([run.metrics.get(f"Ponder/{name}", []) for run in runs], bin_size)
            for name in ("expected_steps", "player_steps")
        },
        "prior_steps": _prior_steps(runs[0]),
    }


def forced_steps(runs: Sequence[RunResults]) -> list[dict[str, Any]]:
    """The frozen policies' return for each number of ponder steps that was forced on them."""
    rules = sorted({int(rule) for run in runs for rule in run.evaluations if rule != DEFAULT})
    return [
        {
            "steps": steps,
            "reward": estimate([evaluation.reward for evaluation in _evaluations(runs, str(steps))]),
            "flops_per_action": next((run.costs.flops_at(steps) for run in runs if run.costs), None),
        }
        for steps in rules
    ]


def trained_steps(runs: Sequence[RunResults]) -> int | None:
    """N of the training; None for agents that don't ponder."""
    return next((run.config["algo"]["ponder"]["max_halts"] for run in runs if run.ponders), None)


def difficulty(runs: Sequence[RunResults]) -> dict[str, Any] | None:
    """The frozen policies by the difficulty of the episode; None where the episodes have none.

    `spearman` is of the ponder steps and the difficulty of the episodes of a run, averaged over the runs where it is
    defined.
    """
    evaluations = [e for e in _evaluations(runs, DEFAULT) if all("difficulty" in episode for episode in e.episodes)]
    if not evaluations:
        return None
    rhos = [spearman(_column(e, "ponder_steps"), _column(e, "difficulty")) for e in evaluations]
    forced = sorted({int(rule) for run in runs for rule in run.evaluations if rule != DEFAULT})
    return {
        "levels": [_level(evaluations, level) for level in _levels(evaluations)],
        "spearman": estimate([rho for rho in rhos if rho is not None]),
        "forced_steps": [{"steps": n, "levels": _forced_levels(_evaluations(runs, str(n)))} for n in forced],
    }


def _level(evaluations: Sequence[Evaluation], level: float) -> dict[str, Any]:
    groups = [[episode for episode in e.episodes if episode["difficulty"] == level] for e in evaluations]
    groups = [group for group in groups if group]
    result = {"difficulty": level, "episodes": sum(map(len, groups))}
    for name, key in (("reward", "return"), ("success", "success"), ("ponder_steps", "ponder_steps")):
        if all(key in episode for group in groups for episode in group):
            result[name] = estimate([_mean(episode[key] for episode in group) for group in groups])
    return result


def _forced_levels(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    evaluations = [e for e in evaluations if all("difficulty" in episode for episode in e.episodes)]
    return [_level(evaluations, level) for level in _levels(evaluations)]


def _levels(evaluations: Sequence[Evaluation]) -> list[float]:
    return sorted({episode["difficulty"] for e in evaluations for episode in e.episodes})


def _evaluations(runs: Sequence[RunResults], rule: str) -> list[Evaluation]:
    return [run.evaluations[rule] for run in runs if rule in run.evaluations]


def _column(evaluation: Evaluation, key: str) -> list[float]:
    return [episode[key] for episode in evaluation.episodes]


def _mean_curve(runs: Sequence[RunResults], name: str, bin_size: int) -> dict[int, float]:
    seeds = [binned(run.metrics.get(name, []), bin_size) for run in runs]
    return {end: _mean(seed[end] for seed in seeds if end in seed) for end in sorted(set().union(*seeds))}


def _prior_steps(run: RunResults) -> float | None:
    """The mean of the prior that the halting distribution is drawn to."""
    if not run.ponders:
        return None
    ponder = run.config["algo"]["ponder"]
    return float(expected_steps(log_prior(ponder["max_halts"], ponder["lambda_p"]).exp()))


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))
