"""One run of a study as a job of Hydra: `python -m sheeprl_dnp.study.job study=... arm=... seed=...`.

It is brought from wherever it stands to its end: trained, evaluated, marked as finished. Each step leaves its result in
a file of the run's folder, written in one piece, and is done only where the file isn't there: whatever was killed goes
on from there. The training is the stock `sheeprl` command in a process of its own, which finds the algorithm on any
machine where this package is installed.
"""

import fcntl
import glob
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import hydra
import pandas as pd
import torch
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf
from sheeprl.utils.utils import dotdict
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sheeprl_dnp.episodes import checkpoint_step, resumed_from, versions
from sheeprl_dnp.evaluation import Settings
from sheeprl_dnp.hydra_callback import RunCallback
from sheeprl_dnp.machine import commit, describe_machine
from sheeprl_dnp.runs import ConfigError, load_checkpoint, load_run_config, replace_file, write_json
from sheeprl_dnp.studies import Arm, Evaluation, Plan, Run, read_study
from sheeprl_dnp.study.evaluate import evaluate_checkpoint
from sheeprl_dnp.study.plan import hydra_overrides, load_arm
from sheeprl_dnp.study.process import start

METRICS = ("Loss/", "Ponder/", "Time/")  # of those that were logged, what is kept
CALLBACK = f"{RunCallback.__module__}.{RunCallback.__name__}"
# Hydra writes its own files where they are asked for, and no log: all is said on standard output
QUIET = ("hydra.output_subdir=null", "hydra/job_logging=stdout")


@dataclass
class Job:
    study: str = MISSING  # the folder, as `folder_argument` writes it
    arm: str = MISSING  # the name of its folder
    seed: int = MISSING
    threads: int = 1


ConfigStore.instance().store("job", Job)


def folder_argument(study: Path) -> str:
    """The argument `study=`: percent-encoded, since a name may have what means something to Hydra's grammar."""
    return "study=" + quote(os.fsencode(study.absolute()), safe="/").replace("~", "%7E")


def arm_argument(*arms: Arm) -> str:
    """The argument `arm=`, or the sweep over several."""
    return "arm=" + ",".join(f"'{arm.folder}'" for arm in arms)


def execute(run: Run, plan: Plan, threads: int) -> None:
    """Brings a run to its end; waits where another process is at it.

    Args:
        threads: of PyTorch, for the training.

    Raises:
        RuntimeError: the training ended with an error.
    """
    total_steps = load_arm(run.study, run.arm).algo.total_steps
    run.folder.mkdir(parents=True, exist_ok=True)
    with locked(run.folder / "lock") as lock:
        if run.is_finished:
            return
        checkpoint = newest_checkpoint(run)
        if not checkpoint or checkpoint_step(checkpoint) < total_steps:
            train(run, plan, checkpoint, threads, lock)
            checkpoint = newest_checkpoint(run)
        if not checkpoint or checkpoint_step(checkpoint) < total_steps:
            raise RuntimeError(f"{run.name} ended without a checkpoint of step {total_steps}")
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
        with suppress(ConfigError):
            load_checkpoint(str(checkpoint))
            return checkpoint
    return None


def command(run: Run, plan: Plan, checkpoint: Path | None) -> list[str]:
    """The stock command of a run, with paths from the folder of the study, whose name may mean something to Hydra.

    Where its name is a pattern of files (`*`, `?`, `[`), all checkpoints are kept: SheepRL would take those of other
    folders, which the pattern matches, for old ones of this run, and delete them.
    """
    folder = run.folder.relative_to(run.study)
    overrides = [*hydra_overrides(run.arm, plan.overrides), f"seed={run.seed}"]
    where = ["log_root=runs", f"root_dir='{run.arm.folder}'", f"run_name={run.folder.name}", f"hydra.run.dir={folder}"]
    where.append(f"++hydra.callbacks.sheeprl_dnp._target_={CALLBACK}")  # with an experiment of SheepRL's own, too
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
        "command": command(run, plan, checkpoint),
        "threads": threads,
        "commit": commit(),
        "machine": describe_machine(),
    }
    log = run.folder / "output.log"
    process = start(attempt["command"], log, run.study, threads, pass_fds=(lock,))
    if process.wait(lambda seen: write_json(run.folder / f"attempt_{number}.json", {**attempt, **seen})):
        raise RuntimeError(f"{run.name} failed: {process.error()} (all of it in {log})")


def finish(run: Run, plan: Plan, checkpoint: Path) -> None:
    """All that follows the training."""
    cfg = dotdict(OmegaConf.to_container(load_run_config(str(checkpoint)), resolve=True))
    save_metrics(run)
    for evaluation in plan.evaluations.of(cfg.algo):
        evaluate(run, evaluation, checkpoint, plan.evaluations.worlds)
    state = load_checkpoint(str(checkpoint))
    finished = {"steps": checkpoint_step(checkpoint), "gradient_steps": int(state["per_rank_gradient_steps"])}
    write_json(run.folder / "finished.json", finished | {"checkpoint": str(checkpoint.relative_to(run.folder))})


def evaluate(run: Run, evaluation: Evaluation, checkpoint: Path, worlds: str) -> None:
    path = run.folder / f"evaluation_{evaluation.name}.json"
    if not path.is_file():
        asked = {key: getattr(evaluation, key) for key in ("episodes", "steps", "dream", "overrides")}
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


@hydra.main(version_base="1.3", config_path=None, config_name="job")
def main(job: Job) -> None:
    study = Path(os.fsdecode(unquote_to_bytes(job.study)))
    plan = read_study(study)
    arm = next(arm for arm in plan.arms if arm.folder == job.arm)
    torch.set_num_threads(job.threads)  # of the evaluations, also where a launcher starts this
    execute(Run(study, arm, job.seed), plan, job.threads)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
