"""A study as four tables, whether it runs or is published; a published one consists of them.

`runs.csv`           a row a run of the plan: what it cost, on what machines, what is wrong with it, its configuration
                     (`config.<key>`: the keys in which runs differ, and those that a report reads)
`training.csv.bz2`   a row a training episode of a finished run: step of the run, length, reward, the world it began in
`evaluation.csv.bz2` a row an episode of a frozen policy, by the `rule` that it acts by, and the `environment` (of
                     `evaluations.environments`; empty: that of the training)
`metrics.csv.bz2`    a row a step at which the training logged its losses and its pondering

Each begins with the arm's label and the seed of the run.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from sheeprl_dnp.envs.crafter_score import ACHIEVEMENTS, PREFIX
from sheeprl_dnp.pondernet import log_prior
from sheeprl_dnp.report.records import CONFIG, PONDER_KEYS, read_runs
from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.studies import Plan, read_study, write_file

FILES = {"runs": "runs.csv"} | {name: f"{name}.csv.bz2" for name in ("training", "evaluation", "metrics")}
RUN = ["arm", "seed"]
COLUMNS = {  # that each table has in any study, after `RUN`
    "runs": ["steps", "gradient_steps", "wall_s", "cpu_s", "machines", "flops_per_action", "flops_per_gradient_step"],
    "training": ["step", "length", "reward"],
    "evaluation": ["rule", "episode", "return"],
    "metrics": ["step"],
}
EMPTY = {"runs": ["problems"], "evaluation": ["environment"]}  # that a file has only where they say something
TEXT = ("arm", "problems", "rule", "environment", "flops_per_action", "machines")
TRAINING = "training"  # the `rule` of training episodes
# Of a configuration, what a report reads: whether an agent ponders, its prior, and when its updates begin
READ = ("algo.learning_starts", "algo.total_steps", *(f"algo.ponder.{key}" for key in PONDER_KEYS))
# What tells the world that an episode began in from others, and what such worlds are called
WORLDS = {"board": "boards", "room": "rooms", "world_seed": "worlds"}


@dataclass(frozen=True)
class Study:
    """A study that is read.

    `runs` has a row for each run of the plan, the other tables rows of the finished ones. `arm` is a category in the
    order of the plan. Of the evaluations, those in one `environment` are looked at; None: that of the training.
    """

    name: str
    plan: Plan
    runs: pd.DataFrame
    training: pd.DataFrame
    evaluation: pd.DataFrame
    metrics: pd.DataFrame
    problems: pd.DataFrame  # run, reason
    environment: str | None = None

    @property
    def finished(self) -> pd.DataFrame:
        return self.runs[self.runs["steps"].notna()]

    @property
    def first(self) -> str:
        """The arm that the others are compared with."""
        return self.plan.labels[0]

    @cached_property
    def budget(self) -> int:
        """The environment steps of the shortest run: training episodes count where they ended within it."""
        return int(self.finished["steps"].min())

    @cached_property
    def episodes(self) -> pd.DataFrame:
        """One table of the training episodes that count, whose `rule` is `TRAINING`, and of those of frozen policies.

        All have `world` and `difficulty`, NaN where that isn't recorded: where one of the episodes that a run played by
        a rule has no difficulty, none of them has.
        """
        training = self.training[self.training["step"] <= self.budget].rename(columns={"reward": "return"})
        where = self.evaluation["environment"]
        here = where.isna() if self.environment is None else where == self.environment
        episodes = pd.concat([training.assign(rule=TRAINING), self.evaluation[here]], ignore_index=True)
        level = pd.Series(episodes.get("difficulty", np.nan), episodes.index, dtype=float)
        complete = level.notna().groupby([episodes[key] for key in (*RUN, "rule")], observed=True).transform("all")
        return episodes.assign(world=world_of(episodes), difficulty=level.where(complete))

    def by_rule(self, rule: str) -> pd.DataFrame:
        return self.episodes[self.episodes["rule"] == rule]

    @cached_property
    def plays_crafter(self) -> bool:
        """Whether the achievements of its episodes are those of Crafter: other environments have others, or none."""
        return {name for name in self.episodes if name.startswith(PREFIX)} == {PREFIX + name for name in ACHIEVEMENTS}

    @property
    def kind_of_world(self) -> str:
        return next((kind for key, kind in WORLDS.items() if key in self.evaluation), "worlds")

    @cached_property
    def trained_steps(self) -> dict[str, int]:
        """N of the training, of the arms that ponder."""
        trained = pd.to_numeric(self.of_arm(f"{CONFIG}algo.ponder.max_halts"))
        return trained[trained > 1].astype(int).to_dict()

    @cached_property
    def prior(self) -> dict[str, list[float]]:
        """The probabilities to halt at each ponder step that the training draws to, of the arms that ponder."""
        lambda_p = pd.to_numeric(self.of_arm(f"{CONFIG}algo.ponder.lambda_p"))
        return {arm: log_prior(steps, lambda_p[arm]).exp().tolist() for arm, steps in self.trained_steps.items()}

    def of_arm(self, key: str) -> pd.Series:
        """A column of `runs` by arm: the first value that a run has."""
        return self.runs.assign(**{key: self.runs.get(key, np.nan)}).groupby("arm", observed=False)[key].first()


def load(folder: Path) -> Study:
    """The study in a folder.

    Raises:
        ConfigError: there is none, or a table of a published one is missing or damaged.
    """
    plan = read_study(folder)
    if (folder / FILES["runs"]).is_file():
        return _study(folder.resolve().name, plan, {name: _read(folder / file, name) for name, file in FILES.items()})
    tables, problems = read_runs(folder, plan)
    return replace(_study(folder.resolve().name, plan, tables), problems=problems)


def _study(name: str, plan: Plan, tables: Mapping[str, pd.DataFrame]) -> Study:
    """Of tables, with their columns and in the order of the plan; what is wrong with a run is in that of the runs."""
    arms = pd.CategoricalDtype(plan.labels, ordered=True)
    ordered = {}
    for kind, table in tables.items():
        columns = dict.fromkeys([*RUN, *COLUMNS[kind], *table, *EMPTY.get(kind, [])])
        typed = table.reindex(columns=list(columns)).astype({"arm": arms})
        ordered[kind] = typed.sort_values(RUN, kind="stable", ignore_index=True)
    reasons = ordered["runs"].set_index(run_names(ordered["runs"]))["problems"]
    told = reasons.reindex([run.name for run in plan.runs(Path(name))]).dropna()
    return Study(name, plan, **ordered, problems=told.rename("reason").rename_axis("run").reset_index())


def _read(path: Path, name: str) -> pd.DataFrame:
    try:
        # The values of configurations, like `true` or `0.10`, are text
        settings = [column for column in pd.read_csv(path, nrows=0) if column.startswith(CONFIG)]
        types = dict.fromkeys([*TEXT, *settings], str)
        table = pd.read_csv(path, dtype=types, keep_default_na=False, na_values=[""])
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(f"`{path}` can't be read: {' '.join(str(error).split())}.") from error
    for column in [*RUN, *COLUMNS[name]]:
        if column not in table:
            raise ConfigError(f"`{path}` is not a table of a study: it has no `{column}`.")
    return table


def publish(study: Study, folder: Path) -> None:
    """Writes the tables of a study, and its plan."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "study.yaml", study.plan)
    tables = {name: getattr(study, name) for name in FILES} | {"runs": _differing(_with_problems(study))}
    for name, table in tables.items():
        if name == "evaluation":  # all that was played in a world side by side: half as large when compressed
            table = table.sort_values(["environment", "episode", "rule"], kind="stable")
        unknown = [key for key in table if key not in (*RUN, *COLUMNS[name]) and table[key].isna().all()]
        table.drop(columns=unknown).to_csv(folder / FILES[name], index=False, float_format="%.12g")


def joined(study: Study, published: Study) -> Study:
    """The study, with the finished runs of a published part of it that it hasn't finished itself.

    Raises:
        ConfigError: they differ in more than seeds, or arms that the published part lacks.
    """
    plan = study.plan
    if plan.arms == published.plan.arms:
        plan = plan.model_copy(update={"seeds": tuple(dict.fromkeys([*published.plan.seeds, *plan.seeds]))})
    if key := plan.differs_from(published.plan):
        raise ConfigError(f"with other `{key}`")
    ours, theirs = (_with_problems(each).assign(done=each.runs["steps"].notna()) for each in (study, published))
    # A published study is without the keys in which no run of it differs
    kept = _differing(ours).columns.union(theirs.columns, sort=False)
    runs = pd.concat([ours[ours.columns.intersection(kept)], theirs], ignore_index=True)
    runs = runs.sort_values("done", ascending=False, kind="stable").drop_duplicates(RUN).drop(columns="done")
    tables = {"runs": runs}
    for name in ("training", "evaluation", "metrics"):
        of_others = getattr(published, name).loc[lambda rows: ~run_names(rows).isin(run_names(study.finished))]
        tables[name] = pd.concat([getattr(study, name), of_others], ignore_index=True)
    return _study(study.name, plan, tables)


def _with_problems(study: Study) -> pd.DataFrame:
    """The runs, and what is wrong with each."""
    reasons = study.problems.groupby("run")["reason"].agg("; ".join)
    return study.runs.assign(problems=run_names(study.runs).map(reasons))


def _differing(runs: pd.DataFrame) -> pd.DataFrame:
    """Without the keys of the configurations that no finished run changes and no report reads."""
    unread = [name for name in runs if name.startswith(CONFIG) and name.removeprefix(CONFIG) not in READ]
    finished = runs[runs["steps"].notna()]
    seeds = finished["seed"].map(str)
    same = [name for name in unread if finished[name].nunique(dropna=False) < 2 or (finished[name] == seeds).all()]
    return runs.drop(columns=same)


def run_names(runs: pd.DataFrame) -> pd.Series:
    """As `studies.Run.name`."""
    return runs["arm"].astype(str) + " seed " + runs["seed"].astype(str)


def world_of(episodes: pd.DataFrame) -> pd.Series:
    """What tells the world that each began in from others; NaN where that isn't recorded."""
    return episodes.reindex(columns=list(WORLDS)).bfill(axis=1).iloc[:, 0]
