"""One run of a study, from wherever it stands to its end: train, evaluate, mark it as finished.

Each step leaves its result in a file of the run's folder, written in one piece, and is done only where the file isn't
there: whatever was killed goes on from there.
"""

import fcntl
import glob
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf
from sheeprl.utils.utils import dotdict
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sheeprl_dnp.costs import save_costs
from sheeprl_dnp.episodes import checkpoint_step, resumed_from, versions
from sheeprl_dnp.evaluation import Settings
from sheeprl_dnp.machine import commit, describe_machine
from sheeprl_dnp.runs import ConfigError, load_checkpoint, load_run_config, replace_file, write_json
from sheeprl_dnp.studies import Evaluation, Plan, Run
from sheeprl_dnp.study.evaluate import evaluate_checkpoint
from sheeprl_dnp.study.plan import hydra_overrides

METRICS = ("Loss/", "Ponder/", "Time/")  # of those that were logged, what is kept
HEARTBEAT = 10.0  # seconds between two notes of how long a training has run


class RunError(RuntimeError):
    """A training ended with an error."""


def execute(run: Run, plan: Plan, total_steps: int, threads: int) -> None:
    """Brings a run to its end; waits where another process is at it.

    Args:
        total_steps: the environment steps of the training.
        threads: of PyTorch, for the training.

    Raises:
        RunError: the training ended with an error.
    """
    run = replace(run, study=run.study.absolute())
    run.folder.mkdir(parents=True, exist_ok=True)
    with locked(run.folder / "lock") as lock:
        if run.is_finished:
            return
        checkpoint = newest_checkpoint(run)
        if not checkpoint or checkpoint_step(checkpoint) < total_steps:
            train(run, plan, checkpoint, threads, lock)
            checkpoint = newest_checkpoint(run)
        if not checkpoint or checkpoint_step(checkpoint) < total_steps:
            raise RunError(f"{run.name} ended without a checkpoint of step {total_steps}")
        finish(run, plan, checkpoint)


@contextmanager
def locked(path: Path) -> Iterator[int]:
    """Holds a lock as long as this process, or one that inherits the file descriptor, lives."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


def newest_checkpoint(run: Run) -> Path | None:
    """The newest one that is whole: a process that is killed while it saves leaves a part of one."""
    for checkpoint in reversed(run.checkpoints()):
        try:
            load_checkpoint(str(checkpoint))
            return checkpoint
        except ConfigError:
            continue
    return None


def command(run: Run, plan: Plan, checkpoint: Path | None) -> list[str]:
    """The stock command of a run, with paths from the folder of the study, whose name may mean something to Hydra.

    Where its name is a pattern of files (`*`, `?`, `[`), all checkpoints are kept: SheepRL would take those of other
    folders, which the pattern matches, for old ones of this run, and delete them.
    """
    folder = run.folder.relative_to(run.study)
    overrides = [*hydra_overrides(run.arm, plan.overrides), f"seed={run.seed}"]
    where = ["log_root=runs", f"root_dir='{run.arm.folder}'", f"run_name={run.folder.name}", f"hydra.run.dir={folder}"]
    where.append("hydra/job_logging=stdout")  # a log file of Hydra's own would need the whole path of the folder
    resume = [f"checkpoint.resume_from={checkpoint.relative_to(run.study)}"] if checkpoint else []
    keep = ["checkpoint.keep_last=null"] if glob.has_magic(str(run.study)) else []
    return ["sheeprl", *overrides, *where, *resume, *keep]


def train(run: Run, plan: Plan, checkpoint: Path | None, threads: int, lock: int) -> None:
    number = len(list(run.folder.glob("attempt_*.json")))
    attempt: dict[str, Any] = {
        "start": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "from_step": checkpoint_step(checkpoint) if checkpoint else 0,
        "exit": None,
        "wall_s": 0.0,
        "cpu_s": None,
        "command": command(run, plan, checkpoint),
        "threads": threads,
        "commit": commit(),
        "machine": describe_machine(),
    }
    log = run.folder / "output.log"
    with log.open("ab") as output:
        said_before = output.tell()
        process = subprocess.Popen(
            [sys.executable, "-m", *attempt["command"]],
            cwd=run.study,
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),
        )
        watch(process, lambda seen: write_json(run.folder / f"attempt_{number}.json", {**attempt, **seen}))
    if process.returncode:
        raise RunError(f"{run.name} failed: {last_error(log, said_before)} (all of it in {log})")


def watch(process: subprocess.Popen[bytes], note: Callable[[dict[str, Any]], None]) -> None:
    """Waits for a process, and notes how long it has run, so that this is known of one that is killed too."""
    start, noted, ended = time.monotonic(), -HEARTBEAT, 0
    try:
        while not ended:
            ended, status, usage = os.wait4(process.pid, os.WNOHANG)
            wall = time.monotonic() - start
            if ended:
                process.returncode = os.waitstatus_to_exitcode(status)
                cpu = round(usage.ru_utime + usage.ru_stime, 1)
                note({"exit": process.returncode, "wall_s": round(wall, 1), "cpu_s": cpu})
            elif wall - noted >= HEARTBEAT:
                note({"wall_s": round(wall, 1)})
                noted = wall
            time.sleep(0 if ended else 0.2)
    except BaseException:
        process.terminate()
        raise


def last_error(log: Path, start: int) -> str:
    """The last line of a log, from the byte `start` on, that names an error, or else the last one that says something.

    Of Hydra's errors, which name none, this is the first line: what it adds is indented, or how to see a traceback.
    """
    lines = [line for line in log.read_bytes()[start:].decode(errors="replace").splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith((" ", "Set the environment variable HYDRA_FULL_ERROR"))]
    return next((line for line in reversed(lines) if "Error: " in line), said[-1] if said else "no message")


def finish(run: Run, plan: Plan, checkpoint: Path) -> None:
    """All that follows the training."""
    cfg = dotdict(OmegaConf.to_container(load_run_config(str(checkpoint)), resolve=True))
    save_costs(cfg, run.folder)
    save_metrics(run)
    for evaluation in plan.evaluations.of(cfg.algo):
        evaluate(run, evaluation, checkpoint, plan.evaluations.worlds)
    state = load_checkpoint(str(checkpoint))
    finished = {"steps": checkpoint_step(checkpoint), "gradient_steps": int(state["per_rank_gradient_steps"])}
    write_json(run.folder / "finished.json", finished | {"checkpoint": str(checkpoint.relative_to(run.folder))})


def evaluate(run: Run, evaluation: Evaluation, checkpoint: Path, worlds: str) -> None:
    path = run.folder / f"evaluation_{evaluation.name}.json"
    if not path.is_file():
        keys = ("episodes", "steps", "dream", "overrides")
        asked = {key: getattr(evaluation, key) for key in keys}
        results = evaluate_checkpoint(Settings(checkpoint=str(checkpoint), worlds=worlds, **asked))
        write_json(path, results | {"checkpoint": str(checkpoint.relative_to(run.folder))})


def save_metrics(run: Run) -> None:
    """Writes what TensorBoard has of the run, by step, without what was trained again after a resume."""
    parts: list[pd.DataFrame] = []
    for folder in versions(run.folder):
        start = resumed_from(folder)
        parts = [part[part["step"] <= start] for part in parts]
        parts.append(pd.DataFrame(logged(folder), columns=["name", "step", "value"]))
    latest = pd.concat(parts).drop_duplicates(["step", "name"], keep="last")
    replace_file(run.folder / "metrics.csv", latest.pivot(index="step", columns="name", values="value").to_csv())


def logged(folder: Path) -> Iterator[tuple[str, int, float]]:
    """The name, step and value of each metric that a version of a run has logged, of those that are kept."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        events = EventAccumulator(str(path), size_guidance={"scalars": 0}).Reload()
        for name in events.Tags()["scalars"]:
            if name.startswith(METRICS):
                yield from ((name, event.step, float(f"{event.value:.6g}")) for event in events.Scalars(name))
