"""A tuning from its file to its best settings: checked as a whole before any work starts, then run."""

import fcntl
import sys
from pathlib import Path
from typing import IO

import optuna

from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.study.trial_pool import TrialPool
from sheeprl_dnp.study.trial_run import check_objective
from sheeprl_dnp.study.trials import open_arms, summary
from sheeprl_dnp.study.tuned_arms import tuned_arms
from sheeprl_dnp.study.tuning import FILE_NAME, Tuning, find_tuning, named_tunings, read_tuning, write_tuning


def tune(name: str, folder: Path | None, *, processes: int, threads: int) -> int:
    """Runs what isn't done of the tuning that is named (see `find_tuning`), and prints the best settings.

    Args:
        folder: where to; None: as `default_folder` has it.
        processes: the trials at the same time.
        threads: of PyTorch, for each.

    Returns:
        The exit code: 0 if all the trials have ended, one or more of each arm without failure.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        path = find(name)
        folder = folder or default_folder(path)
        tuning = read_tuning(path)
        check_goes_on(folder, tuning)
        tuned = tuned_arms(tuning)
        check_objective(tuned, tuning)
        with held(folder):
            write_tuning(folder / FILE_NAME, tuning)
            arms = open_arms(folder, tuning, tuned)
            TrialPool(folder, tuning, arms, threads).run(processes)
    except ConfigError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    print("\n".join(summary(arm, tuning) for arm in arms))
    print(f"As arms of a study: {folder / 'best.yaml'}; all the trials: {folder / 'trials.csv'}")
    return 0 if all(arm.told == tuning.trials and arm.best() for arm in arms) else 1


def find(name: str) -> Path:
    path = find_tuning(name)
    if path is None:
        raise ConfigError(
            f"`NAME={name}` must be one of {', '.join(named_tunings())}, the path of a tuning's file (`….yaml`), or "
            f"the folder of one, with its `{FILE_NAME}`."
        )
    return path


def default_folder(path: Path) -> Path:
    return path.parent if path.name == FILE_NAME else Path("tunings") / path.stem


def check_goes_on(folder: Path, tuning: Tuning) -> None:
    """Checks that a folder has no other tuning.

    Raises:
        ConfigError: it has, and not just one of fewer trials.
    """
    path = folder / FILE_NAME
    if not path.exists():
        return
    there = read_tuning(path)
    for key in type(tuning).model_fields:
        old, new = getattr(there, key), getattr(tuning, key)
        if old != new and not (key == "trials" and old < new):
            raise ConfigError(
                f"`{key}` is not that of the tuning in `{folder}`: go on with `scripts/tune {folder}`, or name another "
                "`--folder` (only more `trials` can be added)."
            )


def held(folder: Path) -> IO[str]:
    """Makes the folder; no other process can have it as long as the file that is returned is open.

    Raises:
        ConfigError: it can't be written in, or another process has it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / "lock").open("w")
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(f"`FOLDER={folder}` can't be: another process is at this tuning.") from error
    except OSError as error:
        raise ConfigError(f"`FOLDER={folder}` must be a folder to write in: {error.strerror}.") from error
    return file
