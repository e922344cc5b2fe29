"""Runs of studies on this machine: so many at a time, each in a process of its own, with their progress."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
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
from sheeprl_dnp.study.job import QUIET, arm_argument, folder_argument
from sheeprl_dnp.study.process import LoggedProcess, start

POLL_SECONDS = 1.0


def start_job(run: Run, threads: int) -> LoggedProcess:
    arguments = [folder_argument(run.study), arm_argument(run.arm), f"seed={run.seed}", f"threads={threads}"]
    run.folder.mkdir(parents=True, exist_ok=True)
    module = ["sheeprl_dnp.study.job", *arguments, "hydra.run.dir=.", *QUIET]
    return start(module, run.folder / "job.log", run.study, threads)


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


@dataclass(frozen=True)
class Work:
    """A run, and its steps."""

    run: Run
    steps: int
    ended: Callable[[LoggedProcess], None]  # called when it has


class Pool:
    """Runs of studies, with the progress of all and of each that is on; plain lines where there is no terminal.

    Args:
        total: the steps of all the runs.
        completed: tells how many of them are of runs that have ended.
    """

    def __init__(self, name: str, total: int, completed: Callable[[], int]) -> None:
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
        self._all = self._progress.add_task(escape(name), total=total)
        self._completed = completed
        self._bars: dict[Work, TaskID] = {}  # of those that are on

    def say(self, text: str) -> None:
        if self._progress.disable:
            print(text, file=sys.stderr, flush=True)
        else:
            self._progress.console.print(text, highlight=False, markup=False)

    def run(self, queue: Iterator[Work], processes: int, threads: int) -> None:
        """Runs all that there are, so many at a time; one that fails doesn't stop the others.

        Args:
            queue: its runs are taken one by one, as there is room.
            threads: of PyTorch, for each.
        """
        on: dict[Work, LoggedProcess] = {}
        with self._progress, terminated_at_the_end(on):
            while True:
                while len(on) < processes and (work := next(queue, None)):
                    on[work] = start_job(work.run, threads)
                    self._bars[work] = self._progress.add_task(escape(work.run.name), total=work.steps)
                if not on:
                    return
                for work in [work for work, job in on.items() if job.process.poll() is not None]:
                    self._progress.remove_task(self._bars.pop(work))
                    work.ended(on.pop(work))
                self._show(on)
                time.sleep(POLL_SECONDS)

    def _show(self, on: Iterable[Work]) -> None:
        played = {work: played_steps(work.run) for work in on}
        for work, steps in played.items():
            self._progress.update(self._bars[work], completed=steps)
        self._progress.update(self._all, completed=self._completed() + sum(played.values()))


@contextlib.contextmanager
def terminated_at_the_end(jobs: Mapping[Work, LoggedProcess]) -> Iterator[None]:
    """What is stopped stops its runs."""
    try:
        yield
    finally:
        for job in jobs.values():
            job.process.terminate()
        for job in jobs.values():
            job.process.wait()


def run_all(runs: Sequence[Run], total_steps: Mapping[str, int], processes: int, threads: int) -> int:
    """Runs what isn't finished.

    Args:
        total_steps: of each arm, by its label.

    Returns:
        The exit code: 0 if all are finished.
    """
    steps = {run: total_steps[run.arm.label] for run in runs}

    def finished() -> list[Run]:
        return [run for run in runs if run.is_finished]

    def ended(run: Run, job: LoggedProcess) -> None:
        said = "finished" if run.is_finished else f"failed: {job.reason()}"
        pool.say(f"{run.name}: {said} ({len(finished())} of {len(runs)} runs finished)")

    pool = Pool(runs[0].study.name, sum(steps.values()), lambda: sum(steps[run] for run in finished()))
    pool.say(f"{len(finished())} of {len(runs)} runs are finished; {processes} at a time, {threads} threads each")
    waiting = [Work(run, steps[run], partial(ended, run)) for run in runs if not run.is_finished]
    pool.run(iter(waiting), processes, threads)
    return 0 if len(finished()) == len(runs) else 1
