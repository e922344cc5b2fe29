"""Which runs go on from which: a training that was resumed in another folder is one training all the same."""

import sys
from collections.abc import Iterable, Sequence
from itertools import accumulate, combinations
from operator import and_, eq
from pathlib import Path

from sheeprl_dnp.episodes import resume_checkpoint, resumed_from, versions
from sheeprl_dnp.runs import ConfigError, local_folder


def trainings(paths: Sequence[Path]) -> list[tuple[str, list[Path]]]:
    """The trainings that are logged in paths; runs that go on from each other are one.

    Args:
        paths: folders of runs, or of one of their versions, or the file of episodes in one.

    Returns:
        Of each training its paths, joined by ` + `, and its folders `version_<n>`, each going on from the one before.

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
    return [(" + ".join(dict.fromkeys(str(owners[folder]) for folder in whole)), whole) for whole in ends]


def _started_versions(path: Path) -> list[Path]:
    if path.is_file():
        return [path.parent]
    found = [path] if (path / "config.yaml").is_file() else versions(path)
    started = [version for version in found if resumed_from(version) < sys.maxsize]
    if not started:
        raise ConfigError(f"`{path}` is not the folder of a run: it must have a folder `version_<n>`.")
    return started


def _back_to_its_start(version: Path, known: Iterable[Path]) -> list[Path]:
    folders = [version]
    while (before := _resumed_version(folders[0], known)) and before not in folders:
        folders.insert(0, before)
    return folders


def _resumed_version(version: Path, known: Iterable[Path]) -> Path | None:
    """The version, of those that are known, that has saved the checkpoint that another one goes on from.

    The path of the checkpoint may be of another machine, or relative to another folder: then it is the version that has
    the last names of the path, those of the run and of the version and as many before as can be, or else one of the
    same run.
    """
    checkpoint = resume_checkpoint(version)
    if not checkpoint:
        return None
    path = local_folder(checkpoint) or Path(checkpoint)
    saved_by, others = path.parents[1], [other for other in known if other != version]
    if path.is_file():
        return next((other for other in others if other.resolve() == saved_by.resolve()), None)
    # How many of their last names are the same
    last = saved_by.parts[::-1]
    names = {other: sum(accumulate(map(eq, other.resolve().parts[::-1], last), and_)) for other in others}
    closest = [other for other, count in names.items() if count == max(names.values()) > 1]
    own = version.with_name(saved_by.name)
    return closest[0] if len(closest) == 1 else own if own in others else None
