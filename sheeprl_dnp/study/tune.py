"""`scripts/tune NAME`: the same number of trials for each arm of a study; safe to stop and start again at any point."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

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
    parser.add_argument("--processes", type=count, default=1, help="trials at the same time (default: 1)")
    parser.add_argument("--threads", type=count, help="of PyTorch, for each trial (default: cores / processes)")
    return parser.parse_args(arguments)


def count(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number from 1")
    return int(value)


def main(arguments: Sequence[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse_arguments(arguments)
    from sheeprl_dnp.study.tuner import tune  # with PyTorch and Optuna, which `--help` doesn't wait for

    threads = options.threads or max(1, (os.cpu_count() or 1) // options.processes)
    try:
        return tune(options.tuning, options.folder, processes=options.processes, threads=threads)
    except KeyboardInterrupt:
        print("Stopped: the same command goes on with it.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
