"""All that a report says, as numbers: tables, which the text and the figures show."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import pandas as pd

from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED
from sheeprl_dnp.report import configuration, measures, statistics
from sheeprl_dnp.report.measures import KEYS
from sheeprl_dnp.report.tables import RUN, TRAINING, Study
from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.studies import OWN_RULE

COMPARED = ["episodes", "score", "score_of_equal_episodes", "return", "length", "ponder_steps", "latency_ms"]
BY_DIFFICULTY = {  # what is told of each difficulty, and what it is called in a table and in a figure
    "return": ("return of an episode", "return of an episode"),
    "success": ("success", "success (share of episodes)"),
    "ponder_steps": ("ponder steps of an action", "ponder steps of an action"),
    "first_ponder_steps": ("of the first action", "ponder steps of the first action"),
}
FORCED, DREAM = "forced", "dream"
# The kinds of rules by which frozen policies act, in the order of a report, and what they are called in it
RULES = {OWN_RULE: "own rule", SHUFFLED: "shuffled", FORCED: "{n:g} step{s}", DREAM: "best of {n:g}, dreamed"}


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
        same = "success" in found and found["success"].equals(found["return"])
        return [measure for measure in BY_DIFFICULTY if measure in found and not (measure == "success" and same)]

    def rows(self, measure: str | None = None, *, by: tuple[str, ...] = (), **keys: Any) -> pd.DataFrame:
        """The estimates (means, if no `statistic` is named) with these values of the keys, in the order of the arms.

        Args:
            by: of `KEYS`, those that have any value, but have one: a key that isn't named here or there is NaN.
        """
        keys = {"statistic": "mean"} | ({"measure": measure} if measure else {}) | keys
        found = self.estimates.dropna(subset=["value", *by])
        for key, value in keys.items():
            found = found[found[key] == value]
        return found[found[list(set(KEYS) - {"measure", *by, *keys})].isna().all(axis=1)]

    def returns(self, *by: str) -> pd.DataFrame:
        """The mean returns of the frozen policies by `rule` (and other keys), with the columns of `rules_of`."""
        return rules_of(self.estimates["rule"]).merge(self.rows("return", by=("rule", *by)), on="rule")

    def as_json(self) -> dict[str, Any]:
        """The tables as lists of rows without what is NaN, nor the last digits, which depend on the processor."""
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
        rows = {name: rows_of(table) for name, table in tables.items()}
        rules = set(self.study.evaluation["rule"])  # what is of the training is the same elsewhere
        elsewhere = {
            name: {
                "worlds": there.worlds,
                "estimates": rows_of(there.estimates[there.estimates["rule"].isin(rules)]),
                "gains": rows_of(there.gains),
            }
            for name, there in self.elsewhere.items()
        }
        return study | about | rows | {"elsewhere": elsewhere}

    def main_table(self) -> pd.DataFrame:
        """The estimates of what is compared, and of the costs."""
        compared = self.estimates["rule"].isin([TRAINING, OWN_RULE]) & self.estimates["measure"].isin(COMPARED)
        whole = self.estimates[["difficulty", "step"]].isna().all(axis=1)
        columns = ["measure", "rule", "arm", "statistic", "than", *statistics.ESTIMATE]
        return self.estimates.loc[whole & (compared | self.estimates["rule"].isna()), columns]


def rows_of(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Of the table as JSON."""
    rows = json.loads(table.to_json(orient="records"))
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def analyse(study: Study) -> Results:
    """
    Raises:
        ConfigError: no run is finished.
    """
    if study.finished.empty:
        reasons = "; ".join(study.problems["run"] + ": " + study.problems["reason"])
        raise ConfigError(f"`{study.name}` has no finished run to report ({reasons}).")
    values = measures.values(study)
    places = [] if study.environment else study.plan.evaluations.environments
    played = [name for name in places if name in set(study.evaluation["environment"])]
    return Results(
        study=study,
        values=values,
        estimates=estimates(values, study.first),
        gains=gains(study),
        counts=measures.counts(study),
        worlds=measures.worlds(study),
        problems=pd.concat([study.problems, measures.missing_episodes(study)], ignore_index=True),
        configurations=configuration.configurations(study),
        elsewhere={name: analyse(replace(study, environment=name)) for name in played},
    )


def estimates(values: pd.DataFrame, first: str) -> pd.DataFrame:
    """See `Results.estimates`."""
    samples = values.pivot(index=[*KEYS, "arm"], columns="seed", values="value")
    keys = samples.index.to_frame(index=False)
    whole = keys["step"].isna() & keys["measure"].isin(COMPARED) & keys["rule"].isin([TRAINING, OWN_RULE])
    of_all = whole & keys["difficulty"].isna()
    compared = samples[of_all.to_numpy()]
    by_difficulty = samples[(of_all | whole & (keys["measure"] == "return")).to_numpy()]
    std = compared.std(axis=1, ddof=0).where(compared.count(axis=1) > 1).dropna()
    parts = {
        "mean": statistics.mean(samples),
        "iqm": statistics.interquartile_mean(compared),
        "std": std.to_frame("value"),
        "difference": pd.DataFrame(_pairs(by_difficulty, statistics.difference)),
        "improvement": pd.DataFrame(_pairs(compared, statistics.probability_of_improvement, first)),
    }
    tables = [part.reset_index().assign(statistic=name) for name, part in parts.items() if len(part)]
    columns = ["statistic", *KEYS, "arm", "than", *statistics.ESTIMATE]
    table = pd.concat(tables, ignore_index=True).reindex(columns=columns)
    return table.astype(dict.fromkeys(statistics.ESTIMATE, float) | dict.fromkeys(["arm", "than"], values["arm"].dtype))


def _pairs(
    samples: pd.DataFrame, compare: Callable[[pd.Series, pd.Series], pd.Series], first: str | None = None
) -> Iterator[dict[str, Any]]:
    """Each arm compared with each one before it, or with the `first` alone."""
    for keys, arms in samples.dropna(how="all").groupby(KEYS, dropna=False, sort=False):
        for ((*_, than), baseline), ((*_, arm), sample) in combinations(arms.iterrows(), 2):
            if first in (None, than):
                yield {**dict(zip(KEYS, keys, strict=True)), "arm": arm, "than": than, **compare(sample, baseline)}


def rules_of(names: pd.Series) -> pd.DataFrame:
    """The rules by which frozen policies act, in the order of a report: `rule`, `kind` (of `RULES`), `number`, `label`.

    The number is that of the ponder steps that are forced, or of the actions that are dreamed of.
    """
    parts = names.drop_duplicates().str.extract(r"^(?P<rule>(?P<kind>[a-z]*)_?(?P<number>\d*))$")
    parts = parts.assign(kind=parts["kind"].replace("", FORCED), number=pd.to_numeric(parts["number"]))
    rules = parts[parts["kind"].isin(RULES)].astype({"kind": pd.CategoricalDtype(list(RULES), ordered=True)})
    labels = [RULES[kind].format(n=n, s="s" * (n > 1)) for kind, n in zip(rules["kind"], rules["number"], strict=True)]
    return rules.assign(label=labels).sort_values(["kind", "number"], ignore_index=True)


def gains(study: Study) -> pd.DataFrame:
    """What more ponder steps bring, what the choice of them is worth, and looking ahead, by arm and difficulty.

    The return with N steps less that with 1, with the most less that with N, by the own rule less that with its steps
    shuffled, looking ahead less by the own rule, and at more actions less at the fewest (`from`, `to`): paired by seed,
    in the worlds that both played.
    """
    frozen = study.episodes[study.episodes["rule"] != TRAINING]
    returns = frozen.pivot_table(index=[*RUN, "episode"], columns="rule", values="return", observed=True)
    levels = frozen.groupby([*RUN, "episode"], observed=True)["difficulty"].first()
    rules, rows = rules_of(returns.columns.to_series()), list[dict[str, Any]]()
    for arm in study.plan.labels:
        own = returns[returns.index.get_level_values("arm") == arm]
        for less, more in _compared_rules(rules, study.trained_steps.get(arm, 1)):
            both = own.dropna(subset=[less, more])
            groups = [(None, both), *both.groupby(levels.reindex(both.index))]
            means = {level: episodes.groupby("seed").mean() for level, episodes in groups if len(episodes)}
            pair = {"arm": arm, "from": less, "to": more}
            rows += [pair | {"difficulty": n, **statistics.difference(m[more], m[less])} for n, m in means.items()]
    return pd.DataFrame(rows, columns=["arm", "from", "to", "difficulty", *statistics.ESTIMATE])


def _compared_rules(rules: pd.DataFrame, trained: int) -> list[tuple[str, str]]:
    """Of the rules of an agent, those whose returns are compared: less, more."""
    most = rules.loc[rules["kind"] == FORCED, "number"].max()
    pairs = [(f"{less:g}", f"{more:g}") for less, more in ((1, trained), (trained, most)) if less < more]
    dreams = rules.loc[rules["kind"] == DREAM, "rule"].tolist()
    pairs += [(SHUFFLED, OWN_RULE), *((OWN_RULE, rule) for rule in dreams), *((dreams[0], rule) for rule in dreams[1:])]
    return [pair for pair in pairs if set(pair) <= set(rules["rule"])]
