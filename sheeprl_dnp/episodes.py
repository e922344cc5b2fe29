"""What a run keeps of its training episodes: one JSON line each, in `episodes.jsonl` beside SheepRL's logs."""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

FILE_NAME = "episodes.jsonl"


def versions(run_folder: Path) -> list[Path]:
    """The subfolders `version_<n>` of a run, one for each time that it was started, from the first to the last."""
    numbers = [path.name.removeprefix("version_") for path in run_folder.glob("version_*")]
    return [run_folder / f"version_{n}" for n in sorted(int(number) for number in numbers if number.isdecimal())]


def read_episodes(run_folder: Path) -> list[dict[str, Any]]:
    """The training episodes of a run, in the order in which they ended, each once.

    Raises:
        ValueError: a record is damaged.
    """
    return read_versions(versions(run_folder))


def read_versions(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """The training episodes of the versions of a run, each of which goes on from the one before.

    What a run played after the checkpoint that it was resumed from isn't a part of it: it was played again.

    Raises:
        ValueError: a record is damaged.
    """
    episodes: list[dict[str, Any]] = []
    end = sys.maxsize
    for folder in reversed(folders):
        if (folder / FILE_NAME).is_file():
            episodes = _read_lines(folder / FILE_NAME, end) + episodes
        end = min(end, resumed_from(folder))
    return sorted(episodes, key=lambda episode: episode["step"])


def resumed_from(version: Path) -> int:
    """The step of the checkpoint that a version of a run went on from, 0 if it began anew.

    More than any step for a version that was stopped before its first one, while SheepRL wrote its configuration.

    Raises:
        ValueError: its configuration is damaged.
    """
    try:
        checkpoint = resume_checkpoint(version)
    except ValueError:
        if not (version / FILE_NAME).exists():
            return sys.maxsize
        raise
    return checkpoint_step(checkpoint) if checkpoint else 0


def resume_checkpoint(version: Path) -> str | None:
    """The checkpoint that a version of a run went on from, as its user named it; None if it began anew.

    Raises:
        ValueError: its configuration is missing or damaged.
    """
    path = version / "config.yaml"
    try:
        return yaml.safe_load(path.read_text())["checkpoint"]["resume_from"]
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        raise ValueError(f"`{path}` is missing or damaged, so that what was played again is unknown") from error


def checkpoint_step(checkpoint: Path | str) -> int:
    """The environment steps played when SheepRL saved a checkpoint, from its name.

    Raises:
        ValueError: it isn't named as SheepRL names them.
    """
    match = re.search(r"ckpt_(\d+)_\d+\.ckpt$", str(checkpoint))
    if not match:
        raise ValueError(f"`{checkpoint}` is not named as a checkpoint of SheepRL, `ckpt_<step>_<rank>.ckpt`")
    return int(match[1])


def _read_lines(path: Path, end: int) -> list[dict[str, Any]]:
    """The records of a file up to the step `end`.

    A machine that goes down leaves a damaged last one: it does no harm if the run goes on from an earlier checkpoint.
    """
    *lines, last = path.read_text(errors="replace").splitlines() or [""]
    episodes = [json.loads(line) for line in lines]
    try:
        episodes += [json.loads(last)] if last else []
    except json.JSONDecodeError as error:
        if not episodes or episodes[-1]["step"] <= end:
            raise ValueError(f"its last line: {error}") from error
    return [episode for episode in episodes if episode["step"] <= end]
