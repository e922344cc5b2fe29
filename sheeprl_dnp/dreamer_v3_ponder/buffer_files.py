"""One training at a time writes in the memory-mapped files of a replay buffer.

A checkpoint of a run with `buffer.memmap` has the paths of these files, not what is in them: every training that goes
on from it, or from a checkpoint of one that did, goes on in the same files.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from sheeprl.utils.memmap import MemmapArray
from sheeprl.utils.utils import dotdict

from sheeprl_dnp.runs import ConfigError, load_checkpoint

PATIENCE = 5.0  # seconds, in which the environments of a training that was killed end: they hold its files as long


def hold(folder: Path) -> AbstractContextManager:
    """Holds the files in `folder`, those of one process, until the training ends, however it does.

    Raises:
        ConfigError: another training holds them.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        return FileLock(folder.with_suffix(".lock")).acquire(timeout=PATIENCE)
    except Timeout as error:
        raise ConfigError(
            f"`buffer.memmap=True` makes a run go on in the replay buffer of its checkpoint, `{folder}`, in which "
            "another training is writing: it can go on from there when that one has ended."
        ) from error


def resumed_folder(cfg: dotdict, rank: int) -> Path | None:
    """The folder of the files with which a process of a resumed run goes on; None if it starts new ones."""
    if not (cfg.checkpoint.resume_from and cfg.buffer.memmap and cfg.buffer.checkpoint):
        return None
    buffers: Any = load_checkpoint(cfg.checkpoint.resume_from)["rb"]
    if isinstance(buffers, list):
        buffers.checkpoint_path = cfg.checkpoint.resume_from  # type: ignore[attr-defined]
        buffers = buffers[rank] if rank < len(buffers) else None
    for buffer in buffers.buffer if buffers else ():
        for array in buffer.buffer.values():
            if isinstance(array, MemmapArray):
                return array.filename.parent.parent  # <folder>/env_<n>/<key>.memmap
    return None
