"""The idle guard of a machine, with programs that do as told."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from .project import REPO

GUARD = REPO / "infra" / "idle-guard"
# Shows the processes of this test alone: elsewhere on this computer, people and trainings may be at work
PGREP = """#!/bin/bash
{pgrep} "$@" | {{
  status=1
  while read -r pid rest; do
    ancestor=$pid
    while [[ "${{ancestor:-0}}" -gt 1 ]]; do
      [[ "$ancestor" != {ours} ]] || {{ echo "$pid $rest" && status=0 && break; }}
      ancestor="$(sed -n 's/^PPid:[[:space:]]*//p' "/proc/$ancestor/status" 2> /dev/null)"
    done
  done
  exit $status
}}
"""


class Guard:
    """The guard of a machine whose settings, state and programs are in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.programs, self.folder = folder / "programs", folder
        self.programs.mkdir(parents=True)
        self.program("pgrep", PGREP.format(pgrep=shutil.which("pgrep"), ours=os.getpid()))
        self.program("systemctl", f'#!/bin/sh\necho "$*" >> {folder}/systemctl\n')
        self.program("nvidia-smi", "#!/bin/sh\nexit 9\n")
        self.settings = {"IDLE_GUARD_CHECKS": "3", "IDLE_GUARD_KEEP_AWAKE": str(folder / "keep-awake")}

    def program(self, name: str, text: str) -> None:
        """A program on the PATH of the guard."""
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def __call__(self, command: str = "check") -> str:
        environment = {"PATH": f"{self.programs}:{os.environ['PATH']}", "RUNTIME_DIRECTORY": str(self.folder)}
        result = subprocess.run([GUARD, command], env=environment | self.settings, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert result.stderr == ""
        return result.stdout.strip()

    @property
    def powered_off(self) -> bool:
        """Whether it called for that."""
        calls = self.folder / "systemctl"
        return calls.exists() and "poweroff" in calls.read_text()


@pytest.fixture
def guard(tmp_path: Path) -> Guard:
    if not shutil.which("pgrep"):
        pytest.skip("install procps with the system's packages: the idle guard looks for processes with it")
    return Guard(tmp_path / "guard")
