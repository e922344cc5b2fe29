"""Which runs go on from which: a training that was resumed in another folder is one training all the same."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, takewhile
from pathlib import Path
from typing import Any

from sheeprl_dnp.episodes import read_versions, resume_checkpoint, resumed_from, versions
from sheeprl_dnp.runs import ConfigError, local_folder


@dataclass(frozen=True)
class Training:
    """A training as a whole.

    Args:
        paths: what the user named it by.
        folders: `version_<n>`, one for each time that it was started, each going on from the one before.
    """

    paths: tuple[Path, ...]
    folders: tuple[Path, ...]

    @property
    def resumes(self) -> str | None:
        """The checkpoint that it goes on from, of a run that wasn't named."""
        return resume_checkpoint(self.folders[0])

    @property
    def start(self) -> int:
        """The environment step that it goes on from; 0 if it is all here."""
        return resumed_from(self.folders[0])

    def episodes(self) -> list[dict[str, Any]]:
        """As `episodes.read_episodes`."""
        return read_versions(self.folders)


def trainings(paths: Sequence[Path]) -> list[Training]:
    """The trainings that are logged in paths; runs that go on from each other are one.

    Args:
        paths: folders of runs, or of one of their versions, or the file of episodes in one.

    Raises:
        ConfigError: a folder is of no run, or two go on from the same one.
        ValueError: the configuration of a run is damaged.
    """
    named = {path: _started_versions(path) for path in paths}
    owners = {version: path for path, found in named.items() for version in found}
    wholes = [_back_to_its_start(found[-1], owners) for found in named.values()]
    ends = [whole for whole in wholes if not any(whole[-1] in other[:-1] for other in wholes)]
    for whole, other in combinations(ends, 2):
        if whole[0] == other[0]:
            names = f"`{owners[whole[-1]]}` and `{owners[other[-1]]}`"
            raise ConfigError(f"{names} both go on from `{owners[whole[0]]}`, and aren't two seeds: name one.")
    return [Training(tuple(dict.fromkeys(owners[folder] for folder in whole)), whole) for whole in ends]


def _started_versions(path: Path) -> list[Path]:
    if path.is_file():
        return [path.parent]
    found = [path] if (path / "config.yaml").is_file() else versions(path)
    started = [version for version in found if resumed_from(version) < sys.maxsize]
    if not started:
        raise ConfigError(f"`{path}` is not the folder of a run: it must have a folder `version_<n>`.")
    return started


def _back_to_its_start(version: Path, owners: Mapping[Path, Path]) -> tuple[Path, ...]:
    folders = [version]
    while (before := _resumed_version(folders[0], owners)) and before not in folders:
        folders.insert(0, before)
    return tuple(folders)


def _resumed_version(version: Path, owners: Mapping[Path, Path]) -> Path | None:
    """The version, of those that are named, that has saved the checkpoint that another one goes on from.

    The path of the checkpoint may be of another machine, or relative to another folder: then it is the version that has
    the last names of the path, those of the run and of the version and as many before as can be, or else one of the
    same run.
    """
    checkpoint = resume_checkpoint(version)
    if not checkpoint:
        return None
    path = local_folder(checkpoint) or Path(checkpoint)
    saved_by, others = path.parents[1], [other for other in owners if other != version]
    if path.is_file():
        return next((other for other in others if other.resolve() == saved_by.resolve()), None)
    names = {other: _names_in_common(other.resolve(), saved_by) for other in others}
    closest = [other for other, count in names.items() if count == max(names.values()) > 1]
    own = version.with_name(saved_by.name)
    return closest[0] if len(closest) == 1 else own if own in others else None


def _names_in_common(path: Path, other: Path) -> int:
    """How many of their last names are the same."""
    pairs = zip(reversed(path.parts), reversed(other.parts), strict=False)
    return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
