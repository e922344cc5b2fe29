"""The shell scripts of the project are clean to shellcheck and shfmt, and executable where they are commands."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]


def shell_files() -> list[Path]:
    """Every file under scripts/, infra/ and .ci/ that a shell reads."""
    paths = [path for folder in ("scripts", "infra", ".ci") for path in sorted((REPO / folder).rglob("*"))]
    return [path for path in paths if path.is_file() and (path.suffix == ".sh" or first_line(path).endswith("bash"))]


def first_line(path: Path) -> str:
    return path.read_bytes().split(b"\n", 1)[0].decode(errors="replace")


def check(program: str, *options: str) -> None:
    if not shutil.which(program):
        pytest.skip(f"install {program} with the system's packages: it checks the shell scripts")
    names = [str(path.relative_to(REPO)) for path in shell_files()]
    result = subprocess.run([program, *options, *names], cwd=REPO, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_there_is_something_to_check() -> None:
    names = {path.name for path in shell_files()}
    assert {"paperspace", "run", "work.sh", "bootstrap.sh", "idle-guard", "training", "git-state"} <= names


def test_shellcheck_finds_nothing() -> None:
    check("shellcheck", "--external-sources")


def test_shfmt_finds_nothing() -> None:
    check("shfmt", "-i", "2", "-ci", "-sr", "-d")


@pytest.mark.parametrize("path", shell_files(), ids=lambda path: str(path.relative_to(REPO)))
def test_a_command_is_executable_and_strict(path: Path) -> None:
    sourced = path.suffix == ".sh" and not first_line(path).startswith("#!")
    assert sourced or os.access(path, os.X_OK)
    assert sourced or "\nset -euo pipefail\n" in path.read_text() or path.name == "doctor"


@pytest.mark.parametrize("path", shell_files(), ids=lambda path: str(path.relative_to(REPO)))
def test_a_file_is_short(path: Path) -> None:
    assert len(path.read_text().splitlines()) < 300
