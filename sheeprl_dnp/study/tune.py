"""`scripts/tune NAME`: the same number of trials for each arm of a study; safe to stop and start again at any point."""

import argparse
import fcntl
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import optuna

from sheeprl_dnp.arguments import add_pool, threads_of
from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.studies import write_file
from sheeprl_dnp.study.trial_pool import TrialPool
from sheeprl_dnp.study.trial_run import check_objective
from sheeprl_dnp.study.trials import open_arms, summary
from sheeprl_dnp.study.tuned_arms import tuned_arms
from sheeprl_dnp.study.tuning import FILE_NAME, Tuning, find_tuning, named_tunings, read_tuning

EPILOG = """
examples:
  scripts/tune crafter_small --processes 2      configs/tune/crafter_small.yaml, two trials at a time
  scripts/tune mine.yaml --folder tunings/mine  a file of your own; sheeprl_dnp/study/tuning.py says what is in it
  scripts/tune tunings/mine                     go on with it

Each trial is a training by the stock `sheeprl` command, and a validation of its last policy in worlds that are neither
trained in nor evaluated in. FOLDER gets a table of them (trials.csv), the best settings of each arm as the `arms` of a
study's plan (best.yaml), Optuna's own records (trials.sqlite3), and what tells of each training (trials/).

Killed or stopped, the same command goes on: trials that have ended are kept, others go on from their last checkpoint.
With more `trials` in its file, a tuning gets these too. A trial that fails is the worst; the table says why.
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/tune",
        description="Tunes the arms of a study: as many trials of each, over the same values of what they share.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "tuning", metavar="NAME", help="of a tuning in configs/tune, or the path of a file like those, or a FOLDER"
    )
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="of the tuning (default: tunings/NAME)")
    add_pool(parser, "trials")
    return parser.parse_args(arguments)


def tune(options: argparse.Namespace) -> int:
    """Checks a tuning as a whole, runs what isn't done of it, and prints the best settings.

    Returns:
        The exit code: 0 if all the trials have ended, one or more of each arm without failure.

    Raises:
        ConfigError: it can't be run.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    path = find(options.tuning)
    folder = options.folder or default_folder(path)
    tuning = read_tuning(path)
    check_goes_on(folder, tuning)
    tuned = tuned_arms(tuning)
    check_objective(tuned, tuning)
    with held(folder):
        write_file(folder / FILE_NAME, tuning)
        arms = open_arms(folder, tuning, tuned)
        TrialPool(folder, tuning, arms, threads_of(options)).run(options.processes)
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


def main(arguments: Sequence[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse_arguments(arguments)
    try:
        return tune(options)
    except ConfigError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped: the same command goes on with it.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
