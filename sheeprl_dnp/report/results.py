"""All that a report says, as numbers: tables, which the text and the figures show."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from operator import itemgetter
from typing import Any

import pandas as pd

from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED
from sheeprl_dnp.envs.crafter_score import BUDGET
from sheeprl_dnp.report import configuration, measures, statistics
from sheeprl_dnp.report.measures import KEYS
from sheeprl_dnp.report.tables import RUN, TRAINING, Study
from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.studies import OWN_RULE

COMPARED = ["episodes", "score", "score_of_equal_episodes", "return", "length", "ponder_steps", "latency_ms"]
BY_DIFFICULTY = ("return", "success", "ponder_steps", "first_ponder_steps")  # what is told of each difficulty


@dataclass(frozen=True)
class Results:
    """What a study shows.

    Attributes:
        values: a row for each run, measure, and part of its episodes or steps: see `measures`.
        estimates: over the seeds, by `KEYS` and `arm`. The `statistic` is the `mean`; of what is compared, also `iqm`
            (the interquartile mean), `std` (of the population, as published), and against another arm (`than`) the
            `difference`, and the probability of `improvement` over the first one.
        gains: what more ponder steps, and their choice, bring: see `gains`.
        counts: see `measures.counts`.
        worlds: see `measures.worlds`.
        problems: `run`, `reason`.
        configurations: see `configuration.configurations`.
        elsewhere: the same of each other environment that the policies were evaluated in, by its name.
    """

    study: Study
    values: pd.DataFrame
    estimates: pd.DataFrame
    gains: pd.DataFrame
    counts: pd.DataFrame
    worlds: dict[str, Any]
    problems: pd.DataFrame
    configurations: pd.DataFrame
    elsewhere: dict[str, "Results"]

    @property
    def arms(self) -> list[str]:
        return self.study.plan.labels

    @property
    def has_published_budget(self) -> bool:
        """Whether it is as long as the published runs of Crafter."""
        return self.study.plays_crafter and self.study.budget == BUDGET

    @property
    def runs(self) -> pd.DataFrame:
        """A row a run, a column a measure (`return`) of a rule (`training_return`), of all the episodes."""
        whole = self.values[self.values[["difficulty", "step"]].isna().all(axis=1)]
        names = (whole["rule"].astype(object) + "_").fillna("") + whole["measure"]
        return whole.assign(measure=names).pivot(index=RUN, columns="measure", values="value")

    @property
    def told_apart(self) -> list[str]:
        """What is told of each difficulty: without a `success` that is the same as the `return`."""
        levels = self.rows(by=("difficulty",), rule=OWN_RULE)
        found = levels.pivot(index=["arm", "difficulty"], columns="measure", values="value")
        same = "success" in found and (found["success"] == found["return"]).all()
        return [measure for measure in BY_DIFFICULTY if measure in found and not (measure == "success" and same)]

    def rows(self, measure: str | None = None, *, by: tuple[str, ...] = (), **keys: Any) -> pd.DataFrame:
        """The estimates (means, if no `statistic` is named) with these values of the keys.

        Args:
            by: of `KEYS`, those that have any value, but have one: a key that isn't named here or there is NaN.
        """
        keys = {"statistic": "mean"} | ({"measure": measure} if measure else {}) | keys
        known = self.estimates["value"].notna() & self.estimates[list(by)].notna().all(axis=1)
        for key, value in keys.items():
            known &= self.estimates[key] == value
        others = set(KEYS) - {"measure"} - set(by) - keys.keys()
        return self.estimates[known & self.estimates[list(others)].isna().all(axis=1)]

    def as_json(self) -> dict[str, Any]:
        """The tables as lists of rows, NaN as null, without the last digits, which depend on the processor."""
        tables = {
            "problems": self.problems,
            "runs": self.runs.reset_index(),
            "estimates": self.estimates,
            "gains": self.gains,
            "counts": self.counts.reset_index(),
            "configurations": configuration.differences(self.configurations).reset_index(),
        }
        study = {name: getattr(self.study, name) for name in ("name", "budget", "trained_steps", "prior")}
        about = {"arms": self.arms, "bin": measures.bin_size(self.study.budget), "worlds": self.worlds}
        elsewhere = {
            name: {"worlds": there.worlds, "estimates": _rows(there.estimates), "gains": _rows(there.gains)}
            for name, there in self.elsewhere.items()
        }
        return study | about | {name: _rows(table) for name, table in tables.items()} | {"elsewhere": elsewhere}

    def main_table(self) -> pd.DataFrame:
        """The estimates of what is compared, and of the costs."""
        compared = self.estimates["rule"].isin([TRAINING, OWN_RULE]) & self.estimates["measure"].isin(COMPARED)
        whole = self.estimates[["difficulty", "step"]].isna().all(axis=1)
        columns = ["measure", "rule", "arm", "statistic", "than", *statistics.ESTIMATE]
        return self.estimates.loc[whole & (compared | self.estimates["rule"].isna()), columns]


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return json.loads(table.to_json(orient="records"))


def analyse(study: Study) -> Results:
    """
    Raises:
        ConfigError: no run is finished.
    """
    if study.finished.empty:
        reasons = "; ".join(study.problems["run"] + ": " + study.problems["reason"])
        raise ConfigError(f"`{study.name}` has no finished run to report ({reasons}).")
    values = measures.values(study)
    late = pd.DataFrame(measures.missing_episodes(study), columns=["run", "reason"])
    return Results(
        study=study,
        values=values,
        estimates=estimates(values, study.first),
        gains=gains(study),
        counts=measures.counts(study),
        worlds=measures.worlds(study),
        problems=pd.concat([study.problems, late], ignore_index=True),
        configurations=configuration.configurations(study),
        elsewhere={} if study.environment else {name: analyse(there) for name, there in study.elsewhere()},
    )


def estimates(values: pd.DataFrame, first: str) -> pd.DataFrame:
    """See `Results.estimates`."""
    samples = values.pivot(index=[*KEYS, "arm"], columns="seed", values="value")
    keys = samples.index.to_frame(index=False)
    whole = keys["step"].isna() & keys["measure"].isin(COMPARED) & keys["rule"].isin([TRAINING, OWN_RULE])
    by_difficulty = whole & (keys["measure"] == "return")
    compared = samples[(whole & keys["difficulty"].isna()).to_numpy()]
    std = compared.std(axis=1, ddof=0).where(compared.count(axis=1) > 1).dropna()
    parts = {
        "mean": statistics.mean(samples),
        "iqm": statistics.interquartile_mean(compared),
        "std": pd.DataFrame({"value": std}),
        "difference": pd.DataFrame(_pairs(samples[(by_difficulty | whole & keys["difficulty"].isna()).to_numpy()])),
        "improvement": pd.DataFrame(_pairs(compared, first, statistics.probability_of_improvement)),
    }
    tables = [part.reset_index().assign(statistic=name) for name, part in parts.items() if len(part)]
    columns = ["statistic", *KEYS, "arm", "than", *statistics.ESTIMATE]
    return (
        pd.concat(tables, ignore_index=True)
        .reindex(columns=columns)
        .astype(dict.fromkeys(statistics.ESTIMATE, float) | {"arm": str})
    )


def _pairs(
    samples: pd.DataFrame, first: str | None = None, compare: Any = statistics.difference
) -> Iterator[dict[str, Any]]:
    """Each arm compared with each one before it, or with the `first` alone."""
    for keys, arms in samples.groupby(KEYS, dropna=False, sort=False):
        arms = arms.droplevel(KEYS).dropna(how="all")
        for than, arm in combinations(arms.index, 2):
            if first in (None, than):
                found = compare(arms.loc[arm], arms.loc[than])
                yield {**dict(zip(KEYS, keys, strict=True)), "arm": arm, "than": than, **found}


def steps_of(rules: pd.Series) -> dict[str, int]:
    """Of some rules, those that force a number of ponder steps, in the order of it."""
    return dict(sorted(((rule, int(rule)) for rule in set(rules) if rule.isdecimal()), key=itemgetter(1)))


def lookahead(rules: pd.Series) -> dict[str, int]:
    """Of some rules, those by which an agent takes the best of a number of actions, in the order of it."""
    found = {rule: re.fullmatch(r"dream\D*(\d+)", rule) for rule in set(rules)}
    return dict(sorted(((rule, int(match[1])) for rule, match in found.items() if match), key=itemgetter(1)))


def gains(study: Study) -> pd.DataFrame:
    """What more ponder steps bring, what the choice of them is worth, and looking ahead, by arm and difficulty.

    The return with N steps less that with 1, with the most less that with N, by the own rule less that with its steps
    shuffled, and looking ahead less by the own rule (`from`, `to`): paired by seed, in the worlds that both played.
    """
    frozen = study.episodes[study.episodes["rule"] != TRAINING]
    returns = frozen.pivot_table(index=[*RUN, "episode"], columns="rule", values="return", observed=True)
    levels = frozen.groupby([*RUN, "episode"], observed=True)["difficulty"].first()
    rows: list[dict[str, Any]] = []
    for arm in study.plan.labels:
        own = returns[returns.index.get_level_values("arm") == arm]
        for less, more in _compared_rules(returns.columns.to_series(), study.trained_steps.get(arm, 1)):
            both = own.dropna(subset=[less, more])
            groups = [(None, both), *both.groupby(levels.reindex(both.index))]
            means = {level: episodes.groupby("seed").mean() for level, episodes in groups if len(episodes)}
            pair = {"arm": arm, "from": less, "to": more}
            rows += [pair | {"difficulty": n, **statistics.difference(m[more], m[less])} for n, m in means.items()]
    return pd.DataFrame(rows, columns=["arm", "from", "to", "difficulty", *statistics.ESTIMATE])


def _compared_rules(rules: pd.Series, trained: int) -> list[tuple[str, str]]:
    """Of the rules of an agent, those whose returns are compared: less, more."""
    most = max(steps_of(rules).values(), default=0)
    pairs = [(str(less), str(more)) for less, more in ((1, trained), (trained, most)) if less < more]
    pairs += [(SHUFFLED, OWN_RULE), *((OWN_RULE, rule) for rule in lookahead(rules))]
    return [pair for pair in pairs if set(pair) <= set(rules)]
