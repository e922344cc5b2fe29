"""What the ponder steps do: how the halting changes in training, what forced numbers of steps bring, and difficulty."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED
from sheeprl_dnp.pondernet import expected_steps, log_prior
from sheeprl_dnp.study.analysis import binned, curve, estimate
from sheeprl_dnp.study.run_results import DEFAULT, Evaluation, RunResults, world_of
from sheeprl_dnp.study.statistics import difference, spearman, spearman_of_means

MASS = "Ponder/halt_mass_"
# By name in the results, the key of an episode's record
LEVEL_MEANS = {
    "reward": "return",
    "success": "success",
    "ponder_steps": "ponder_steps",
    "first_ponder_steps": "first_ponder_steps",
}

Episodes = Sequence[Mapping[str, Any]]
BySeed = Mapping[int, Episodes]  # the episodes of the frozen policy of each seed, at least one


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
    return [
        {
            "steps": steps,
            "reward": estimate([evaluation.reward for evaluation in _evaluations(runs, str(steps))]),
            "flops_per_action": next((run.costs.flops_at(steps) for run in runs if run.costs), None),
        }
        for steps in _forced_numbers(runs)
    ]


def shuffled(runs: Sequence[RunResults]) -> dict[str, Any] | None:
    """Of the frozen policies with their ponder steps shuffled: the return, and the mean steps."""
    evaluations = _evaluations(runs, SHUFFLED)
    if not evaluations:
        return None
    return {
        key: estimate([getattr(evaluation, key) for evaluation in evaluations]) for key in ("reward", "ponder_steps")
    }


def forced_gains(runs: Sequence[RunResults]) -> list[dict[str, Any]]:
    """What more steps bring, and what the choice of them is worth.

    The return with N steps less that with 1, with the most less that with N, and by the own rule less that with its
    steps shuffled. Paired by seed, in the worlds that both played: of all episodes (`difficulty` None), and of each
    difficulty where the episodes have one.
    """
    trained, rules = trained_steps(runs), _forced_numbers(runs)
    numbers = [
        (few, many)
        for few, many in ((1, trained), (trained, max(rules, default=0)))
        if {few, many} <= set(rules) and few < many
    ]
    return [
        {"from": less, "to": more} | gain
        for less, more in (*numbers, (SHUFFLED, DEFAULT))
        for gain in _gains(runs, str(less), str(more))
    ]


def _gains(runs: Sequence[RunResults], less: str, more: str) -> list[dict[str, Any]]:
    with_more, with_less = _in_shared_worlds(runs, more, less), _in_shared_worlds(runs, less, more)
    graded = _with_difficulty(with_more), _with_difficulty(with_less)
    pairs = {level: tuple(_at(level, episodes) for episodes in graded) for level in _levels(graded[0])}
    return [
        {"difficulty": level, "reward": _reward_difference(*pair)}
        for level, pair in ({None: (with_more, with_less)} | pairs).items()
        if all(pair)
    ]


def _in_shared_worlds(runs: Sequence[RunResults], rule: str, other: str) -> BySeed:
    """The episodes by a rule in the worlds that are played by the other too."""
    episodes, others = _episodes(runs, rule), _episodes(runs, other)
    worlds = {seed: set(_column(others.get(seed, ()), "seed")) for seed in episodes}
    return _not_empty({seed: [e for e in group if e["seed"] in worlds[seed]] for seed, group in episodes.items()})


def _forced_numbers(runs: Sequence[RunResults]) -> list[int]:
    return sorted({int(rule) for run in runs for rule in run.evaluations if rule.isdecimal()})


def trained_steps(runs: Sequence[RunResults]) -> int | None:
    """N of the training; None for agents that don't ponder."""
    return next((run.config["algo"]["ponder"]["max_halts"] for run in runs if run.ponders), None)


def difficulty(runs: Sequence[RunResults], first: Sequence[RunResults] | None) -> dict[str, Any] | None:
    """The frozen policies by the difficulty of the episode; None where the episodes have none.

    Each of the `levels` has the number of different `worlds` (None where they aren't recorded), and the difference of
    its reward from that of the `first` arm (that arm itself has none).
    `spearman` has rank correlations with difficulty, one a run, averaged over the runs where they are defined: of the
    ponder steps of the `episodes`, and of the mean ponder steps of each difficulty, over an episode's actions
    (`means`) and of its first one (`first_means`). `evaluated`: the runs that have an evaluation, of which some may not
    know the difficulty.
    """
    episodes = _graded(runs, DEFAULT)
    if not episodes:
        return None
    baseline = None if first is None else _graded(first, DEFAULT)
    rhos = (
        ("episodes", spearman, "ponder_steps"),
        ("means", spearman_of_means, "ponder_steps"),
        ("first_means", spearman_of_means, "first_ponder_steps"),
    )
    return {
        "evaluated": len(_evaluations(runs, DEFAULT)),
        "levels": _by_level(episodes, baseline),
        "spearman": {name: _rho(episodes.values(), correlation, key) for name, correlation, key in rhos},
        "forced_steps": [{"steps": n, "levels": _by_level(_graded(runs, str(n)))} for n in _forced_numbers(runs)],
    }


def returns_at(level: float, runs: Sequence[RunResults]) -> dict[int, float]:
    """By seed, the mean return of the frozen policy in the episodes of a difficulty."""
    return _means(_at(level, _graded(runs, DEFAULT)), "return")


def _rho(groups: Iterable[Episodes], correlation: Callable[..., float | None], key: str) -> dict | None:
    columns = [(_column(group, key), _column(group, "difficulty")) for group in groups if _have(group, key)]
    rhos = [correlation(*pair) for pair in columns]
    return estimate([rho for rho in rhos if rho is not None])


def _level(level: float, episodes: BySeed, baseline: BySeed | None) -> dict[str, Any]:
    groups = _at(level, episodes)
    worlds = {world_of(episode) for group in groups.values() for episode in group}
    result = {"difficulty": level, "episodes": sum(map(len, groups.values()))}
    result["worlds"] = None if None in worlds else len(worlds)
    for name, key in LEVEL_MEANS.items():
        if all(_have(group, key) for group in groups.values()):
            result[name] = estimate(list(_means(groups, key).values()))
    others = _at(level, baseline) if baseline else {}
    if others:
        result["reward_difference"] = _reward_difference(groups, others)
    return result


def _reward_difference(episodes: BySeed, others: BySeed) -> dict[str, Any]:
    return asdict(difference(_means(episodes, "return"), _means(others, "return")))


def _by_level(episodes: BySeed, baseline: BySeed | None = None) -> list[dict[str, Any]]:
    return [_level(level, episodes, baseline) for level in _levels(episodes)]


def _levels(episodes: BySeed) -> list[float]:
    return sorted({episode["difficulty"] for group in episodes.values() for episode in group})


def _at(level: float, episodes: BySeed) -> BySeed:
    """The episodes of a difficulty."""
    return _not_empty({seed: [e for e in group if e["difficulty"] == level] for seed, group in episodes.items()})


def _not_empty(episodes: BySeed) -> BySeed:
    return {seed: group for seed, group in episodes.items() if group}


def _means(episodes: BySeed, key: str) -> dict[int, float]:
    return {seed: _mean(_column(group, key)) for seed, group in episodes.items()}


def _graded(runs: Sequence[RunResults], rule: str) -> BySeed:
    """The episodes by a rule, of the seeds where they have a difficulty."""
    return _with_difficulty(_episodes(runs, rule))


def _with_difficulty(episodes: BySeed) -> BySeed:
    return {seed: group for seed, group in episodes.items() if _have(group, "difficulty")}


def _have(group: Episodes, key: str) -> bool:
    return all(key in episode for episode in group)


def _episodes(runs: Sequence[RunResults], rule: str) -> BySeed:
    return {run.run.seed: run.evaluations[rule].episodes for run in runs if rule in run.evaluations}


def _evaluations(runs: Sequence[RunResults], rule: str) -> list[Evaluation]:
    return [run.evaluations[rule] for run in runs if rule in run.evaluations]


def _column(group: Episodes, key: str) -> list[float]:
    return [episode[key] for episode in group]


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
