"""The trials of a tuning: what Optuna is asked and told of each arm, and what each of them is and gave.

<tuning>/
  tuning.yaml                       what is tuned: see `sheeprl_dnp.study.tuning`
  trials.sqlite3                    a study of Optuna for each arm, by its label
  trials/<arm>/<number>/            a trial: the folder of a study of one run (its checkpoints go when it has ended)
    outcome.json                    how it ended
  trials.csv                        a row for each trial
  best.yaml                         the arms with their best settings, for the plan of a study
"""

import json
import math
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import yaml
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from sheeprl_dnp.runs import ConfigError, replace_file, write_json
from sheeprl_dnp.studies import Run
from sheeprl_dnp.study.tuned_arms import Settings, TunedArm
from sheeprl_dnp.study.tuning import Tuning

WORST = -math.inf  # what Optuna is told of a trial that failed
ASKED = (TrialState.RUNNING, TrialState.COMPLETE)


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
    value: float | None  # what Optuna was told; None: the trial hasn't ended

    @property
    def name(self) -> str:
        return f"{self.tuned.arm.label} trial {self.number}"

    @property
    def run(self) -> Run:
        return Run(self.folder, self.tuned.in_trial(self.settings), self.seed)

    @property
    def outcome(self) -> Outcome | None:
        path = self.folder / "outcome.json"
        return Outcome(**json.loads(path.read_text())) if path.is_file() else None

    def end(self, outcome: Outcome) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "outcome.json", asdict(outcome))

    def row(self) -> dict[str, Any]:
        outcome = asdict(self.outcome or Outcome()) if self.value is not None else {}
        state = "running" if self.value is None else "failed" if self.value == WORST else "finished"
        named = {"arm": self.tuned.arm.label, "number": self.number, "seed": self.seed, **self.settings}
        return outcome | named | {"objective": self.value, "state": state}


class ArmTrials:
    """The trials of one arm."""

    def __init__(self, tuned: TunedArm, tuning: Tuning, folder: Path, storage: RDBStorage) -> None:
        self.tuned = tuned
        self._tuning, self._folder = tuning, folder / "trials" / tuned.arm.folder
        self._study = optuna.create_study(
            storage=storage, study_name=tuned.arm.label, direction="maximize", load_if_exists=True
        )
        self._check_goes_on()
        for trial in self._study.get_trials(states=[TrialState.RUNNING]):
            if trial.params.keys() != tuned.space.keys():
                self._study.tell(trial.number, state=TrialState.FAIL)  # stopped while it was asked for
        if not self._study.get_trials(states=[*ASKED, TrialState.WAITING]):
            self._study.enqueue_trial(dict(tuned.own))

    def _check_goes_on(self) -> None:
        """Raises a ConfigError where the trials that are there are another tuning's, and not just of fewer trials."""
        asked = self._tuning.model_dump(mode="json")
        known = self._study.user_attrs.get("tuning", asked)
        for key, value in asked.items():
            if value != known[key] and not (key == "trials" and value > known[key]):
                raise ConfigError(
                    f"`{key}` is not that of the trials in `{self._folder.parents[1]}`: leave it as it was, or name "
                    "another `--folder` (only more `trials` can be added)."
                )
        self._study.set_user_attr("tuning", asked)

    def _asked(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False, states=ASKED)

    def all(self) -> list[Trial]:
        """Those that were asked for."""
        seed, tried = self._tuning.first_seed, self.tuned.tried
        return [
            Trial(self.tuned, number, seed + number, tried(frozen.params), self._folder / str(number), frozen.value)
            for number, frozen in enumerate(self._asked())
        ]

    def untold(self) -> list[Trial]:
        return [trial for trial in self.all() if trial.value is None]

    def told(self) -> list[Trial]:
        return [trial for trial in self.all() if trial.value is not None]

    def ask(self) -> Trial:
        """The next one: the first has the arm's own settings, those of the first half depend on their number alone."""
        self._study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=self._tuning.trials // 2,  # that have ended
            seed=self._tuning.first_seed + len(self._asked()),
        )
        self._study.ask({key: values.distribution for key, values in self.tuned.space.items()})
        return self.all()[-1]

    def tell(self, trial: Trial, outcome: Outcome) -> None:
        trial.end(outcome)
        value = WORST if outcome.objective is None else outcome.objective
        self._study.tell(self._asked()[trial.number].number, value)

    def best(self) -> Trial | None:
        """The first of those with the greatest objective."""
        well = [(trial.value, trial) for trial in self.told() if trial.value is not None and trial.value > WORST]
        return max(well, key=lambda pair: pair[0])[1] if well else None

    def summary(self) -> str:
        """What the best settings of the arm are, and what they are worth."""
        best, told, label = self.best(), len(self.told()), self.tuned.arm.label
        if not best:
            return f"{label}: none of the {told} trials that have ended was without failure"
        chosen, own = best.row(), self.all()[0].value
        before = "" if own is None else f", {own:.3g} with its own settings"
        of = f"trial {best.number}, after {told} of {self._tuning.trials}"
        said = f"{label}: {chosen['measure']} {best.value:.3g}{before} ({of})"
        return f"{said}\n  {' '.join(self.tuned.overrides(best.settings))}"


def open_arms(folder: Path, tuning: Tuning, tuned: Sequence[TunedArm]) -> list[ArmTrials]:
    """The trials of each arm, those that the folder has among them.

    Raises:
        ConfigError: the folder has those of another tuning.
    """
    path = folder.absolute() / "trials.sqlite3"
    # No part of the URL, where some characters of a path have a meaning
    storage = RDBStorage("sqlite:///trials.sqlite3", engine_kwargs={"creator": lambda: sqlite3.connect(path)})
    return [ArmTrials(arm, tuning, folder.absolute(), storage) for arm in tuned]


def save(folder: Path, tuning: Tuning, arms: Sequence[ArmTrials]) -> None:
    """Writes a row for each trial, arm after arm, and the arms with their best settings so far, as a plan has them."""
    columns = ["arm", "number", "seed", *tuning.space, "objective", "measure", "steps", "updates", "cpu_s", "state"]
    rows = [trial.row() for arm in arms for trial in arm.all()]
    table = pd.DataFrame(rows, columns=[*columns, "reason"], dtype=object)  # empty where an arm hasn't the key
    replace_file(folder / "trials.csv", table.to_csv(index=False))
    found = [arm.tuned.with_settings(best.settings).model_dump(mode="json") for arm in arms if (best := arm.best())]
    content = yaml.safe_dump({"arms": found}, sort_keys=False, allow_unicode=True, width=120)
    comments = "".join(f"# {line}\n" for arm in arms for line in arm.summary().splitlines())
    replace_file(folder / "best.yaml", comments + content)
