"""What is tuned: the file that says it, and what it means for each arm of the study.

In `configs/tune/<name>.yaml`, or any file of that kind:

    study: lights_out            # a plan, as for `scripts/study`: its arms are tuned
    trials: 10                   # of each arm, the first with its own settings
    space:                       # by key, the values that it is tried with, in all the arms that have it
      algo.actor.ent_coef: {low: 1e-4, high: 3e-2, log: True}
      algo.actor.optimizer.lr: {low: 1e-4, high: 3e-3, log: True, also: [algo.critic.optimizer.lr]}
      algo.ponder.max_halts: {low: 2, high: 6, integer: True}
      algo.ponder.step: {choice: [refine, dream]}

The other keys are those of `Tuning` and `Range`.
"""

from pathlib import Path
from typing import Annotated, Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from pydantic import Field, field_validator, model_validator

from sheeprl_dnp.checks import Checked, shown
from sheeprl_dnp.runs import MAX_SEED, ConfigError
from sheeprl_dnp.studies import COUNT, Arm, Count, Different, Plan, Seed, Text, read_file
from sheeprl_dnp.study.plan import PLANS, TUNINGS, check_overrides, find_file, find_plan

FILE_NAME = "tuning.yaml"  # in the folder of a tuning: with its plan, so that it is whole by itself
STEPS_KEY = "algo.total_steps"
DIGITS = 3  # significant ones, of the values that are drawn

Value = bool | int | float | str | None
Number = Annotated[float, Field(allow_inf_nan=False)]


class Range(Checked):
    """The values that a key of the configuration is tried with: from `low` to `high`, or those of `choice`."""

    low: Number | None = Field(None, description="a number")
    high: Number | None = Field(None, description="a number")
    log: bool = Field(False, description="True or False")
    integer: bool = Field(False, description="True or False")
    choice: Annotated[tuple[Value, ...], Different] = Field(
        (), description="two values or more, each once", min_length=2
    )
    # Keys that always have the same value as this one
    also: tuple[Text, ...] = Field((), description="a list of keys")
    # The labels of the arms in which the key is tuned; without it, all that have the key
    arms: tuple[Text, ...] = Field((), description="a list of labels of arms")

    def problem(self) -> str | None:
        """Why it is not a range."""
        limits = [self.low, self.high]
        if self.choice:
            return "must have either `low` and `high` or `choice`" if limits != [None, None] else None
        if self.low is None or self.high is None:
            return "must have `low` and `high`, or `choice`"
        if not self.low < self.high:
            return f"must have a `low` below its `high`, not {self.low:g} and {self.high:g}"
        if self.log and self.low <= 0:
            return f"must have a `low` above 0 where it is `log`, not {self.low:g}"
        if self.integer and not (self.low.is_integer() and self.high.is_integer()):
            return f"must be from a whole number to another where it is `integer`, not {self.low:g} to {self.high:g}"
        return None

    @property
    def bounds(self) -> tuple[float, float]:
        assert self.low is not None and self.high is not None
        return (int(self.low), int(self.high)) if self.integer else (self.low, self.high)

    @property
    def ends(self) -> tuple[Value, ...]:
        """The values between which all others are."""
        return self.choice or self.bounds

    @property
    def distribution(self) -> BaseDistribution:
        if self.choice:
            return CategoricalDistribution(self.choice)
        low, high = self.bounds
        if self.integer:
            return IntDistribution(int(low), int(high), log=self.log)
        return FloatDistribution(low, high, log=self.log)

    def has(self, value: Any) -> bool:
        if self.choice:
            return value in self.choice
        (low, high), is_number = self.bounds, isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and low <= value <= high and (not self.integer or float(value).is_integer())

    def rounded(self, value: Value) -> Value:
        """A value of a range of numbers with a few digits; any other one as it is."""
        if self.choice or not isinstance(value, float):
            return value
        low, high = self.bounds
        return min(max(float(f"{value:.{DIGITS}g}"), low), high)

    def __str__(self) -> str:
        if self.choice:
            return f"one of {shown(self.choice)}"
        return f"from {self.low:g} to {self.high:g}{', a whole number' if self.integer else ''}"


class Tuning(Checked):
    """Equal tuning of the arms of a study: as many trials of each, over the same values of what they share."""

    study: Plan = Field(description="the name of a plan, the path of its file, or a plan")
    arms: Annotated[tuple[Text, ...], Different] = Field(
        (), description="a list of labels of arms of the study, each once"
    )
    trials: Count = Field(10, description=COUNT)
    # How long a trial is, as a part of a run of the study
    length: float = Field(0.5, description="a number above 0 and up to 1", gt=0, le=1)
    # The n-th trial of each arm has the n-th seed from here on
    first_seed: Seed = Field(1001, description=f"a whole number from 0 to {MAX_SEED}")
    # In validation worlds, of the last policy of a trial
    episodes: Count = Field(200, description=COUNT)
    # The greatest is the best: a number of an evaluation (`score`), or the mean of one of its episodes' (`return`);
    # without it, `success` where episodes record it, or else `return`
    objective: Text | None = Field(None, description="the name of what an evaluation measures")
    space: dict[str, Range] = Field(description="one key of the configuration or more, with its values", min_length=1)

    @field_validator("space")
    @classmethod
    def _ranges(cls, space: dict[str, Range]) -> dict[str, Range]:
        keys = [key for first, values in space.items() for key in (first, *values.also)]
        if twice := [key for key in keys if keys.count(key) > 1]:
            raise ValueError(f"`space.{twice[0]}` can't be there twice.")
        if STEPS_KEY in keys:
            raise ValueError(f"`space.{STEPS_KEY}` can't be: a tuning sets it, by `length`.")
        check_overrides(keys, "space.")
        for key, values in space.items():
            if problem := values.problem():
                raise ValueError(f"`space.{key}` {problem}.")
        return space

    @model_validator(mode="after")
    def _of_the_study(self) -> "Tuning":
        labels = ", ".join(f"`{label}`" for label in self.study.labels)
        named = {"arms": self.arms} | {f"space.{key}.arms": values.arms for key, values in self.space.items()}
        for key, arms in named.items():
            if unknown := [arm for arm in arms if arm not in self.study.labels]:
                raise ValueError(f"`{key}={shown(unknown)}` must be labels of the study's arms: {labels}.")
        last = self.first_seed + self.trials - 1
        if last > MAX_SEED or any(self.first_seed <= seed <= last for seed in self.study.seeds):
            raise ValueError(
                f"`first_seed={self.first_seed}` must give the {self.trials} trials seeds up to {MAX_SEED} that are "
                f"none of the study's, {shown(self.study.seeds)}."
            )
        return self

    @property
    def tuned(self) -> list[Arm]:
        return [arm for arm in self.study.arms if not self.arms or arm.label in self.arms]


def find_tuning(name: str) -> Path:
    """The file of a tuning: `name` is one that comes along, its path (`….yaml`), or the folder of one that is on.

    Raises:
        ConfigError: it is none of them.
    """
    path = find_file(name, TUNINGS) or Path(name) / FILE_NAME
    if not path.is_file():
        raise ConfigError(
            f"`NAME={name}` must be one of {', '.join(TUNINGS)}, the path of a tuning's file (`….yaml`), or "
            f"the folder of one, with its `{FILE_NAME}`."
        )
    return path


def read_tuning(path: Path) -> Tuning:
    """
    Raises:
        ConfigError: the file can't be read, or isn't a tuning.
    """

    def with_plan(content: dict[str, Any]) -> dict[str, Any]:
        name = content.get("study")
        plan = find_plan(name, path.parent) if isinstance(name, str) else name
        if isinstance(name, str) and plan is None:
            raise ConfigError(
                f"`study={name}` is not a study: it must be one of {', '.join(PLANS)}, or the path of a plan, `….yaml`."
            )
        return content | ({"study": plan} if plan else {})

    return read_file(Tuning, path, "a tuning: it must have the keys `study` and `space`", with_plan)
