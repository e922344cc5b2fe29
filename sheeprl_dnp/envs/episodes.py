"""What a run keeps of its training episodes: one JSON line each, in `episodes.jsonl` beside SheepRL's logs."""

import errno
import json
import os
import re
import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from sheeprl_dnp.runs import RUN_DIR, START_STEP

FILE_NAME = "episodes.jsonl"


class EpisodeLog:
    """Appends the episodes of one environment to a file that all the environments of the run share.

    Args:
        path: the file.
        env: the index of the environment, over all processes.
        start_step: the environment steps that the run had played when the environment was built.
        stride: the environment steps that the run plays while this environment plays one.
    """

    def __init__(self, path: Path, env: int, start_step: int, stride: int) -> None:
        self.path, self.env, self.stride = path, env, stride
        self.step = start_step
        self._unwritten = b""

    def count_step(self) -> None:
        """Goes on to the next environment step of the run."""
        self.step += self.stride

    def write(self, *, length: int, reward: float, **details: int) -> None:
        """Appends a finished episode: the step and environment it was played in, and what else is to be known of it.

        Raises:
            OSError: the file can't be written (disk full, say).
        """
        record = {"step": self.step, "length": length, "reward": round(reward, 1), "env": self.env, **details}
        self._unwritten += json.dumps(record).encode() + b"\n"
        self.flush()

    def flush(self) -> None:
        """Writes what a failed `write` has left over; in one piece, so that the lines of two processes never mix.

        Raises:
            OSError: as `write`.
        """
        if self._unwritten:
            self._unwritten = self._unwritten[_append(self.path, self._unwritten) :]
        if self._unwritten:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.path))


def open_log(env: int, num_envs: int) -> EpisodeLog | None:
    """The log of an environment of the run whose folder `SHEEPRL_DNP_RUN_DIR` holds; None outside of a run.

    A process has one log per environment. SheepRL rebuilds an environment that crashes: the new one finds the log of
    the old one, counts on from its step, and first writes the record that the old one could not, so that a full disk
    ends the run although SheepRL survives the first error. The episode that crashed is never recorded.

    Args:
        env: the index of the environment, over all processes.
        num_envs: the environments of each process.

    Raises:
        FileNotFoundError: the run has no folder of logs.
        OSError: an earlier record can't be written.
    """
    if not os.environ.get(RUN_DIR):
        return None
    stride = num_envs * int(os.environ.get("WORLD_SIZE", 1))
    log = _log_of_process(newest_version(os.environ[RUN_DIR]) / FILE_NAME, env, start_step(), stride)
    log.flush()
    return log


def start_step() -> int:
    """The environment step that the run starts from: more than 0 if it goes on from a checkpoint."""
    return int(os.environ.get(START_STEP) or 0)


def newest_version(run_folder: str) -> Path:
    """The subfolder `version_<n>` of the largest n, where SheepRL logs the run.

    Raises:
        FileNotFoundError: there is none.
    """
    folders = versions(Path(run_folder))
    if not folders:
        reason = f"`{RUN_DIR}` must hold the folder of a run, with a subfolder `version_<n>`"
        raise FileNotFoundError(errno.ENOENT, reason, str(run_folder))
    return folders[-1]


def versions(run_folder: Path) -> list[Path]:
    """The subfolders `version_<n>` of a run, one for each time that it was started, from the first to the last."""
    numbers = [path.name.removeprefix("version_") for path in run_folder.glob("version_*")]
    return [run_folder / f"version_{n}" for n in sorted(int(number) for number in numbers if number.isdecimal())]


def read_episodes(run_folder: Path) -> list[dict[str, Any]]:
    """The training episodes of a run, in the order in which they ended, each once.

    What a run played after the checkpoint that it was resumed from isn't a part of it: it was played again.

    Raises:
        ValueError: a record is damaged.
    """
    episodes: list[dict[str, Any]] = []
    for folder in versions(run_folder):
        start = resumed_from(folder)
        episodes = [episode for episode in episodes if episode["step"] <= start]
        if (folder / FILE_NAME).is_file():
            episodes += _read_lines(folder / FILE_NAME)
    for episode in episodes:
        if "damage" in episode:
            raise ValueError(episode["damage"])
    return sorted(episodes, key=lambda episode: episode["step"])


def resumed_from(version: Path) -> int:
    """The step of the checkpoint that a version of a run went on from, 0 if it began anew.

    More than any step for a version that was stopped before its first one, while SheepRL wrote its configuration.

    Raises:
        ValueError: its configuration is damaged.
    """
    path = version / "config.yaml"
    try:
        checkpoint = yaml.safe_load(path.read_text())["checkpoint"]["resume_from"]
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        if not (version / FILE_NAME).exists():
            return sys.maxsize
        raise ValueError(f"`{path}` is missing or damaged, so that what was played again is unknown") from error
    return checkpoint_step(checkpoint) if checkpoint else 0


def checkpoint_step(checkpoint: Path | str) -> int:
    """The environment steps played when SheepRL saved a checkpoint, from its name.

    Raises:
        ValueError: it isn't named as SheepRL names them.
    """
    match = re.search(r"ckpt_(\d+)_\d+\.ckpt$", str(checkpoint))
    if not match:
        raise ValueError(f"`{checkpoint}` is not named as a checkpoint of SheepRL, `ckpt_<step>_<rank>.ckpt`")
    return int(match[1])


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a file; in place of a damaged last one its `damage`, with the step that it can't be before.

    A machine that goes down leaves one: it does no harm if the run goes on from an earlier checkpoint.
    """
    *lines, last = path.read_text(errors="replace").splitlines() or [""]
    episodes = [json.loads(line) for line in lines]
    try:
        return [*episodes, json.loads(last)] if last else episodes
    except json.JSONDecodeError as error:
        return [*episodes, {"step": episodes[-1]["step"] if episodes else 0, "damage": f"its last line: {error}"}]


_log_of_process = cache(EpisodeLog)


def _append(path: Path, line: bytes) -> int:
    """Returns how many bytes were written: fewer than asked for only if the disk is full."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        return os.write(descriptor, line)
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)
