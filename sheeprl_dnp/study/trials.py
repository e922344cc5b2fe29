"""The trials of a tuning: which are asked of Optuna, what it is told of them, their table, and the best of each arm.

<tuning>/
  tuning.yaml                       what is tuned: see `sheeprl_dnp.study.tuning`
  trials.sqlite3                    a study of Optuna for each arm, by its label
  trials/<arm>/<number>/            a trial: the folder of a study of one run (its checkpoints go when it has ended)
    outcome.json                    how it ended
  trials.csv                        a row for each trial
  best.yaml                         the arms with their best settings, for the plan of a study
"""

import csv
import json
import math
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import optuna
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from sheeprl_dnp.runs import replace_file, write_json
from sheeprl_dnp.studies import Arm
from sheeprl_dnp.study.tuned_arms import Settings, TunedArm
from sheeprl_dnp.study.tuning import STEPS_KEY, Range, Tuning, Value

WORST = -math.inf  # what Optuna is told of a trial that failed
DIGITS = 3  # significant ones, of the values that are drawn


@dataclass(frozen=True)
class Outcome:
    """How a trial ended."""

    objective: float | None = None  # None: it failed
    measure: str | None = None  # what the objective is
    reason: str | None = None  # why it failed
    steps: int | None = None
    updates: int | None = None
    cpu_s: float | None = None  # of the training


@dataclass(frozen=True)
class Trial:
    """Settings of an arm, tried with one seed."""

    tuned: TunedArm
    number: int  # from 0, in its arm
    seed: int
    settings: Settings
    folder: Path

    @property
    def name(self) -> str:
        return f"{self.tuned.arm.label} trial {self.number}"

    @property
    def arm(self) -> Arm:
        return self.tuned.with_settings(self.settings, f"{STEPS_KEY}={self.tuned.total_steps}")

    @property
    def outcome(self) -> Outcome | None:
        path = self.folder / "outcome.json"
        return Outcome(**json.loads(path.read_text())) if path.is_file() else None

    def end(self, outcome: Outcome) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "outcome.json", asdict(outcome))


class ArmTrials:
    """The trials of one arm."""

    def __init__(self, tuned: TunedArm, tuning: Tuning, folder: Path, storage: RDBStorage) -> None:
        self.tuned = tuned
        self._tuning, self._folder = tuning, folder / "trials" / tuned.arm.folder
        self._distributions = {key: distribution(values) for key, values in tuned.space.items()}
        self._study = optuna.create_study(
            storage=storage, study_name=tuned.arm.label, direction="maximize", load_if_exists=True
        )
        for trial in self._known():
            if trial.state == TrialState.RUNNING and trial.params.keys() != tuned.space.keys():
                self._study.tell(trial.number, state=TrialState.FAIL)  # stopped while it was asked for
        if not self._known():
            self._study.enqueue_trial(dict(tuned.own))

    def _known(self) -> list[FrozenTrial]:
        return [trial for trial in self._study.get_trials(deepcopy=False) if trial.state != TrialState.FAIL]

    def _trial(self, number: int, frozen: FrozenTrial) -> Trial:
        settings = {key: self._value(key, frozen.params[key]) for key in self.tuned.space}
        return Trial(self.tuned, number, self._tuning.first_seed + number, settings, self._folder / str(number))

    def _value(self, key: str, drawn: Value) -> Value:
        """What is tried: the arm's own value, or the drawn one, rounded."""
        values = self.tuned.space[key]
        if drawn == self.tuned.own[key] or not isinstance(drawn, float) or values.choice:
            return drawn
        return min(max(float(f"{drawn:.{DIGITS}g}"), values.bounds[0]), values.bounds[1])

    @property
    def asked(self) -> int:
        return len(self.all())

    @property
    def told(self) -> int:
        """How many have ended."""
        return self.asked - len(self.untold())

    def all(self) -> list[tuple[Trial, FrozenTrial]]:
        """Those that were asked for, each with what Optuna knows of it."""
        asked = [frozen for frozen in self._known() if frozen.state != TrialState.WAITING]
        return [(self._trial(number, frozen), frozen) for number, frozen in enumerate(asked)]

    def untold(self) -> list[Trial]:
        return [trial for trial, frozen in self.all() if frozen.state == TrialState.RUNNING]

    def ask(self) -> Trial:
        """The next one: the first has the arm's own settings, those up to the half depend on their number alone."""
        number = self.asked
        self._study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=self._tuning.trials // 2 + 1,  # among them the one that is asked for
            seed=self._tuning.first_seed + number,
        )
        self._study.ask(fixed_distributions=self._distributions)
        return self.all()[number][0]

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        _, frozen = self.all()[trial.number]
        self._study.tell(frozen.number, WORST if outcome.objective is None else outcome.objective)

    def best(self) -> Trial | None:
        """The first of those with the greatest objective."""
        ended = [(trial, frozen.value) for trial, frozen in self.all() if frozen.state == TrialState.COMPLETE]
        well = [(trial, value) for trial, value in ended if value is not None and value > WORST]
        return max(well, key=lambda pair: pair[1])[0] if well else None

    def rows(self) -> Iterator[dict[str, Any]]:
        for trial, frozen in self.all():
            told = frozen.state == TrialState.COMPLETE
            outcome = asdict(trial.outcome or Outcome()) if told else {}
            state = "running" if not told else "failed" if frozen.value == WORST else "finished"
            named = {"arm": self.tuned.arm.label, "number": trial.number, "seed": trial.seed, **trial.settings}
            yield outcome | named | {"objective": frozen.value if told else None, "state": state}


def distribution(values: Range) -> BaseDistribution:
    if values.choice:
        return CategoricalDistribution(values.choice)
    low, high = values.bounds
    if values.integer:
        return IntDistribution(int(low), int(high), log=values.log)
    return FloatDistribution(low, high, log=values.log)


def open_arms(folder: Path, tuning: Tuning, tuned: Sequence[TunedArm]) -> list[ArmTrials]:
    """The trials of each arm, those that the folder has among them."""
    path = folder.absolute() / "trials.sqlite3"
    # No part of the URL, where some characters of a path have a meaning
    storage = RDBStorage("sqlite:///trials.sqlite3", engine_kwargs={"creator": lambda: sqlite3.connect(path)})
    return [ArmTrials(arm, tuning, folder.absolute(), storage) for arm in tuned]


def save_table(folder: Path, tuning: Tuning, arms: Sequence[ArmTrials]) -> None:
    """Writes a row for each trial, arm after arm; a key that isn't tuned in an arm is empty there."""
    names = ["arm", "number", "seed", *tuning.space, "objective", "measure"]
    table = StringIO()
    writer = csv.DictWriter(table, [*names, "steps", "updates", "cpu_s", "state", "reason"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(row for arm in arms for row in arm.rows())
    replace_file(folder / "trials.csv", table.getvalue())


def save_best(folder: Path, tuning: Tuning, arms: Sequence[ArmTrials]) -> None:
    """Writes the arms with their best settings so far, as the plan of a study has them."""
    found = [arm.tuned.with_settings(best.settings) for arm in arms if (best := arm.best())]
    content = yaml.safe_dump(
        {"arms": [arm.model_dump(mode="json") for arm in found]}, sort_keys=False, allow_unicode=True, width=120
    )
    comments = "".join(f"# {line}\n" for arm in arms for line in summary(arm, tuning).splitlines())
    replace_file(folder / "best.yaml", comments + content)


def summary(arm: ArmTrials, tuning: Tuning) -> str:
    """What the best settings of an arm are, and what they are worth."""
    rows, best, label = list(arm.rows()), arm.best(), arm.tuned.arm.label
    if not best:
        return f"{label}: none of the {arm.told} trials that have ended was without failure"
    chosen, own = rows[best.number], rows[0]["objective"]
    before = "" if own is None else f", {own:.3g} with its own settings"
    of = f"trial {best.number}, after {arm.told} of {tuning.trials}"
    said = f"{label}: {chosen['measure']} {chosen['objective']:.3g}{before} ({of})"
    return f"{said}\n  {' '.join(arm.tuned.overrides(best.settings))}"
