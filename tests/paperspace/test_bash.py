"""An old bash, as macOS has one, is told in one sentence before anything else is read.

The variable PAPERSPACE_OLD_BASH may name a bash before 4.4, which then runs the scripts; else the version is pretended.
"""

import os
import subprocess
from pathlib import Path

import pytest

from .conftest import SCRIPT

OLD_BASH = os.environ.get("PAPERSPACE_OLD_BASH", "")


def refused(result: subprocess.CompletedProcess[str]) -> None:
    """One sentence, with the mend, and nothing else."""
    assert result.returncode == 1
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("Error: scripts/paperspace needs bash 4.4 or newer, and this is ")
    assert "brew install bash" in line


@pytest.mark.parametrize(
    "version, old", [("3 2", True), ("4 3", True), ("4 4", False), ("5 0", False), ("10 1", False)]
)
def test_its_version_is_looked_at_first(tmp_path: Path, version: str, old: bool) -> None:
    text = SCRIPT.read_text()
    assert text.count("BASH_VERSINFO[") == 2
    pretender = tmp_path / "scripts" / "paperspace"
    pretender.parent.mkdir()
    pretender.write_text(
        text.replace("BASH_VERSINFO[", "VERSION[").replace("\nset -e", f"\nVERSION=({version})\nset -e", 1)
    )
    result = subprocess.run(["bash", pretender, "--help"], capture_output=True, text=True)
    if old:
        refused(result)
    else:
        assert "infra/common.sh: No such file" in result.stderr, "it goes on, to files that are not there"


@pytest.mark.skipif(not OLD_BASH, reason="set PAPERSPACE_OLD_BASH to the path of a bash before 4.4")
@pytest.mark.parametrize("arguments", [[], ["--help"], ["up"], ["run", "--down", "x"]], ids=" ".join)
def test_a_real_one(arguments: list[str]) -> None:
    refused(subprocess.run([OLD_BASH, SCRIPT, *arguments], capture_output=True, text=True))
