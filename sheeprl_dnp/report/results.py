"""All that a report says, as numbers: tables, which the text and the figures show."""

from dataclasses import dataclass, fields
from typing import Any

import pandas as pd

from sheeprl_dnp.crafter_score import BUDGET
from sheeprl_dnp.report import configuration, curves, frozen, measures, statistics
from sheeprl_dnp.report.measures import seeds
from sheeprl_dnp.report.tables import CONFIG, RUN, Study, own_rule
from sheeprl_dnp.runs import ConfigError

DIGITS = 10  # significant ones, of each number


@dataclass(frozen=True)
class Results:
    """What a study shows; see the functions that make the tables."""

    study: Study
    budget: int  # environment steps of the shortest run
    bin: int  # environment steps
    worlds: dict[str, Any]
    trained_steps: dict[str, int]
    prior: dict[str, list[float]]
    problems: pd.DataFrame
    runs: pd.DataFrame
    summary: pd.DataFrame
    between_arms: pd.DataFrame
    learning_curves: pd.DataFrame
    achievements: pd.DataFrame
    halting: pd.DataFrame
    by_rule: pd.DataFrame
    gains: pd.DataFrame
    differences_by_difficulty: pd.DataFrame
    correlations: pd.DataFrame
    configurations: pd.DataFrame

    @property
    def arms(self) -> list[str]:
        return self.study.plan.labels

    @property
    def plays_crafter(self) -> bool:
        return len(self.achievements) > 0

    @property
    def has_published_budget(self) -> bool:
        """Whether it is as long as the published runs of Crafter."""
        return self.plays_crafter and self.budget == BUDGET

    def as_json(self) -> dict[str, Any]:
        """The tables as lists of rows, NaN as null, without the last digits, which depend on the processor."""
        content = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "study"}
        content["runs"] = self.runs[[name for name in self.runs if not name.startswith(CONFIG)]].reset_index()
        content["configurations"] = configuration.differences(self.configurations).reset_index()
        return {"study": self.study.name, "arms": self.arms, **{key: _plain(value) for key, value in content.items()}}


def _plain(value: Any) -> Any:
    if isinstance(value, pd.DataFrame):
        return [_plain(row) for row in value.to_dict("records")]
    if isinstance(value, dict):
        return {str(key): _plain(element) for key, element in value.items()}
    if isinstance(value, list):
        return [_plain(element) for element in value]
    if isinstance(value, float):
        return None if pd.isna(value) else float(f"{value:.{DIGITS}g}")
    return value


def analyse(study: Study) -> Results:
    """
    Raises:
        ConfigError: no run is finished.
    """
    if study.finished.empty:
        reasons = "; ".join(study.problems["run"] + ": " + study.problems["reason"])
        raise ConfigError(f"`{study.name}` has no finished run to report ({reasons}).")
    budget, by_run = measures.budget(study), measures.by_run(study)
    return Results(
        study=study,
        budget=budget,
        bin=curves.bin_size(budget),
        worlds=frozen.worlds(study),
        trained_steps=frozen.trained_steps(study),
        prior=frozen.prior(study),
        problems=pd.concat([study.problems, _without_episodes(study, budget)], ignore_index=True),
        runs=by_run,
        summary=measures.summary(by_run, study.first),
        between_arms=_between_arms(study, by_run),
        learning_curves=curves.learning_curves(study),
        achievements=curves.achievements(study),
        halting=curves.halting(study),
        by_rule=frozen.by_rule(study),
        gains=frozen.gains(study),
        differences_by_difficulty=frozen.differences_by_difficulty(study),
        correlations=frozen.correlations(study),
        configurations=configuration.configurations(study),
    )


def _without_episodes(study: Study, budget: int) -> pd.DataFrame:
    """The runs whose training episodes all ended after the shortest run."""
    first = study.training.groupby(RUN, observed=True)["step"].min()
    late = first.index[first > budget]
    reason = f"none of its episodes ended within the first {budget:,} steps: reported without its training episodes"
    return pd.DataFrame({"run": [f"{arm} seed {seed}" for arm, seed in late], "reason": reason})


def _between_arms(study: Study, by_run: pd.DataFrame) -> pd.DataFrame:
    """Each arm less each one before it: `measure, arm, than, value, low, high, n`."""
    graded = own_rule(study.evaluation).dropna(subset="difficulty")
    hardest = graded["difficulty"].max()
    compared = {
        "score of the training episodes (%)": by_run["training_score"],
        "reward of an episode, frozen policy": by_run["frozen_reward"],
    }
    if graded["difficulty"].nunique() > 1:
        title = f"reward of an episode of the highest difficulty, {hardest:g}, frozen policy"
        compared[title] = graded[graded["difficulty"] == hardest].groupby(RUN, observed=True)["return"].mean()
    pairs = [{"measure": name, **pair} for name, runs in compared.items() for pair in measures.between(seeds(runs))]
    return pd.DataFrame(pairs, columns=["measure", "arm", "than", *statistics.ESTIMATE])
