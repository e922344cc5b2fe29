"""What the commands have in common: how they begin and end, and what they take as arguments (`type=` of argparse)."""

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from sheeprl_dnp.runs import ConfigError


def command_parser(name: str, description: str, examples: str) -> argparse.ArgumentParser:
    """Of the command `scripts/<name>`, whose help ends with examples, line by line."""
    raw = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(
        prog=f"scripts/{name}", description=description, epilog=examples, formatter_class=raw
    )


@contextmanager
def one_sentence() -> Iterator[None]:
    """Ends a command with what its user did wrong, without a traceback."""
    try:
        yield
    except ConfigError as error:
        raise SystemExit(f"Error: {error}") from error


@contextmanager
def resumable() -> Iterator[None]:
    """Ends a command that is stopped, so that what it has started is stopped, too, and says that it can go on."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    except KeyboardInterrupt as stopped:
        print("Stopped: the same command goes on with it.", file=sys.stderr)
        raise SystemExit(130) from stopped
    finally:
        signal.signal(signal.SIGTERM, before)


def count(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number from 1")
    return int(value)


def numbers(value: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(,\d+)*", value):
        raise argparse.ArgumentTypeError(f"{value!r} is not a list of whole numbers, as in 1,2,3")
    return tuple(map(int, value.split(",")))


def names(value: str) -> tuple[str, ...]:
    return tuple(name for name in value.split(",") if name)


def add_pool(parser: argparse._ActionsContainer, runs: str) -> None:
    """Adds what says how many runs are on at a time."""
    parser.add_argument("--processes", type=count, default=1, help=f"{runs} at the same time (default: 1)")
    threads = f"of PyTorch, for each {runs.removesuffix('s')} (default: cores / processes)"
    parser.add_argument("--threads", type=count, help=threads)


def threads_of(options: argparse.Namespace) -> int:
    return options.threads or max(1, (os.cpu_count() or 1) // options.processes)


def some_of(allowed: Collection[str]) -> Callable[[str], tuple[str, ...]]:
    """Of some names, with commas between them."""

    def parse(value: str) -> tuple[str, ...]:
        chosen = names(value)
        if not chosen:
            raise argparse.ArgumentTypeError(f"{value!r} must be one or more of {', '.join(allowed)}")
        if unknown := [name for name in chosen if name not in allowed]:
            raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(allowed)}")
        return chosen

    return parse
