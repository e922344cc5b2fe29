"""What a run was made on and with."""

import multiprocessing
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


def describe_machine() -> dict[str, Any]:
    return {
        "platform": platform.platform(),
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "sheeprl": version("sheeprl"),
    }


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def start_method() -> str:
    """How the processes of environments are started: as set for this process, if that is one of Python's own ways.

    In the workers of joblib it isn't, and environments that are started as those are can't share their observations.
    """
    usual = multiprocessing.get_start_method()
    if usual in multiprocessing.get_all_start_methods():
        return usual
    return "fork" if sys.platform == "linux" else "spawn"


def commit() -> str | None:
    """The commit of this project that runs, with `-dirty` after it if files differ; None for an installed package."""
    git = ["git", "-C", str(Path(__file__).parent)]
    commands = (
        ["ls-files", "--error-unmatch", __file__],  # not of a repository that the package is only installed below
        ["describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
    )
    try:
        *_, said = (subprocess.run([*git, *args], capture_output=True, text=True, check=True) for args in commands)
        return said.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
