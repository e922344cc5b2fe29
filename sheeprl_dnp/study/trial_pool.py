"""The trials of a tuning on this machine: so many at a time, each in a process of its own, with their progress."""

import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.studies import Run
from sheeprl_dnp.study.pool import POLL_SECONDS, RunProcess, played_steps, start, terminated_at_the_end
from sheeprl_dnp.study.trial_run import outcome, prepare, remove_checkpoints, run_of
from sheeprl_dnp.study.trials import ArmTrials, Outcome, Trial, save_best, save_table
from sheeprl_dnp.study.tuning import Tuning


class TrialPool:
    """Runs the trials of all arms, in turn, so that a tuning that was cut short is an equal one."""

    def __init__(self, folder: Path, tuning: Tuning, arms: Sequence[ArmTrials], threads: int) -> None:
        self._folder, self._tuning, self._arms, self._threads = folder, tuning, arms, threads
        self._arm_of = {arm.tuned.arm.label: arm for arm in arms}
        self._trials: dict[Run, Trial] = {}
        self._running: dict[Run, RunProcess] = {}
        self._bar = Bar(folder, tuning, arms)

    def run(self, processes: int) -> None:
        """Returns when all are told, but for those that were stopped from outside."""
        waiting = [trial for arm in self._arms for trial in arm.untold()]
        self._save()
        with self._bar.progress, terminated_at_the_end(self._running):
            while waiting or self._running or self._arm_to_ask():
                while len(self._running) < processes and (trial := self._next(waiting)):
                    self._start(trial)
                self._collect()
                self._bar.update(self._running)
                time.sleep(POLL_SECONDS)

    def _next(self, waiting: list[Trial]) -> Trial | None:
        if waiting:
            return waiting.pop(0)
        arm = self._arm_to_ask()
        return arm.ask() if arm else None

    def _arm_to_ask(self) -> ArmTrials | None:
        arm = min(self._arms, key=lambda arm: arm.asked)
        return arm if arm.asked < self._tuning.trials else None

    def _start(self, trial: Trial) -> None:
        if trial.outcome:  # stopped before it was told
            return self._tell(trial, trial.outcome)
        try:
            run = prepare(trial, self._tuning)
        except ConfigError as error:
            return self._tell(trial, Outcome(reason=str(error)))
        self._trials[run], self._running[run] = trial, start(run, self._threads)
        self._bar.say(f"{trial.name}, seed {trial.seed}: {' '.join(trial.tuned.overrides(trial.settings))}")
        self._save()

    def _collect(self) -> None:
        for run, job in list(self._running.items()):
            code = job.process.poll()
            if code is None:
                continue
            del self._running[run]
            trial = self._trials.pop(run)
            if not run.is_finished and (code < 0 or code > 128):  # by a signal
                self._bar.say(f"{trial.name}: stopped from outside; the same command goes on with it")
            else:
                self._tell(trial, outcome(run, self._tuning.objective, job.error()))

    def _tell(self, trial: Trial, ended: Outcome) -> None:
        trial.end(ended)
        remove_checkpoints(run_of(trial))
        self._arm_of[trial.tuned.arm.label].tell(trial, ended)
        self._save()
        said = f"failed: {ended.reason}" if ended.objective is None else f"{ended.measure} {ended.objective:.3g}"
        told, of = sum(arm.told for arm in self._arms), len(self._arms) * self._tuning.trials
        self._bar.say(f"{trial.name}: {said} ({told} of {of} trials have ended)")

    def _save(self) -> None:
        save_table(self._folder, self._tuning, self._arms)
        save_best(self._folder, self._tuning, self._arms)


class Bar:
    """The progress of a tuning in steps of its trainings; plain lines where there is no terminal."""

    def __init__(self, folder: Path, tuning: Tuning, arms: Sequence[ArmTrials]) -> None:
        self._arms = arms
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
        times = (TimeElapsedColumn(), TimeRemainingColumn())
        self.progress = Progress(*columns, *times, console=console, disable=not console.is_terminal)
        total = sum(arm.tuned.total_steps * tuning.trials for arm in arms)
        self._task = self.progress.add_task(folder.absolute().name, total=total)

    def say(self, text: str) -> None:
        if self.progress.disable:
            print(text, file=sys.stderr, flush=True)
        else:
            self.progress.console.print(text, highlight=False, markup=False)

    def update(self, running: Iterable[Run]) -> None:
        told = sum(arm.tuned.total_steps * arm.told for arm in self._arms)
        self.progress.update(self._task, completed=told + sum(map(played_steps, running)))
