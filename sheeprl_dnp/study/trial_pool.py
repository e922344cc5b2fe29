"""The trials of a tuning on this machine: so many at a time, each in a process of its own."""

from collections.abc import Sequence
from pathlib import Path

from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.studies import Run
from sheeprl_dnp.study.pool import Bars, RunProcess, played_steps, run_pool
from sheeprl_dnp.study.trial_run import outcome, prepare, remove_checkpoints, run_of
from sheeprl_dnp.study.trials import ArmTrials, Outcome, Trial, save_best, save_table
from sheeprl_dnp.study.tuning import Tuning


class TrialPool:
    """Runs the trials of all arms, in turn, so that a tuning that was cut short is an equal one."""

    def __init__(self, folder: Path, tuning: Tuning, arms: Sequence[ArmTrials], threads: int) -> None:
        self._folder, self._tuning, self._arms, self._threads = folder, tuning, arms, threads
        self._arm_of = {arm.tuned.arm.label: arm for arm in arms}
        self._waiting = [trial for arm in arms for trial in arm.untold()]
        self._running: dict[Run, Trial] = {}
        total = sum(arm.tuned.total_steps * tuning.trials for arm in arms)
        self._bars = Bars(folder.absolute().name, total, self._completed)

    def run(self, processes: int) -> None:
        """Returns when all are told, but for those that were stopped from outside."""
        self._save()
        run_pool(self._next_run, self._ended, self._bars, processes=processes, threads=self._threads)

    def _completed(self) -> int:
        told = sum(arm.tuned.total_steps * arm.told for arm in self._arms)
        return told + sum(map(played_steps, self._running))

    def _next_run(self) -> tuple[Run, int] | None:
        while trial := self._next_trial():
            if trial.outcome:  # stopped before it was told
                self._tell(trial, trial.outcome)
                continue
            try:
                run = prepare(trial, self._tuning)
            except ConfigError as error:
                self._tell(trial, Outcome(reason=str(error)))
                continue
            self._running[run] = trial
            settings = " ".join(trial.tuned.overrides(trial.settings))
            self._bars.say(f"{trial.name}, seed {trial.seed}: {settings}")
            self._save()
            return run, trial.tuned.total_steps
        return None

    def _next_trial(self) -> Trial | None:
        if self._waiting:
            return self._waiting.pop(0)
        arm = min(self._arms, key=lambda arm: arm.asked)
        return arm.ask() if arm.asked < self._tuning.trials else None

    def _ended(self, run: Run, job: RunProcess) -> None:
        trial, code = self._running.pop(run), job.process.returncode
        if not run.is_finished and (code < 0 or code > 128):  # by a signal
            self._bars.say(f"{trial.name}: stopped from outside; the same command goes on with it")
        else:
            self._tell(trial, outcome(run, self._tuning.objective, job.error()))

    def _tell(self, trial: Trial, ended: Outcome) -> None:
        trial.end(ended)
        remove_checkpoints(run_of(trial))
        self._arm_of[trial.tuned.arm.label].tell(trial, ended)
        self._save()
        said = f"failed: {ended.reason}" if ended.objective is None else f"{ended.measure} {ended.objective:.3g}"
        told, of = sum(arm.told for arm in self._arms), len(self._arms) * self._tuning.trials
        self._bars.say(f"{trial.name}: {said} ({told} of {of} trials have ended)")

    def _save(self) -> None:
        save_table(self._folder, self._tuning, self._arms)
        save_best(self._folder, self._tuning, self._arms)
