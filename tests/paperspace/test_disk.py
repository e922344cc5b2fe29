"""A full or nearly full disk of the machine: `run` refuses before anything changes there, and says what to delete."""

import os
from pathlib import Path

from .project import DF, Command, commit, git
from .sshd import Sshd

MB = 1024**2


def make(path: Path, megabytes: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, megabytes * MB)


def test_run_refuses_and_names_the_largest_runs(machine: Sshd, command: Command, checkout: Path) -> None:
    runs = machine.project / "logs/runs/dreamer_v3_ponder/crafter"
    make(runs / "small/version_0/checkpoint/ckpt_1.ckpt", 20)
    make(runs / "large/version_0/checkpoint/ckpt_1.ckpt", 130)
    make(runs / "large/version_0/memmap_buffer/rgb.memmap", 60)
    make(runs / "large/version_1/memmap_buffer/rgb.memmap", 60)
    make(machine.home / ".cache/pip/wheel", 160)
    for number in range(4):
        make(runs / f"run{number}/version_0/checkpoint/ckpt_1.ckpt", 60)
    before = git(machine.project, "rev-parse", "HEAD")
    commit(checkout, "new.py")
    machine.program("df", DF.format(kilobytes=3 * MB))
    result = command("run", "x")
    assert result.returncode == 1
    assert "only 3.0 GB of its disk are free, and a training needs 10 GB" in result.stderr
    runs = runs.relative_to(machine.home)
    named = f"rm -r PATH); 0.2 GB {runs}/large (0.1 GB of it replay buffers, which only run --resume needs)"
    assert f"{named}; 0.2 GB {machine.home}/.cache/pip; 0.1 GB {runs}/run" in result.stderr
    assert f"{runs}/small" not in result.stderr
    assert git(machine.project, "rev-parse", "HEAD") == before
    assert not list(machine.project.glob("logs/training/*"))


def test_a_disk_that_is_full_to_the_last_byte(machine: Sshd, command: Command) -> None:
    machine.program("df", DF.format(kilobytes=0))
    result = command("run", "x")
    assert result.returncode == 1 and "only 0.0 GB of its disk are free" in result.stderr


def test_enough_room_is_enough(machine: Sshd, command: Command) -> None:
    machine.program("df", DF.format(kilobytes=10 * MB))
    assert command("run", "x").returncode == 0
