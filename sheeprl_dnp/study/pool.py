"""The runs of a study on this machine: so many at a time, each in a process of its own, with their progress."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
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

from sheeprl_dnp.envs.episodes import FILE_NAME, versions
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
    """The progress of the study: all of it, and each run that is on; plain lines where there is no terminal."""

    def __init__(self, runs: Sequence[Run], total_steps: Mapping[str, int]) -> None:
        self.runs, self.total_steps = runs, total_steps
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        self.progress = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal)
        self.study = self.progress.add_task(
            escape(runs[0].study.name), total=sum(total_steps[run.arm.label] for run in runs)
        )
        self.tasks: dict[Run, TaskID] = {}

    def say(self, text: str) -> None:
        if self.progress.disable:
            print(text, file=sys.stderr, flush=True)
        else:
            self.progress.console.print(text, highlight=False, markup=False)

    def started(self, run: Run) -> None:
        self.tasks[run] = self.progress.add_task(escape(run.name), total=self.total_steps[run.arm.label])

    def ended(self, run: Run, said: str) -> None:
        self.progress.remove_task(self.tasks.pop(run))
        finished = sum(run.is_finished for run in self.runs)
        self.say(f"{run.name}: {said} ({finished} of {len(self.runs)} runs finished)")

    def update(self) -> None:
        steps = {run: self.total_steps[run.arm.label] if run.is_finished else played_steps(run) for run in self.runs}
        self.progress.update(self.study, completed=sum(steps.values()))
        for run, task in self.tasks.items():
            self.progress.update(task, completed=steps[run])


def run_all(runs: Sequence[Run], total_steps: Mapping[str, int], processes: int, threads: int) -> int:
    """Runs what isn't finished; a failed run doesn't stop the others.

    Returns:
        The exit code: 0 if all are finished.
    """
    bars = Bars(runs, total_steps)
    waiting = [run for run in runs if not run.is_finished]
    finished = len(runs) - len(waiting)
    bars.say(f"{finished} of {len(runs)} runs are finished; {processes} at a time, {threads} threads each")
    running: dict[Run, RunProcess] = {}
    with bars.progress, terminated_at_the_end(running):
        while waiting or running:
            while waiting and len(running) < processes:
                run = waiting.pop(0)
                running[run] = start(run, threads)
                bars.started(run)
            for run, job in list(running.items()):
                if job.process.poll() is not None:
                    del running[run]
                    bars.ended(run, "finished" if run.is_finished else f"failed: {job.error()}")
            bars.update()
            time.sleep(POLL_SECONDS)
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
