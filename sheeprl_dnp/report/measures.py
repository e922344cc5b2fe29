"""What each finished run came to: a row a run, a column a measure; and how the arms compare in them."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from sheeprl_dnp.crafter_score import ACHIEVEMENTS, PREFIX, score
from sheeprl_dnp.report import statistics
from sheeprl_dnp.report.tables import CONFIG, RUN, Study, own_rule

LAST_PART = 0.2  # of the budget: "the last part of the training"
DRAWS = 200  # of as many episodes as the run with the fewest has
COMPARED = [  # by part and measure
    "training_episodes",
    "training_score",
    "training_score_of_equal_episodes",
    "training_reward",
    "training_length",
    "frozen_score",
    "frozen_reward",
    "frozen_length",
    "frozen_ponder_steps",
    "frozen_latency_ms",
]


def budget(study: Study) -> int:
    """The environment steps of the shortest run: training episodes count where they ended within it."""
    return int(study.finished["steps"].min())


def within_budget(study: Study) -> pd.DataFrame:
    """The training episodes that count: the official protocol of Crafter."""
    return study.training[study.training["step"] <= budget(study)]


def plays_crafter(episodes: pd.DataFrame) -> bool:
    return PREFIX + ACHIEVEMENTS[0] in episodes


def unlocked(episodes: pd.DataFrame) -> pd.DataFrame:
    """Which achievements each episode unlocked: 0 or 1 [episodes, achievements]."""
    return (episodes[[PREFIX + name for name in ACHIEVEMENTS]] >= 1).astype(float).set_axis(list(ACHIEVEMENTS), axis=1)


def success_rates(episodes: pd.DataFrame) -> pd.DataFrame:
    """Of each achievement, in percent: [runs, achievements]."""
    return 100 * unlocked(episodes).groupby([episodes["arm"], episodes["seed"]], observed=True).mean()


def _scores(episodes: pd.DataFrame) -> pd.Series:
    rates = success_rates(episodes)
    return pd.Series(score(rates.to_numpy()), rates.index)


def by_run(study: Study) -> pd.DataFrame:
    """The measures of the finished runs, NaN where one isn't known: `COMPARED`, and what the run cost.

    FLOPs of an action are at the mean ponder steps of the frozen policy; those of a training are of its gradient steps
    and of its actions.
    """
    training, frozen = within_budget(study), own_rule(study.evaluation)
    measures = study.finished.set_index(RUN)
    columns = {**_training(training), **_frozen(frozen)}
    measures = measures.assign(**{name: columns.get(name, np.nan) for name in COMPARED})
    per_action = [
        flops_at(*pair) for pair in zip(measures["flops_per_action"], measures["frozen_ponder_steps"], strict=True)
    ]
    measures["flops_per_action"] = np.array(per_action, float)
    gradient_steps = measures["flops_per_gradient_step"] * measures["gradient_steps"]
    return measures.assign(training_flops=gradient_steps + measures["flops_per_action"] * measures["steps"])


def flops_at(per_action: str, ponder_steps: float) -> float:
    """Of an action, from those at step 1, 2, ...: each further step costs the same, also beyond the last."""
    if not isinstance(per_action, str):
        return np.nan
    flops = [float(value) for value in per_action.split()]
    if len(flops) == 1:
        return flops[0] + 0 * ponder_steps
    return flops[0] + (flops[-1] - flops[0]) / (len(flops) - 1) * (ponder_steps - 1)


def flops_by_step(runs: pd.DataFrame, steps: pd.Series) -> pd.Series:
    """What the runs of an arm (rows of `by_run`) have computed on average by some steps of their trainings.

    Gradient steps are spread evenly over the steps after those that only fill the replay buffer.
    """
    starts = pd.to_numeric(runs.get(f"{CONFIG}algo.learning_starts", pd.Series(0, runs.index))).fillna(0).mean()
    learning = (steps - starts).clip(lower=0) / max(runs["steps"].mean() - starts, 1)
    gradient_steps = (runs["flops_per_gradient_step"] * runs["gradient_steps"]).mean()
    return gradient_steps * learning + runs["flops_per_action"].mean() * steps


def _training(episodes: pd.DataFrame) -> dict[str, pd.Series]:
    runs = episodes.groupby(RUN, observed=True)
    columns = {"episodes": runs.size(), "reward": runs["reward"].mean(), "length": runs["length"].mean()}
    if plays_crafter(episodes):
        columns["score"] = _scores(episodes)
        columns["score_of_equal_episodes"] = runs.apply(_score_of, episodes=int(runs.size().min()))
    return {f"training_{name}": column for name, column in columns.items()}


def _score_of(run: pd.DataFrame, episodes: int) -> float:
    """The expected score of so many of the episodes, drawn at random: the score depends on how many there are."""
    order = np.random.default_rng(0).random((DRAWS, len(run))).argsort(-1)[:, :episodes]
    rates = 100 * unlocked(run).to_numpy()[order].mean(1)  # [draws, achievements]
    return float(score(rates).mean())


def _frozen(episodes: pd.DataFrame) -> dict[str, pd.Series]:
    runs = episodes.groupby(RUN, observed=True)
    keys = {"reward": "return", "length": "length", "ponder_steps": "ponder_steps", "latency_ms": "latency_ms"}
    columns = {name: runs[key].mean() for name, key in keys.items() if key in episodes}
    if plays_crafter(episodes):
        columns["score"] = _scores(episodes)
    return {f"frozen_{name}": column for name, column in columns.items()}


def seeds(values: pd.Series) -> pd.DataFrame:
    """A measure with a column a seed, from one whose last level of the index is the seed."""
    return values.unstack("seed")


def summary(measures: pd.DataFrame, first: str) -> pd.DataFrame:
    """Each arm by each measure: `measure, arm, statistic, value, low, high, n`.

    The statistics: `mean`, `iqm` (the interquartile mean), `std` over seeds (of the population, as published), and
    `difference` and `improvement` (its probability) against the first arm.
    """
    rows = []
    for measure in COMPARED:
        arms = seeds(measures[measure]).dropna(how="all")
        std = arms.std(axis=1, ddof=0).where(arms.count(axis=1) > 1)
        parts = {
            "mean": statistics.mean(arms),
            "iqm": statistics.interquartile_mean(arms),
            "std": pd.DataFrame({"value": std.dropna()}),
            "difference": _against(arms, first, statistics.difference),
            "improvement": _against(arms, first, statistics.probability_of_improvement),
        }
        rows += [
            part.rename_axis("arm").reset_index().assign(measure=measure, statistic=name)
            for name, part in parts.items()
        ]
    return pd.concat(rows, ignore_index=True)[["measure", "arm", "statistic", *statistics.ESTIMATE]]


def _against(arms: pd.DataFrame, first: str, compare: statistics.Comparison) -> pd.DataFrame:
    others = [arm for arm in arms.index if arm != first] if first in arms.index else []
    return pd.DataFrame([compare(arms.loc[arm], arms.loc[first]) for arm in others], others, statistics.ESTIMATE)


def between(arms: pd.DataFrame) -> Iterator[dict]:
    """The difference of each arm (a row) from each one before it (`than`)."""
    known = arms.dropna(how="all")
    for index, arm in enumerate(known.index):
        for other in known.index[:index]:
            yield {"arm": arm, "than": other, **statistics.difference(known.loc[arm], known.loc[other])}
