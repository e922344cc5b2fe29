"""A study from the outside: its plan (`study.yaml`), and what is where in its folder while it runs.

<study>/
  study.yaml                  arms, seeds, evaluations: see `Plan`
  arms/<arm>.yaml             the configuration that its runs are started with
  runs/<arm>/seed_<s>/        one run, in SheepRL's own layout:
    version_<n>/              one for each time it was started: config.yaml, episodes.jsonl, checkpoint/
    attempt_<n>.json          when it was started, for how long it ran, on what machine
    costs.json                parameters and FLOPs
    metrics.csv               what was logged, by step: the pondering and the losses
    evaluation_<name>.json    frozen policy: `default` by the rule that it was trained with, or see `Evaluation.name`
    finished.json             written last: the run is whole
  report/                     made from all this by `scripts/report`

A published study (`scripts/study FOLDER --publish`) has tables in place of `arms/` and `runs/`: see `report.tables`.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import AfterValidator, BaseModel, Field, field_validator, model_validator
from sheeprl.utils.utils import dotdict

from sheeprl_dnp.checks import Checked, check, shown
from sheeprl_dnp.dreamer_v3_ponder.config import COUNT, SHUFFLED, Count, ponders, samples_halting
from sheeprl_dnp.episodes import checkpoint_step, versions
from sheeprl_dnp.runs import MAX_SEED, ConfigError, replace_file

OWN_RULE = "default"  # the evaluation by the halting rule that an agent was trained with
DREAM = "dream_"  # with a number after it, the rule of an agent that looks ahead

Seed = Annotated[int, Field(strict=True, ge=0, le=MAX_SEED)]
Text = Annotated[str, Field(min_length=1)]

M = TypeVar("M", bound=BaseModel)

OVERRIDES = "a list of overrides of Hydra, `key=value`"
COUNTS = "a list of whole numbers from 1, each once"
STEPS = f"a list of whole numbers from 1 and `{SHUFFLED}`, each once"


def different(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Raises a ValueError where one occurs twice."""
    if len(set(values)) < len(values):
        raise ValueError
    return values


Different = AfterValidator(different)


class Arm(Checked):
    """One arm of a study. In YAML, the name of an experiment alone is an arm with that name as its label."""

    label: str = Field(description="the name that people read, with a letter or digit", pattern="[A-Za-z0-9]")
    exp: Text = Field(description="the name of an experiment (`exp=`)")
    overrides: tuple[Text, ...] = Field((), description=OVERRIDES)

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, data: Any) -> Any:
        return {"label": data, "exp": data} if isinstance(data, str) else data

    @property
    def folder(self) -> str:
        """The name of its folder: the label, without what a path or an override of Hydra can't have."""
        if re.fullmatch(r"[\w.-]+", self.label, re.ASCII):
            return self.label
        return re.sub(r"[^\w.]+", "_", self.label, flags=re.ASCII).strip("_")


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of a frozen policy: by what rule it acts, and where."""

    rule: str  # `default`, a number of ponder steps, `shuffled`, or `dream_<n>`
    episodes: int
    steps: int | str | None = None  # as `scripts/evaluate --steps`
    dream: int | None = None  # as `scripts/evaluate --dream`
    environment: str | None = None  # the name of one of `Evaluations.environments`; None: that of the training
    overrides: tuple[str, ...] = ()  # of that environment

    @property
    def name(self) -> str:
        return f"{self.rule}@{self.environment}" if self.environment else self.rule


class Evaluations(Checked):
    """The evaluations of the last checkpoint of each run."""

    # With the halting rule of the training
    episodes: Count = Field(100, description=COUNT)
    # Tried in turn on agents that ponder: numbers of ponder steps, and `shuffled` on those that sample them
    forced_steps: Annotated[tuple[Count | Literal["shuffled"], ...], Different] = Field((), description=STEPS)
    # Numbers of actions: any agent then takes the best of its n most probable ones, as it foresees their outcomes (one
    # head of discrete actions)
    dream: Annotated[tuple[Count, ...], Different] = Field((), description=COUNTS)
    # For each of these numbers
    forced_episodes: Count = Field(50, description=COUNT)
    worlds: Literal["validation", "evaluation"] = Field("evaluation", description="one of validation, evaluation")
    # Other environments than that of the training, by name: overrides of `env.`. There, too, all this is played
    environments: dict[str, tuple[Text, ...]] = Field({}, description="names with lists of overrides, `env.key=value`")

    @field_validator("environments")
    @classmethod
    def _named(cls, environments: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name, overrides in environments.items():
            if not re.fullmatch(r"[\w.-]+", name):
                raise ValueError(f"`evaluations.environments`: the name `{name}` must be of letters, digits, `.-_`.")
            if not overrides or not all(re.match(r"env\.[\w.]+=", override) for override in overrides):
                key = f"evaluations.environments.{name}"
                raise ValueError(
                    f"`{key}={shown(overrides)}` must be one override or more of the environment, `env.key=value`."
                )
        return environments

    @model_validator(mode="after")
    def _enough_to_shuffle(self) -> "Evaluations":
        if SHUFFLED in self.forced_steps and self.forced_episodes < 2:
            raise ValueError(
                f"`forced_episodes={self.forced_episodes}` must be from 2, since `forced_steps` has `{SHUFFLED}`."
            )
        return self

    def of(self, algo: dotdict | None) -> list[Evaluation]:
        """Those of an agent of this configuration (None: unknown)."""
        forced = [steps for steps in self.forced_steps if steps != SHUFFLED or samples_halting(algo or {})]
        few = self.forced_episodes
        rules = [Evaluation(OWN_RULE, self.episodes)]
        rules += [Evaluation(str(steps), few, steps=steps) for steps in forced if ponders(algo or {})]
        rules += [Evaluation(f"{DREAM}{count}", few, dream=count) for count in self.dream]
        places = self.environments.items()
        return rules + [replace(rule, environment=name, overrides=where) for name, where in places for rule in rules]


class Plan(Checked):
    """What `study.yaml` says: the first arm is what the others are compared with."""

    arms: tuple[Arm, ...] = Field(description="one arm or more, each label once", min_length=1)
    seeds: Annotated[tuple[Seed, ...], Different] = Field(
        description=f"one whole number or more from 0 to {MAX_SEED}, each once", min_length=1
    )
    overrides: tuple[Text, ...] = Field((), description=f"{OVERRIDES}, for all the runs")
    evaluations: Evaluations = Field(Evaluations(), description="keys with values")

    @field_validator("arms")
    @classmethod
    def _distinct_arms(cls, arms: tuple[Arm, ...]) -> tuple[Arm, ...]:
        folders = [arm.folder.lower() for arm in arms]
        if twice := [arm.label for arm, folder in zip(arms, folders, strict=True) if folders.count(folder) > 1]:
            raise ValueError(f"`arms`: the labels {', '.join(f'`{label}`' for label in twice)} must differ in a word.")
        return arms

    @property
    def labels(self) -> list[str]:
        return [arm.label for arm in self.arms]

    def differs_from(self, part: "Plan") -> str | None:
        """The first key in which it is not that plan, with arms or seeds in addition; None if it is."""
        for key in Plan.model_fields:
            ours, theirs = getattr(self, key), getattr(part, key)
            if ours != theirs and not (key in ("arms", "seeds") and set(theirs) <= set(ours)):
                return key
        return None

    def runs(self, study: Path) -> list["Run"]:
        """All the runs, one seed after another, so that a study that was cut short has whole comparisons."""
        return [Run(study, arm, seed) for seed in self.seeds for arm in self.arms]


@dataclass(frozen=True)
class Run:
    """One arm with one seed."""

    study: Path
    arm: Arm
    seed: int

    @property
    def folder(self) -> Path:
        return self.study / "runs" / self.arm.folder / f"seed_{self.seed}"

    @property
    def name(self) -> str:
        return f"{self.arm.label} seed {self.seed}"

    @property
    def is_finished(self) -> bool:
        return (self.folder / "finished.json").is_file()

    @property
    def was_killed(self) -> bool:
        """Whether a signal ended the last attempt at its training."""
        attempts = list(self.folder.glob("attempt_*.json"))
        return bool(attempts) and (self.load(f"attempt_{len(attempts) - 1}.json")["exit"] or 0) < 0

    def checkpoints(self) -> list[Path]:
        """From the oldest to the newest."""
        found = [path for folder in versions(self.folder) for path in folder.glob("checkpoint/*.ckpt")]
        return sorted(found, key=checkpoint_step)

    def load(self, name: str) -> Any:
        """The content of one of the JSON files of the run.

        Raises:
            OSError, ValueError: it is missing or damaged.
        """
        return json.loads((self.folder / name).read_text())


def read_file(model: type[M], path: Path, what: str, prepare: Callable[[dict[str, Any]], Any] = dict) -> M:
    """The data in a file of YAML, which is read as Hydra does: `1e-4` is a number.

    Args:
        what: it should be, and have.
        prepare: gives what is checked, from what is in the file.

    Raises:
        ConfigError: it can't be read, or isn't data of this model.
    """
    try:
        content = OmegaConf.to_container(OmegaConf.create(path.read_text()))
    except OSError as error:
        raise ConfigError(f"`{path}` can't be read: {error.strerror}.") from error
    except (yaml.YAMLError, UnicodeDecodeError, OmegaConfBaseException) as error:
        raise ConfigError(f"`{path}` is not YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(content, dict):
        raise ConfigError(f"`{path}` is not {what}.")
    try:
        return check(model, prepare({str(key): value for key, value in content.items()}))
    except ConfigError as error:
        raise ConfigError(f"`{path}`: {error}") from error


def write_file(path: Path, data: BaseModel) -> None:
    content = data.model_dump(mode="json", exclude_defaults=True)
    replace_file(path, yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120))


def read_plan(path: Path) -> Plan:
    """Raises a ConfigError where the file can't be read, or isn't a plan."""
    return read_file(Plan, path, "the plan of a study: it must have the keys `arms` and `seeds`")


def read_study(study: Path) -> Plan:
    """The plan of the study in a folder.

    Raises:
        ConfigError: there is no study in the folder, or its `study.yaml` isn't one.
    """
    if not (study / "study.yaml").is_file():
        raise ConfigError(f"`{study}` is not a study: it must be a folder with a `study.yaml`.")
    return read_plan(study / "study.yaml")
