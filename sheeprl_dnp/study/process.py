"""A process whose output goes to the end of a log, and what it said last of an error."""

import contextlib
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

HEARTBEAT = 10.0  # seconds between two notes of how long a process has run


@dataclass(frozen=True)
class LoggedProcess:
    process: subprocess.Popen[bytes]
    log: Path
    said_before: int  # the bytes that earlier ones have left in the log

    def error(self) -> str:
        """The last line of its output that names an error, or else the last one that says something.

        Of Hydra's errors, which name none, this is the first line: what it adds is indented, or how to see a traceback.
        """
        output = self.log.read_bytes()[self.said_before :].decode(errors="replace")
        lines = [line for line in output.splitlines() if line.strip()]
        said = [line for line in lines if not line.startswith((" ", "Set the environment variable HYDRA_FULL_ERROR"))]
        return next((line for line in reversed(lines) if "Error: " in line), said[-1] if said else "no message")

    def reason(self) -> str:
        """The error without its type."""
        return self.error().split("Error: ", 1)[-1]

    def wait(self, note: Callable[[dict[str, Any]], None]) -> int:
        """Notes again and again what time it took, with its children, so that this is known of one that is killed too.

        Returns:
            Its exit code.
        """
        start, before = time.monotonic(), cpu_time()
        try:
            while self.process.returncode is None:
                note(took(start, before))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(HEARTBEAT)
        except BaseException:
            self.process.terminate()
            raise
        note({"exit": self.process.returncode, **took(start, before)})
        return self.process.returncode


def took(start: float, before: float) -> dict[str, float]:
    return {"wall_s": round(time.monotonic() - start, 1), "cpu_s": round(cpu_time() - before, 1)}


def cpu_time() -> float:
    """Seconds of this process's children and all of theirs, those that have ended too."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = ended.ru_utime + ended.ru_stime
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):  # one that ends just now
            seconds += sum(process.cpu_times()[:4])  # user, system, and those of its children that have ended
    return seconds


def start(module: Sequence[str], log: Path, folder: Path, threads: int, **options: Any) -> LoggedProcess:
    """Starts a module of Python with its arguments.

    Args:
        folder: in which it works.
        threads: of PyTorch.
        options: of `subprocess.Popen`.
    """
    with log.open("ab") as output:
        said_before = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", *module],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            **options,
        )
    return LoggedProcess(process, log, said_before)
