"""`scripts/tune NAME`: the same number of trials for each arm of a study; safe to stop and start again at any point."""

import argparse
import contextlib
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import filelock
import optuna

from sheeprl_dnp.arguments import add_pool, command_parser, one_sentence, resumable, threads_of
from sheeprl_dnp.episodes import versions
from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.studies import Evaluations, write_file
from sheeprl_dnp.study.objective import WORLDS, check_objective, outcome
from sheeprl_dnp.study.plan import compose_arms, save_plan
from sheeprl_dnp.study.pool import Pool, Work
from sheeprl_dnp.study.process import LoggedProcess
from sheeprl_dnp.study.trials import ArmTrials, Outcome, Trial, open_arms, save
from sheeprl_dnp.study.tuned_arms import tuned_arms
from sheeprl_dnp.study.tuning import FILE_NAME, Tuning, find_tuning, read_tuning

LARGE = ("checkpoint", "memmap_buffer")  # folders of a run that nobody needs when its trial has ended

EPILOG = """
examples:
  scripts/tune crafter_symbolic --processes 2   configs/tune/crafter_symbolic.yaml, two trials at a time
  scripts/tune mine.yaml --folder tunings/mine  a file of your own; sheeprl_dnp/study/tuning.py says what is in it
  scripts/tune tunings/mine                     go on with it

Each trial is a training by the stock `sheeprl` command, and a validation of its last policy in worlds that are neither
trained in nor evaluated in. FOLDER gets a table of them (trials.csv), the best settings of each arm as the `arms` of a
study's plan (best.yaml), Optuna's own records (trials.sqlite3), and what tells of each training (trials/).

Killed or stopped, the same command goes on: trials that have ended are kept, others go on from their last checkpoint.
With more `trials` in its file, a tuning gets these too. A trial that fails is the worst; the table says why. A trial
takes the share `length` (see the file) of the time of a run of the study (scripts/study --help).
"""


@resumable()
@one_sentence()
def main(arguments: Sequence[str] | None = None) -> int:
    """Checks a tuning as a whole, runs what isn't done of it, and prints the best settings.

    Returns:
        The exit code: 0 if all the trials have ended, one or more of each arm without failure.
    """
    options = parse_arguments(arguments)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = find_tuning(options.tuning)
    folder = options.folder or (path.parent if path.name == FILE_NAME else Path("tunings") / path.stem)
    tuning = read_tuning(path)
    tuned = tuned_arms(tuning)
    check_objective(tuning)
    with held(folder):
        arms = open_arms(folder, tuning, tuned)
        write_file(folder / FILE_NAME, tuning)
        TrialRuns(folder, tuning, arms).run(options.processes, threads_of(options))
    print("\n".join(arm.summary() for arm in arms))
    print(f"As arms of a study: {folder / 'best.yaml'}; all the trials: {folder / 'trials.csv'}")
    return 0 if all(len(arm.told()) == tuning.trials and arm.best() for arm in arms) else 1


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    description = "Tunes the arms of a study: as many trials of each, over the same values of what they share."
    parser = command_parser("tune", description, EPILOG)
    parser.add_argument(
        "tuning", metavar="NAME", help="of a tuning in configs/tune, or the path of a file like those, or a FOLDER"
    )
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="of the tuning (default: tunings/NAME)")
    add_pool(parser, "trials")
    return parser.parse_args(arguments)


class TrialRuns:
    """Runs the trials of all arms, in turn, so that a tuning that was cut short is an equal one."""

    def __init__(self, folder: Path, tuning: Tuning, arms: Sequence[ArmTrials]) -> None:
        self._folder, self._tuning, self._arms = folder, tuning, arms
        total = sum(arm.tuned.total_steps * tuning.trials for arm in arms)
        self._pool = Pool(
            folder.absolute().name, total, lambda: sum(arm.tuned.total_steps * len(arm.told()) for arm in arms)
        )

    def run(self, processes: int, threads: int) -> None:
        """Returns when all are told, but for those that were stopped from outside."""
        save(self._folder, self._tuning, self._arms)
        self._pool.run(self._queue(), processes, threads)

    def _trials(self) -> Iterator[tuple[ArmTrials, Trial]]:
        yield from [(arm, trial) for arm in self._arms for trial in arm.untold()]
        for number in range(self._tuning.trials):
            for arm in self._arms:
                if len(arm.all()) == number:
                    yield arm, arm.ask()

    def _queue(self) -> Iterator[Work]:
        for arm, trial in self._trials():
            if trial.outcome:  # stopped before it was told
                self._tell(arm, trial, trial.outcome)
                continue
            try:
                prepare(trial, self._tuning)
            except ConfigError as error:
                self._tell(arm, trial, Outcome(reason=str(error)))
                continue
            self._pool.say(f"{trial.name}, seed {trial.seed}: {' '.join(arm.tuned.overrides(trial.settings))}")
            save(self._folder, self._tuning, self._arms)
            yield Work(trial.run, arm.tuned.total_steps, partial(self._ended, arm, trial))

    def _ended(self, arm: ArmTrials, trial: Trial, job: LoggedProcess) -> None:
        code = job.process.returncode
        if not trial.run.is_finished and (code < 0 or code > 128 or (code and trial.run.was_killed)):  # by a signal
            self._pool.say(f"{trial.name}: stopped from outside; the same command goes on with it")
        else:
            self._tell(arm, trial, outcome(trial.run, self._tuning.objective, job.reason()))

    def _tell(self, arm: ArmTrials, trial: Trial, ended: Outcome) -> None:
        for folder in (version / name for version in versions(trial.run.folder) for name in LARGE):
            shutil.rmtree(folder, ignore_errors=True)
        arm.tell(trial, ended)
        save(self._folder, self._tuning, self._arms)
        said = f"failed: {ended.reason}" if ended.objective is None else f"{ended.measure} {ended.objective:.3g}"
        told, of = sum(len(arm.told()) for arm in self._arms), len(self._arms) * self._tuning.trials
        self._pool.say(f"{trial.name}: {said} ({told} of {of} trials have ended)")


def prepare(trial: Trial, tuning: Tuning) -> None:
    """Makes the folder of a trial: a study of one arm and one seed.

    Raises:
        ConfigError: it can't be trained with its settings.
    """
    evaluations = Evaluations(episodes=tuning.episodes, worlds=WORLDS)
    own = {"arms": (trial.run.arm,), "seeds": (trial.seed,), "evaluations": evaluations}
    plan = tuning.study.model_copy(update=own)
    save_plan(trial.folder, plan, compose_arms(plan))


@contextlib.contextmanager
def held(folder: Path) -> Iterator[None]:
    """Makes the folder, and keeps every other process from it.

    Raises:
        ConfigError: it can't be written in, or another process has it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(folder / "lock", timeout=0).acquire()
    except filelock.Timeout as error:
        raise ConfigError(f"`FOLDER={folder}` can't be: another process is at this tuning.") from error
    except OSError as error:
        raise ConfigError(f"`FOLDER={folder}` must be a folder to write in: {error.strerror}.") from error
    with lock:
        yield


if __name__ == "__main__":
    sys.exit(main())
