"""A study as four tables, whether it runs or is published; a published one consists of them.

`runs.csv`           a row a run of the plan: what it cost, on what machines, what is wrong with it, its configuration
                     (`config.<key>`: the keys in which runs differ, and those that a report reads)
`training.csv.gz`    a row a training episode of a finished run: step of the run, length, reward, the world it began in
`evaluation.csv.gz`  a row an episode of a frozen policy, by the rule that chose its ponder steps
`metrics.csv.gz`     a row a step at which the training logged its losses and its pondering

Each begins with the arm's label and the seed of the run.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sheeprl_dnp.report.records import CONFIG, read_runs
from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.studies import OWN_RULE, Plan, read_study, write_plan

FILES = {
    "runs": "runs.csv",
    "training": "training.csv.gz",
    "evaluation": "evaluation.csv.gz",
    "metrics": "metrics.csv.gz",
}
RUN = ["arm", "seed"]
# Of a configuration, what a report reads: whether an agent ponders, its prior, and when its updates begin
READ = (
    "algo.learning_starts",
    "algo.ponder.halting",
    "algo.ponder.lambda_p",
    "algo.ponder.learn_halting",
    "algo.ponder.max_halts",
    "algo.total_steps",
)
# What tells the world that an episode began in from others, and what such worlds are called
WORLDS = {"board": "boards", "room": "rooms", "world_seed": "worlds"}


@dataclass(frozen=True)
class Study:
    """A study that is read.

    `runs` has a row for each run of the plan, the other tables rows of the finished ones. `arm` is a category in the
    order of the plan. Episodes of both kinds have `world` and `difficulty`, NaN where that isn't recorded.
    """

    name: str
    plan: Plan
    runs: pd.DataFrame
    training: pd.DataFrame
    evaluation: pd.DataFrame
    metrics: pd.DataFrame
    problems: pd.DataFrame  # run, reason

    @property
    def finished(self) -> pd.DataFrame:
        return self.runs[self.runs["steps"].notna()]

    @property
    def first(self) -> str:
        """The arm that the others are compared with."""
        return self.plan.labels[0]

    @property
    def kind_of_world(self) -> str:
        return next((kind for key, kind in WORLDS.items() if key in self.evaluation), "worlds")

    def of_arm(self, key: str) -> pd.Series:
        """A column of `runs` by arm: the first value that a run has."""
        if key not in self.runs:
            return pd.Series(np.nan, self.plan.labels)
        return self.runs.groupby("arm", observed=False)[key].first()


def load(folder: Path) -> Study:
    """The study in a folder, running or published.

    Raises:
        ConfigError: there is none, or a published table can't be read.
    """
    plan = read_study(folder)
    if (folder / FILES["runs"]).is_file():
        tables = {name: _read(folder / file, name) for name, file in FILES.items()}
        reasons = tables["runs"].set_index(_names(tables["runs"]))["problems"]
        tables["runs"] = tables["runs"].drop(columns="problems")
        in_order = reasons.reindex([run.name for run in plan.runs(folder)]).dropna()
        problems = in_order.rename("reason").rename_axis("run").reset_index()
    else:
        tables, problems = read_runs(folder, plan)
    tables = {name: _in_order(table, plan) for name, table in tables.items()}
    for name in ("training", "evaluation"):
        tables[name] = _with_worlds(tables[name])
    return Study(folder.resolve().name, plan, **tables, problems=problems)


def _in_order(table: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    arms = pd.Categorical(table["arm"], plan.labels, ordered=True)
    return table.assign(arm=arms).sort_values(RUN, kind="stable", ignore_index=True)


def publish(study: Study, folder: Path) -> None:
    """Writes the tables of a study, and its plan."""
    folder.mkdir(parents=True, exist_ok=True)
    write_plan(folder / "study.yaml", study.plan)
    reasons = study.problems.groupby("run")["reason"].agg("; ".join)
    tables = {
        "runs": _differing(study.runs).assign(problems=_names(study.runs).map(reasons)),
        "training": study.training,
        "evaluation": study.evaluation,
        "metrics": study.metrics,
    }
    for name, table in tables.items():
        shown = table.drop(columns=["world"], errors="ignore").dropna(axis="columns", how="all")
        # No time of writing in the archive: the same study gives the same file
        compression = {"method": "gzip", "mtime": 0} if FILES[name].endswith(".gz") else None
        shown.to_csv(folder / FILES[name], index=False, float_format="%.12g", compression=compression)


def _names(runs: pd.DataFrame) -> pd.Series:
    """As `studies.Run.name`."""
    return runs["arm"].astype(str) + " seed " + runs["seed"].astype(str)


def _differing(runs: pd.DataFrame) -> pd.DataFrame:
    """Without the keys of the configurations that no run changes and no report reads."""
    unread = [name for name in runs if name.startswith(CONFIG) and name.removeprefix(CONFIG) not in READ]
    same = [
        name for name in unread if runs[name].nunique(dropna=False) == 1 or (runs[name] == runs["seed"].map(str)).all()
    ]
    return runs.drop(columns=same)


def _read(path: Path, name: str) -> pd.DataFrame:
    # The values of configurations, like `true` or `0.10`, are text
    columns = pd.read_csv(path, nrows=0).columns if name == "runs" and path.is_file() else []
    text = {column: str for column in columns if column.startswith(CONFIG)}
    text |= {name: str for name in ("arm", "rule", "flops_per_action", "machines", "problems")}
    try:
        table = pd.read_csv(path, dtype=text, keep_default_na=False, na_values=[""])
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"`{path}` can't be read: {' '.join(str(error).split())}.") from error
    needed = {"runs": ["steps", "problems"], "evaluation": ["rule", "return"], "training": ["step", "reward"]}
    missing = [column for column in [*RUN, *needed.get(name, [])] if column not in table]
    if missing and missing != ["problems"]:
        raise ConfigError(f"`{path}` is not a table of a study: it has no `{missing[0]}`.")
    return table.reindex(columns=[*table.columns, *missing])


def _with_worlds(episodes: pd.DataFrame) -> pd.DataFrame:
    """With `world` and `difficulty`: of a run whose episodes don't all have a difficulty, none has."""
    known = [name for name in WORLDS if name in episodes]
    world = episodes[known].bfill(axis=1).iloc[:, 0] if known else np.nan
    difficulty = episodes.get("difficulty", pd.Series(np.nan, episodes.index))
    groups = [episodes[name] for name in (*RUN, "rule") if name in episodes]
    complete = difficulty.notna().groupby(groups, observed=True).transform("all")
    return episodes.assign(world=world, difficulty=difficulty.where(complete))


def own_rule(evaluation: pd.DataFrame) -> pd.DataFrame:
    return evaluation[evaluation["rule"] == OWN_RULE]
