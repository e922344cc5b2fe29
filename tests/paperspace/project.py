"""A throwaway checkout of the project, and a machine that it is on."""

import os
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .sshd import Sshd

REPO = Path(__file__).parents[2]
# A training: makes a result, then does what its overrides say
SHEEPRL = """#!/bin/bash
for override in "$@"; do
  case "$override" in status=* | until=* | results=*) declare "${override%%=*}=${override#*=}" ;; esac
done
run="${results:-logs/runs}/run"
mkdir -p "$run/memmap_buffer"
echo "training $*"
echo done > "$run/result.txt"
echo large > "$run/memmap_buffer/buffer"
while [ -n "${until:-}" ] && [ ! -e "$until" ]; do sleep 0.1; done
echo "trained"
exit "${status:-0}"
"""
SETUP = """#!/bin/bash
cd "$(dirname "${BASH_SOURCE[0]}")/.."
echo "setup $*" >> .venv-log
mkdir -p .venv/bin
cp tests/sheeprl .venv/bin/sheeprl
cp tests/python .venv/bin/python
"""
# Torch, as infra/remote/gpu asks it: the GPU works
PYTHON = """#!/bin/sh
echo 'torch 2.13.0+cu126 multiplies matrices on the NVIDIA RTX A4000'
"""


# A disk with so much free
DF = """#!/bin/sh
echo head
echo a b c {kilobytes} d e
"""
DRIVER = "#!/bin/sh\necho NVIDIA RTX A4000, 550.54\n"
# Torch that sees no GPU says nothing of it by itself
NO_GPU = """#!/bin/sh
echo 'torch 2.13.0 (CUDA 13.0) sees no GPU'
exit 1
"""


def git(folder: Path, *arguments: str) -> str:
    """What git prints, run in `folder` with nobody's configuration."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    result = subprocess.run(["git", *who, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def commit(folder: Path, name: str, text: str = "x\n") -> str:
    """A new commit with the file `name`; its hash."""
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    git(folder, "add", "--force", "--", name)
    git(folder, "commit", "--quiet", "--message", f"add {name}")
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A git repository like the user's: our scripts, a set-up that takes no time, and a `sheeprl` that does as told."""
    folder = tmp_path / "checkout"
    (folder / "scripts").mkdir(parents=True)
    (folder / "tests").mkdir()
    shutil.copytree(REPO / "infra", folder / "infra", ignore=shutil.ignore_patterns("paperspace.conf"))
    shutil.copy(REPO / "scripts" / "paperspace", folder / "scripts")
    (folder / ".gitignore").write_text((REPO / ".gitignore").read_text() + "\n/.venv-log\n")
    for name, text in {"scripts/setup": SETUP, "tests/sheeprl": SHEEPRL, "tests/python": PYTHON}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    git(folder, "init", "--quiet")
    git(folder, "config", "user.name", "Ada")
    git(folder, "config", "user.email", "ada@example.org")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "the project")
    return folder


Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def command(checkout: Path, environment: dict[str, str]) -> Command:
    """Runs `scripts/paperspace ARGUMENTS` of the checkout."""

    def run(
        *arguments: str, stdin: str = "", timeout: float = 120, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(checkout / "scripts" / "paperspace"), *arguments],
            env=environment | variables,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def following(checkout: Path, environment: dict[str, str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `scripts/paperspace ARGUMENTS` of the checkout as a terminal would, and goes on; prints all to stdout."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [str(checkout / "scripts" / "paperspace"), *arguments]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        started.append(subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def wait_until_shown(process: subprocess.Popen[str], text: str) -> str:
    """The command has printed `text`: what the machine has done, it may not know yet. What it printed meanwhile."""
    assert process.stdout
    printed = b""
    while text.encode() not in printed:
        readable, _, _ = select.select([process.stdout], [], [], 60)
        part = os.read(process.stdout.fileno(), 4096) if readable else b""
        assert part, printed
        printed += part
    return printed.decode(errors="replace")


WRITE_ENTRY = """
REPO="$1"
. "$REPO/infra/common.sh" && . "$REPO/infra/ssh.sh"
load_config
MACHINE_ID=psmachine
ssh_write_entry 127.0.0.1
"""


@pytest.fixture
def entry(checkout: Path, environment: dict[str, str], api: Any, sshd: Sshd) -> None:
    """The machine is ready, and the alias leads to it, as `up` leaves it."""
    api.machine.set("ready")
    sshd.program("df", DF.format(kilobytes=50 * 1024**2))
    subprocess.run(["bash", "-euc", WRITE_ENTRY, "bash", str(checkout)], env=environment, check=True)


@pytest.fixture
def machine(entry: None, sshd: Sshd, checkout: Path) -> Sshd:
    """The machine with the project on it, as `bootstrap` leaves it."""
    git(sshd.home, "init", "--quiet", "sheeprl-dnp")
    git(sshd.project, "config", "receive.denyCurrentBranch", "updateInstead")
    git(checkout, "push", "--quiet", str(sshd.project), "main")
    return sshd
