"""Tables of what changes in a training: the return by environment steps, and the halting; and Crafter's success rates.

Each row is an estimate over seeds: `value, low, high, n`.
"""

import pandas as pd

from sheeprl_dnp.report import statistics
from sheeprl_dnp.report.measures import LAST_PART, budget, plays_crafter, seeds, success_rates, unlocked, within_budget
from sheeprl_dnp.report.tables import RUN, Study, own_rule

OFFICIAL_BIN = 10_000  # environment steps, of the published curves of Crafter
MASS = "Ponder/halt_mass_"
STEPS = ["Ponder/expected_steps", "Ponder/expected_steps_p10", "Ponder/expected_steps_p90", "Ponder/player_steps"]


def bin_size(steps: int) -> int:
    """That of the published curves; in a short study a round number that makes 10 to 20 bins."""
    sizes = (factor * 10**power for power in range(8) for factor in (1, 2, 5))
    return min(OFFICIAL_BIN, next(size for size in sizes if size >= steps / 20))


def binned(study: Study, table: pd.DataFrame) -> pd.DataFrame:
    """With the end of its bin `(end - size, end]` in place of each step."""
    size = bin_size(budget(study))
    return table.assign(step=-(-table["step"] // size) * size)


def estimates(table: pd.DataFrame, keys: list[str], value: str) -> pd.DataFrame:
    """Of the means of a column in each run, by arm and `keys`."""
    by_run = table.groupby([*RUN, *keys], observed=True)[value].mean()
    return statistics.mean(seeds(by_run.dropna())).reset_index().astype({"arm": str})


def by_difficulty(table: pd.DataFrame, keys: list[str], value: str) -> pd.DataFrame:
    """`estimates` of all episodes, whose `difficulty` is NaN, and of those of each difficulty."""
    everything = estimates(table, keys, value)
    levels = estimates(table.dropna(subset="difficulty"), ["difficulty", *keys], value)
    return pd.concat([everything, levels], ignore_index=True).reindex(columns=list(levels))


def learning_curves(study: Study) -> pd.DataFrame:
    """The return of the training episodes, of Crafter the official reward (achievements - 0.9), by bins of steps.

    Returns:
        By arm, difficulty and step.
    """
    episodes = within_budget(study)
    reward = unlocked(episodes).sum(axis=1) - 0.9 if plays_crafter(episodes) else episodes["reward"]
    return by_difficulty(binned(study, episodes.assign(reward=reward)), ["step"], "reward")


def achievements(study: Study) -> pd.DataFrame:
    """The success rates of Crafter's achievements in percent, by part (two of the training, and frozen) and arm."""
    training = within_budget(study)
    parts = {
        "training": training,
        "training_last_part": training[training["step"] > (1 - LAST_PART) * budget(study)],
        "frozen": own_rule(study.evaluation),
    }
    found = []
    for part, episodes in parts.items():
        if plays_crafter(episodes) and len(episodes):
            rates = success_rates(episodes).rename_axis(columns="achievement").stack().rename("rate").reset_index()
            found.append(estimates(rates, ["achievement"], "rate").assign(part=part))
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=["arm", "achievement", "part"])


def halting(study: Study) -> pd.DataFrame:
    """What agents that learn to halt logged: by arm, metric (without `Ponder/`) and step."""
    masses = [name for name in study.metrics if name.startswith(MASS)]
    if not masses:
        return pd.DataFrame(columns=["arm", "metric", "step", *statistics.ESTIMATE])
    learns = study.metrics[masses].notna().any(axis=1).groupby(study.metrics["arm"], observed=True).any()
    metrics = study.metrics[study.metrics["arm"].map(learns).astype(bool)]
    kept = [*masses, *(name for name in STEPS if name in metrics)]
    long = binned(study, metrics).melt([*RUN, "step"], kept, "metric").dropna(subset="value")
    return estimates(long.assign(metric=long["metric"].str.removeprefix("Ponder/")), ["metric", "step"], "value")
