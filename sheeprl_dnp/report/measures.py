"""What the runs of a study came to, in one long table: a row for each run, measure, and part of its episodes or steps.

`measure`     what the number is
`rule`        of which episodes: `training`, `training_last_part`, or by the rule that chose a frozen policy's steps
`difficulty`  that of the episodes; NaN: all of them
`step`        the end of a bin of environment steps `(end - size, end]`; NaN: all of them
`arm`, `seed`, `value`
"""

import numpy as np
import pandas as pd
from pandas.api.typing import DataFrameGroupBy

from sheeprl_dnp.envs.crafter_score import PREFIX, score
from sheeprl_dnp.report.score import unlocked
from sheeprl_dnp.report.statistics import spearman, spearman_of_means
from sheeprl_dnp.report.tables import CONFIG, RUN, TRAINING, Study, run_names, world_of
from sheeprl_dnp.studies import OWN_RULE

KEYS = ["measure", "rule", "difficulty", "step"]
EPISODE = ["return", "length", "success", "ponder_steps", "first_ponder_steps", "latency_ms"]
LAST_PART = 0.2  # of the budget: "the last part of the training"
DRAWS = 200  # of as many episodes as the run with the fewest has
OFFICIAL_BIN = 10_000  # environment steps, of the published curves of Crafter
MASS = "halt_mass_"
COSTS = ("steps", "gradient_steps", "wall_s", "cpu_s", "flops_per_gradient_step")
HALTING = r"^Ponder/(?:halt_mass_|expected_steps|player_steps)"  # what is shown of what was logged
CORRELATIONS = {
    "spearman_of_means": (spearman_of_means, "ponder_steps"),
    "spearman_of_first_means": (spearman_of_means, "first_ponder_steps"),
    "spearman_of_episodes": (spearman, "ponder_steps"),
}


def values(study: Study) -> pd.DataFrame:
    """The table; without rows whose value isn't known."""
    parts = [of_episodes(study.episodes), learning_curves(study), halting(study), correlations(study)]
    parts += [of_achievements(study), costs(study, parts[0])]
    table = pd.concat([part for part in parts if len(part)], ignore_index=True)
    arms = study.runs["arm"].dtype
    return table.reindex(columns=[*KEYS, *RUN, "value"]).dropna(subset="value").astype({"arm": arms, "value": float})


def of_episodes(episodes: pd.DataFrame) -> pd.DataFrame:
    """How many there are and their means, by rule, for all of them and for each difficulty."""
    known = [name for name in EPISODE if name in episodes]
    groups = _groups(episodes)
    return _long(groups[known].agg(lambda column: column.astype(float).mean()).assign(episodes=groups.size()))


def _groups(episodes: pd.DataFrame, *keys: str) -> DataFrameGroupBy:
    """By run, rule and difficulty (NaN: all of them), and by other keys."""
    both = pd.concat([episodes.assign(difficulty=np.nan), episodes.dropna(subset="difficulty")], ignore_index=True)
    return both.groupby([*RUN, "rule", "difficulty", *keys], observed=True, dropna=False)


def _long(table: pd.DataFrame) -> pd.DataFrame:
    """With a row for each of its columns, the measures."""
    return table.melt(var_name="measure", ignore_index=False).reset_index()


def bin_size(steps: int) -> int:
    """That of the published curves; in a short study a round number that makes 10 to 20 bins."""
    sizes = (factor * 10**power for power in range(8) for factor in (1, 2, 5))
    return min(OFFICIAL_BIN, next(size for size in sizes if size >= steps / 20))


def binned(table: pd.DataFrame, budget: int) -> pd.DataFrame:
    size = bin_size(budget)
    return table.assign(step=np.ceil(table["step"] / size) * size)


def learning_curves(study: Study) -> pd.DataFrame:
    """The return of the training episodes, of Crafter the official reward (achievements - 0.9), by bins of steps."""
    episodes = study.by_rule(TRAINING)
    reward = unlocked(episodes).sum(axis=1) - 0.9 if study.plays_crafter else episodes["return"]
    points = binned(episodes.assign(learning_curve=reward), study.budget)
    return _long(_groups(points, "step")[["learning_curve"]].mean())


def halting(study: Study) -> pd.DataFrame:
    """What agents that learn to halt logged, by bins of steps, without `Ponder/`."""
    logged = binned(study.metrics, study.budget).set_index([*RUN, "step"]).filter(regex=HALTING)
    logged.columns = logged.columns.str.removeprefix("Ponder/")
    learns = logged.filter(like=MASS).notna().any(axis=1).groupby("arm", observed=True).transform("any")
    learns &= logged.index.get_level_values("arm").isin(list(study.prior))  # not known where configurations are lost
    return _long(logged[learns].groupby([*RUN, "step"], observed=True).mean())


def of_achievements(study: Study) -> pd.DataFrame:
    """Of Crafter: the scores and the success rates of the achievements, in percent."""
    if not study.plays_crafter:
        return pd.DataFrame()
    training = study.by_rule(TRAINING)
    last = training[training["step"] > (1 - LAST_PART) * study.budget].assign(rule=f"{TRAINING}_last_part")
    episodes = pd.concat([study.episodes, last])
    rates = 100 * unlocked(episodes).groupby([episodes[key] for key in (*RUN, "rule")], observed=True).mean()
    equal = pd.DataFrame()
    if len(training):
        runs = training.groupby([*RUN, "rule"], observed=True)
        equal = runs.apply(_score_of, episodes=runs.size().min()).rename("score_of_equal_episodes").to_frame()
    return pd.concat(map(_long, [rates.add_prefix(PREFIX).assign(score=score(rates.to_numpy())), equal]))


def _score_of(run: pd.DataFrame, episodes: int) -> float:
    """The expected score of so many of the episodes, drawn at random: the score depends on how many there are."""
    order = np.random.default_rng(0).random((DRAWS, len(run))).argsort(-1)[:, :episodes]
    rates = 100 * unlocked(run).to_numpy()[order].mean(1)  # [draws, achievements]
    return float(score(rates).mean())


def correlations(study: Study) -> pd.DataFrame:
    """Spearman's rank correlations of each run, by its own rule, with difficulty, where they are defined.

    Of the ponder steps of an episode, and of the mean ponder steps of each difficulty, over an episode's actions and of
    its first one, whose state is as hard as the episode.
    """
    graded = study.by_rule(OWN_RULE).dropna(subset="difficulty")
    rows = [
        {"arm": arm, "seed": seed, "rule": OWN_RULE, "measure": name, "value": correlate(run[key], run["difficulty"])}
        for (arm, seed), run in graded.groupby(RUN, observed=True)
        for name, (correlate, key) in CORRELATIONS.items()
        if key in run and run[key].notna().all()
    ]
    return pd.DataFrame(rows)


def costs(study: Study, of_episodes: pd.DataFrame) -> pd.DataFrame:
    """Of a training, and of an action at the mean ponder steps of the frozen policy.

    The FLOPs of a training are those of its gradient steps and of its actions.
    """
    runs = study.finished.set_index(RUN)
    numbers = [name for name in runs if name in COSTS or name.startswith("parameters_")]
    own = of_episodes[(of_episodes["rule"] == OWN_RULE) & (of_episodes["measure"] == "ponder_steps")]
    steps = own[own["difficulty"].isna()].set_index(RUN)["value"].reindex(runs.index)
    per_action = [flops_at(*pair) for pair in zip(runs["flops_per_action"], steps, strict=True)]
    table = runs[numbers].astype(float).assign(flops_per_action=per_action)
    gradient_steps = table["flops_per_gradient_step"] * table["gradient_steps"]
    return _long(table.assign(training_flops=gradient_steps + table["flops_per_action"] * table["steps"]))


def flops_at(per_action: str, ponder_steps: float) -> float:
    """Of an action, from those at step 1, 2, ...: each further step costs the same, also beyond the last."""
    if not isinstance(per_action, str):
        return np.nan
    flops = np.array(per_action.split(), float)
    return flops[0] + (flops[-1] - flops[0]) / max(len(flops) - 1, 1) * (ponder_steps - 1)


def flops_by_step(study: Study, arm: str, runs: pd.DataFrame, steps: pd.Series) -> pd.Series:
    """What the runs of an arm have computed on average by some steps of their trainings.

    Gradient steps are spread evenly over the steps after those that only fill the replay buffer.

    Args:
        runs: their costs.
    """
    starts = pd.to_numeric(study.of_arm(f"{CONFIG}algo.learning_starts")).fillna(0)[arm]
    learning = (steps - starts).clip(lower=0) / max(runs["steps"].mean() - starts, 1)
    gradient_steps = (runs["flops_per_gradient_step"] * runs["gradient_steps"]).mean()
    return gradient_steps * learning + runs["flops_per_action"].mean() * steps


def worlds(study: Study) -> dict[str, bool | int | list[int] | None]:
    """Whether the frozen policies played the same worlds, and in how many of them a training episode began.

    Both are None where the records of some episodes don't say in what world they were.
    """
    played = study.by_rule(OWN_RULE)
    trained = world_of(study.training)
    lists = played.groupby(RUN, observed=True)[["episode", "world"]].agg(tuple).drop_duplicates()
    unknown = played["world"].isna().any()
    met = played.loc[played["world"].isin(trained), "world"].nunique()
    return {
        "same_for_all": None if unknown else len(lists) <= 1,
        "episodes": sorted(played.groupby(RUN, observed=True).size().unique().tolist()),
        "met_in_training": None if unknown or trained.isna().any() else met,
    }


def counts(study: Study) -> pd.DataFrame:
    """By arm and difficulty, all seeds together: the episodes by the own rule, and their different worlds, NaN where
    one isn't known."""
    groups = study.by_rule(OWN_RULE).groupby(["arm", "difficulty"], observed=True)["world"]
    worlds = groups.nunique().where(groups.count() == groups.size())
    return pd.DataFrame({"episodes": groups.size(), "worlds": worlds})


def missing_episodes(study: Study) -> pd.DataFrame:
    """The runs whose training episodes all ended after the shortest run, and what to say of them: `run`, `reason`."""
    first = study.training.groupby(RUN, observed=True)["step"].min()
    late = run_names(first[first > study.budget].reset_index())
    reason = (
        f"none of its episodes ended within the first {study.budget:,} steps: reported without its training episodes"
    )
    return pd.DataFrame({"run": late, "reason": reason})
