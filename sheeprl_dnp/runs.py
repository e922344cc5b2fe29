"""A training run from the outside: where it logs, what it resumes from, and what its user did wrong."""

import json
import os
import pickle
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from fsspec.implementations.local import LocalFileSystem
from lightning.fabric.utilities.cloud_io import get_filesystem
from omegaconf import DictConfig, OmegaConf
from sheeprl.utils import fs

MAX_SEED = 2**32 - 1  # of NumPy's generators


class ConfigError(ValueError):
    """Bad input of the user: its message is one sentence that names the key, the value and what is allowed."""


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, and those that it was made from.

    Hydra raises its own from what goes wrong in building an environment, PyTorch while it handles a disk error;
    Gymnasium makes one of the same type from one of a worker, which is then its argument.
    """
    while error is not None:
        yield error
        inner = error.args[0] if error.args else None
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__


def local_folder(folder: str) -> Path | None:
    """A folder or a file as an absolute path; None for one on a remote filesystem (`s3://bucket/runs`)."""
    filesystem = get_filesystem(folder)
    return Path(filesystem._strip_protocol(folder)).absolute() if isinstance(filesystem, LocalFileSystem) else None


def resumed_step(checkpoint: str) -> int:
    """The environment steps that a run had played when it saved `checkpoint`.

    Raises:
        ConfigError: the checkpoint is missing or damaged, or isn't of a training.
    """
    return int(load_checkpoint(checkpoint)["iter_num"]) * load_run_config(checkpoint).env.num_envs


def load_run_config(checkpoint: str, key: str = "checkpoint.resume_from") -> DictConfig:
    """The configuration of the run that saved a checkpoint, which the user named by `key`.

    Raises:
        ConfigError: there is no such checkpoint, or no configuration where its run would have it.
    """
    try:
        exists = get_filesystem(checkpoint).isfile(checkpoint)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"`{key}={checkpoint}` is on a filesystem that can't be reached: {error}.") from error
    if not exists:
        raise ConfigError(f"`{key}={checkpoint}` is not a file: it must be a checkpoint (`.ckpt`) of a run.")
    path = fs.run_config(checkpoint)
    try:
        return fs.load_yaml(path)
    except OSError as error:
        raise ConfigError(
            f"`{key}={checkpoint}` has no run around it: the configuration of the run must be in `{path}`."
        ) from error


def is_compressed(checkpoint: Path) -> bool:
    """Whether it is a published policy; checkpoints of trainings are not compressed."""
    with suppress(zipfile.BadZipFile), zipfile.ZipFile(checkpoint) as file:
        return any(entry.compress_type for entry in file.infolist())
    return False  # damaged


def load_checkpoint(checkpoint: str, key: str = "checkpoint.resume_from") -> dict[str, Any]:
    """The state saved in a checkpoint, which the user named by `key`; of a local file, the tensors are left on disk.

    Raises:
        ConfigError: it can't be read, or isn't of a training.
    """
    try:
        if path := local_folder(checkpoint):
            state = torch.load(path, map_location="cpu", mmap=not is_compressed(path), weights_only=False)
        else:
            with get_filesystem(checkpoint).open(checkpoint) as file:
                state = torch.load(file, map_location="cpu", weights_only=False)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ConfigError(
            f"`{key}={checkpoint}` can't be read: it must be a whole checkpoint, and this one is damaged ({error})."
        ) from error
    if not isinstance(state, dict) or "iter_num" not in state:
        raise ConfigError(f"`{key}={checkpoint}` is not a checkpoint of a training: it has no `iter_num`.")
    return state


def check_resume(cfg: DictConfig) -> None:
    """Raises a ConfigError where `checkpoint.resume_from` is missing, damaged, or of another kind of run."""
    checkpoint = cfg.checkpoint.resume_from
    saved = load_run_config(checkpoint)
    for key in ("algo.name", "env.id"):
        if OmegaConf.select(saved, key) != OmegaConf.select(cfg, key):
            raise ConfigError(
                f"`checkpoint.resume_from={checkpoint}` is of a run with `{key}={OmegaConf.select(saved, key)}`: "
                f"this one, with `{key}={OmegaConf.select(cfg, key)}`, can only go on from its own."
            )
    played = resumed_step(checkpoint)
    if played >= cfg.algo.total_steps:
        raise ConfigError(
            f"`algo.total_steps={cfg.algo.total_steps}` leaves nothing to do: it must be more than the "
            f"{played} steps of `checkpoint.resume_from={checkpoint}`."
        )


def check_writable(log_root: str) -> None:
    """Raises a ConfigError where a run can't write in the folder of all runs."""
    folder = local_folder(log_root)
    if folder is None:
        return
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"`log_root={log_root}` can't be written: {error.strerror}.") from error


def replace_file(path: Path, content: str) -> None:
    """Writes a file in one piece: whoever reads it finds the old content or the new one, whole."""
    partial = path.with_name(f"{path.name}.{uuid4().hex}.partial")  # of this writer alone
    try:
        partial.write_text(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """As `replace_file`."""
    replace_file(path, json.dumps(content, indent=1) + "\n")


def write_results(path: str, content: Any) -> None:
    """As `write_json`; on a remote filesystem, too."""
    if local := local_folder(path):
        write_json(local, content)
    else:
        get_filesystem(path).pipe_file(path, json.dumps(content).encode())
