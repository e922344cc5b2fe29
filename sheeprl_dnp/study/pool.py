"""The runs of a study on this machine: so many at a time, each in a process of its own, with their progress."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from sheeprl_dnp.episodes import FILE_NAME, versions
from sheeprl_dnp.studies import Run
from sheeprl_dnp.study.execution import last_error
from sheeprl_dnp.study.job import QUIET, arm_argument, folder_argument

POLL_SECONDS = 1.0


@dataclass(frozen=True)
class RunProcess:
    """A run that is on."""

    process: subprocess.Popen[bytes]
    log: Path
    said_before: int  # the bytes that earlier jobs have left in the log

    def error(self) -> str:
        return last_error(self.log, self.said_before).split("Error: ", 1)[-1]


def start(run: Run, threads: int) -> RunProcess:
    arguments = [folder_argument(run.study), arm_argument(run.arm), f"seed={run.seed}", f"threads={threads}"]
    run.folder.mkdir(parents=True, exist_ok=True)
    log = run.folder / "job.log"
    with log.open("ab") as output:
        said_before = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", "sheeprl_dnp.study.job", *arguments, "hydra.run.dir=.", *QUIET],
            cwd=run.study,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return RunProcess(process, log, said_before)


def played_steps(run: Run) -> int:
    """The step of the last training episode on record: how far a run has come."""
    for folder in reversed(versions(run.folder)):
        with contextlib.suppress(OSError, ValueError, IndexError):
            return int(json.loads(last_line(folder / FILE_NAME))["step"])
    return 0


def last_line(path: Path) -> bytes:
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 4096))
        return file.read().splitlines()[-1]


class Bars:
    """The progress of all the runs together, and of each that is on; plain lines where there is no terminal.

    Args:
        total: their steps.
        completed: how many have been played.
    """

    def __init__(self, name: str, total: int, completed: Callable[[], int]) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
        self._completed = completed
        self._all = self.progress.add_task(escape(name), total=total)
        self._tasks: dict[Run, TaskID] = {}

    def say(self, text: str) -> None:
        if self.progress.disable:
            print(text, file=sys.stderr, flush=True)
        else:
            self.progress.console.print(text, highlight=False, markup=False)

    def update(self, running: Mapping[Run, int]) -> None:
        """
        Args:
            running: the runs that are on, and how long each is.
        """
        self.progress.update(self._all, completed=self._completed())
        for run in self._tasks.keys() - running.keys():
            self.progress.remove_task(self._tasks.pop(run))
        for run, total in running.items():
            if run not in self._tasks:
                self._tasks[run] = self.progress.add_task(escape(run.name), total=total)
            self.progress.update(self._tasks[run], completed=played_steps(run))


def run_pool(
    next_run: Callable[[], tuple[Run, int] | None],
    ended: Callable[[Run, RunProcess], None],
    bars: Bars,
    *,
    processes: int,
    threads: int,
) -> None:
    """Runs what `next_run` gives, so many at a time, until it gives no more; a failed run doesn't stop the others.

    Args:
        next_run: gives a run, and its steps; it may give more after one has ended.
        ended: called with each run that has.
        threads: of PyTorch, for each.
    """
    running: dict[Run, RunProcess] = {}
    steps: dict[Run, int] = {}
    with bars.progress, terminated_at_the_end(running):
        while True:
            while len(running) < processes and (found := next_run()):
                run, steps[run] = found
                running[run] = start(run, threads)
            if not running:
                return
            for run, job in list(running.items()):
                if job.process.poll() is not None:
                    del running[run]
                    ended(run, job)
            bars.update({run: steps[run] for run in running})
            time.sleep(POLL_SECONDS)


def run_all(runs: Sequence[Run], total_steps: Mapping[str, int], processes: int, threads: int) -> int:
    """Runs what isn't finished.

    Args:
        total_steps: of each arm, by its label.

    Returns:
        The exit code: 0 if all are finished.
    """
    total = {run: total_steps[run.arm.label] for run in runs}

    def completed() -> int:
        return sum(steps if run.is_finished else played_steps(run) for run, steps in total.items())

    def ended(run: Run, job: RunProcess) -> None:
        said = "finished" if run.is_finished else f"failed: {job.error()}"
        bars.say(f"{run.name}: {said} ({sum(run.is_finished for run in runs)} of {len(runs)} runs finished)")

    bars = Bars(runs[0].study.name, sum(total.values()), completed)
    waiting = [(run, steps) for run, steps in total.items() if not run.is_finished]
    finished = len(runs) - len(waiting)
    bars.say(f"{finished} of {len(runs)} runs are finished; {processes} at a time, {threads} threads each")
    run_pool(lambda: waiting.pop(0) if waiting else None, ended, bars, processes=processes, threads=threads)
    return 0 if all(run.is_finished for run in runs) else 1


@contextlib.contextmanager
def terminated_at_the_end(running: Mapping[Run, RunProcess]) -> Iterator[None]:
    """A study that is stopped stops its runs."""
    try:
        yield
    finally:
        for job in running.values():
            job.process.terminate()
        for job in running.values():
            job.process.wait()
