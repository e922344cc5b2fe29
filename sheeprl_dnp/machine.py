"""What a run was made on and with."""

import os
import platform
import subprocess
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
