"""Tables of the frozen policies: by the rule that chose their ponder steps, and by the difficulty of the episode.

Each row is an estimate over seeds: `value, low, high, n`. A `difficulty` of NaN means all episodes.
"""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED
from sheeprl_dnp.pondernet import log_prior
from sheeprl_dnp.report import statistics
from sheeprl_dnp.report.curves import by_difficulty, estimates
from sheeprl_dnp.report.measures import seeds
from sheeprl_dnp.report.tables import CONFIG, RUN, Study, own_rule
from sheeprl_dnp.studies import OWN_RULE

MEASURES = ("return", "success", "ponder_steps", "first_ponder_steps")


def by_rule(study: Study) -> pd.DataFrame:
    """By arm, rule, difficulty and measure; with the number of `episodes`, and of different `worlds` (NaN: unknown)."""
    known = [name for name in MEASURES if name in study.evaluation]
    parts = [by_difficulty(study.evaluation, ["rule"], name).assign(measure=name) for name in known]
    if not parts:
        return pd.DataFrame(columns=["arm", "rule", "difficulty", "measure", *statistics.ESTIMATE])
    counts = pd.concat([_counts(study.evaluation, []), _counts(study.evaluation, ["difficulty"])])
    return pd.concat(parts, ignore_index=True).merge(counts, on=["arm", "rule", "difficulty"], how="left")


def _counts(evaluation: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    groups = evaluation.groupby(["arm", "rule", *keys], observed=True)["world"]
    known = groups.count() == groups.size()
    table = pd.DataFrame({"episodes": groups.size(), "worlds": groups.nunique().where(known)})
    columns = ["arm", "rule", "difficulty", "episodes", "worlds"]
    return table.reset_index().astype({"arm": str}).reindex(columns=columns)


def forced_numbers(rules: pd.Series) -> list[int]:
    """Of some rules, the numbers of ponder steps that were forced."""
    return sorted({int(rule) for rule in rules if rule.isdecimal()})


def trained_steps(study: Study) -> dict[str, int]:
    """N of the training, of the arms that ponder."""
    trained = pd.to_numeric(study.of_arm(f"{CONFIG}algo.ponder.max_halts")).dropna()
    return {arm: int(steps) for arm, steps in trained.items() if steps > 1}


def prior(study: Study) -> dict[str, list[float]]:
    """The probabilities to halt at each ponder step that the training draws to, of the arms that ponder."""
    lambda_p = pd.to_numeric(study.of_arm(f"{CONFIG}algo.ponder.lambda_p"))
    return {arm: log_prior(steps, lambda_p[arm]).exp().tolist() for arm, steps in trained_steps(study).items()}


def mean_of(probabilities: list[float]) -> float:
    return sum(step * probability for step, probability in enumerate(probabilities, 1))


def gains(study: Study) -> pd.DataFrame:
    """What more ponder steps bring, and what the choice of them is worth, by arm and difficulty.

    The return with N steps less that with 1, with the most less that with N, and by the own rule less that with its
    steps shuffled (`from`, `to`): paired by seed, in the worlds that both played.
    """
    keys = [*RUN, "episode"]
    returns = study.evaluation.pivot_table(index=keys, columns="rule", values="return", observed=True)
    returns["difficulty"] = study.evaluation.groupby(keys, observed=True)["difficulty"].first()
    rows: list[dict[str, Any]] = []
    for arm, trained in trained_steps(study).items():
        for less, more in _pairs(trained, returns.columns.drop("difficulty")):
            both = returns[returns.index.get_level_values("arm") == arm].dropna(subset=[less, more])
            rows += [{"arm": arm, "from": less, "to": more, **gain} for gain in _gains(both, less, more)]
    return pd.DataFrame(rows, columns=["arm", "from", "to", "difficulty", *statistics.ESTIMATE])


def _pairs(trained: int, rules: pd.Index) -> list[tuple[str, str]]:
    numbers = forced_numbers(rules.to_series())
    pairs = [(1, trained), (trained, max(numbers, default=0)), (SHUFFLED, OWN_RULE)]
    named = [(str(less), str(more)) for less, more in pairs if less == SHUFFLED or less < more]
    return [pair for pair in named if set(pair) <= set(rules)]


def _gains(both: pd.DataFrame, less: str, more: str) -> Iterator[dict[str, Any]]:
    levels = [(None, both), *both.groupby("difficulty")]
    for level, episodes in levels:
        means = episodes.groupby("seed")[[less, more]].mean()
        if len(means):
            yield {"difficulty": level, **statistics.difference(means[more], means[less])}


def differences_by_difficulty(study: Study) -> pd.DataFrame:
    """The return of each arm, by its own rule, less that of the first one, by arm and difficulty."""
    graded = own_rule(study.evaluation).dropna(subset="difficulty")
    returns = seeds(graded.groupby([*RUN, "difficulty"], observed=True)["return"].mean())
    first = returns.xs(study.first) if study.first in returns.index else returns.iloc[:0].droplevel("arm")
    rows = [
        {"arm": arm, "difficulty": level, **statistics.difference(returns.loc[(arm, level)], first.loc[level])}
        for arm, level in returns.index
        if arm != study.first and level in first.index
    ]
    return pd.DataFrame(rows, columns=["arm", "difficulty", *statistics.ESTIMATE])


def correlations(study: Study) -> pd.DataFrame:
    """Spearman's rank correlations with difficulty, one a run, over the runs where they are defined, by arm and `of`.

    Of the ponder steps of an episode (`episodes`), and of the mean ponder steps of each difficulty, over an episode's
    actions (`means`) and of its first one (`first_means`), whose state is as hard as the episode.
    """
    graded = own_rule(study.evaluation).dropna(subset="difficulty")
    kinds = {
        "means": (statistics.spearman_of_means, "ponder_steps"),
        "first_means": (statistics.spearman_of_means, "first_ponder_steps"),
        "episodes": (statistics.spearman, "ponder_steps"),
    }
    rows = [
        {"arm": arm, "seed": seed, "of": name, "rho": correlation(run[key], run["difficulty"])}
        for (arm, seed), run in graded.groupby(RUN, observed=True)
        for name, (correlation, key) in kinds.items()
        if key in run and run[key].notna().all()
    ]
    table = pd.DataFrame(rows, columns=[*RUN, "of", "rho"])
    return estimates(table, ["of"], "rho")


def worlds(study: Study) -> dict[str, Any]:
    """Whether the frozen policies played the same worlds, and in how many of them a training episode began.

    Both are None where the records of some episodes don't say in what world they were.
    """
    played, trained = own_rule(study.evaluation), study.training["world"]
    runs = [run for _, run in played.groupby(RUN, observed=True)]
    lists = {tuple(zip(run["episode"], run["world"], strict=True)) for run in runs}
    unknown = played["world"].isna().any()
    met = played.loc[played["world"].isin(trained), "world"].nunique()
    return {
        "same_for_all": None if unknown else len(lists) <= 1,
        "episodes": sorted({len(run) for run in runs}),
        "met_in_training": None if unknown or trained.isna().any() else met,
    }
