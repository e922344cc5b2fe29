"""Auto-shutdown cuts trainings off: `run` says so in time, `auto-shutdown` changes it, `run --resume` goes on."""

import os
import re
import shutil
import subprocess
import zipfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from .conftest import REPO, Paperspace, error
from .fake_api import FakeApi
from .project import NO_GPU, Command, commit, wait_until_shown
from .sshd import Sshd

PUT = "PUT /machines/{id}"


@pytest.mark.parametrize("state", ["off", "ready"])
def test_auto_shutdown_is_asked_for_and_seen(api: FakeApi, paperspace: Paperspace, state: str) -> None:
    api.machine.set(state)
    result = paperspace("auto-shutdown", "48")
    assert result.returncode == 0, result.stderr
    body = {"autoShutdownEnabled": True, "autoShutdownTimeout": 48, "autoShutdownForce": True}
    assert [request.body for request in api.sent(PUT)] == [body]
    assert "auto-shutdown: 48 h after it was started" in result.stdout
    assert ("only after down and up" in result.stdout) == (state == "ready")
    assert paperspace("auto-shutdown", "48").returncode == 0 and len(api.sent(PUT)) == 1


@pytest.mark.slow
def test_a_change_that_does_not_take_is_told(
    api: FakeApi, paperspace: Paperspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.unchangeable = {"autoShutdownTimeout"}
    message = error(paperspace, "auto-shutdown", "48")
    assert "took the request, and did not change it. The machine has: auto-shutdown: 8 h" in message
    assert "create --auto-shutdown HOURS" in message
    api.fault(PUT, 400, {"code": "NO", "message": "autoShutdownTimeout cannot be changed"})
    assert "HTTP 400: autoShutdownTimeout cannot be changed. The machine has" in error(
        paperspace, "auto-shutdown", "48"
    )


@pytest.mark.parametrize("words", [[], ["0"], ["-3"], ["1.5"], ["8", "9"], ["never"]])
def test_misuse(api: FakeApi, paperspace: Paperspace, words: list[str]) -> None:
    result = paperspace("auto-shutdown", *words)
    assert result.returncode == 2 and "whole hours above 0" in result.stderr
    assert not api.requests


# What SheepRL prints, padded to the width of a terminal; 200 steps a second
TRAINING = """#!/bin/bash
sed 's/$/        /' << 'END'
CONFIG
├── algo
│   └── name: dreamer_v3_ponder
│       total_steps: {total}
├── checkpoint
│   └── every: {every}
│       resume_from: null
└── metric
    └── log_every: 500
END
for ((step = 5000; ; step += 20)); do
  [ ! -e logs/go ] || exit 0
  echo "Rank-0: policy_step=$step, reward_env_0=1.0"
  sleep 0.1
done
"""


@pytest.fixture
def up_for(machine: Sshd, api: FakeApi):
    """The machine was started so many hours ago."""

    def start(hours: float) -> None:
        began = (datetime.now(timezone.utc) - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        event = {"id": "ev", "name": "start", "state": "done", "machineId": "psmachine", "error": None}
        api.events = [event | {"dtCreated": began, "dtStarted": began, "dtFinished": began}]

    return start


def test_run_warns_where_the_training_is_not_over_by_then(machine: Sshd, checkout: Path, following, up_for) -> None:
    if not shutil.which("tmux"):
        pytest.skip("install tmux with the system's packages: trainings run in it")
    up_for(7.5)
    commit(checkout, "tests/sheeprl", TRAINING.format(total=1_000_000, every=100_000))
    process = following("run", "x")
    shown = wait_until_shown(process, "\nRank-0: policy_step=")
    shown += wait_until_shown(process, "goes on from the last checkpoint.")
    (machine.project / "logs/go").touch()
    rest, _ = process.communicate(timeout=60)
    assert process.returncode == 0, rest
    assert re.search(r"\nAuto-shutdown comes in 0 h 2\d min, whatever runs then\.\n", shown)
    assert re.search(
        r"\nWarning: auto-shutdown comes in 0 h 2\d min, and at \d+\.\d steps/s the training goes on for ", shown
    )
    assert "Its checkpoints are 100000 steps (0 h " in shown and "scripts/paperspace auto-shutdown HOURS" in shown
    assert "run --resume" in shown and "Warning" not in rest  # once
    log = next(machine.project.glob("logs/training/*/log")).read_text()
    assert "Warning" not in log


@pytest.mark.parametrize(
    "left, progress, said",
    [
        (
            600,
            "0 5000\n10 5100\n20 5200",
            "for 27 h 38 min. Its checkpoints are 100000 steps (2 h 46 min) apart, and none more",
        ),
        (12000, "0 5000\n10 5100\n20 5200", "(2 h 46 min) apart. Longer"),
        (600, "0 999000\n10 999100\n20 999200", ""),  # over in 80 s
        (600, "0 5000\n10 5100", ""),  # too little is known
        (600, "0 5000\n10 5000\n20 5000", ""),
        (100000, "0 0\n10 5000\n20 5100\n30 5200", ""),
        (-60, "0 5000\n10 5100\n20 5200", ""),  # it did not come
        (600, "0\n10\n20", ""),  # nothing was logged yet
    ],
)
def test_what_the_machine_reckons(left: int, progress: str, said: str) -> None:
    lines = "\n".join(f"{line} 1000000 100000" if " " in line else line for line in progress.splitlines())
    script = (REPO / "infra/remote/training").read_text().removesuffix('main "$@"\n')
    command = ["bash", "-c", f"{script}\nlateness {left} << 'END'\n{lines}\nEND\n"]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    assert said in result.stdout if said else not result.stdout


# run --resume


@pytest.fixture
def ended(machine: Sshd, command: Command, checkout: Path) -> Path:
    """The folder of checkpoints of a training that the machine's end cut off."""
    assert command("run", "dnp_crafter", "seed=1", "name=a b'c").returncode == 0
    status = next(machine.project.glob("logs/training/*/status"))
    status.unlink()
    folder = machine.project / "logs/runs/dreamer_v3_ponder/crafter/run/version_0/checkpoint"
    folder.mkdir(parents=True)
    return folder


def checkpoint(folder: Path, step: int, whole: bool = True, age: int = 0) -> str:
    """A checkpoint, as far as its end goes; its path from the project."""
    path = folder / f"ckpt_{step}_0.ckpt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", "x" * 1000)
    if not whole:
        path.write_bytes(path.read_bytes()[:500])
    ahead = datetime.now().timestamp() + 1000 - age
    os.utime(path, (ahead, ahead))
    return f"logs/runs/dreamer_v3_ponder/crafter/run/version_0/checkpoint/{path.name}"


def test_resume_goes_on_from_the_last_whole_checkpoint(
    ended: Path, machine: Sshd, command: Command, checkout: Path
) -> None:
    checkpoint(ended, 100000, age=20)
    last = checkpoint(ended, 200000, age=10)
    checkpoint(ended, 300000, whole=False)
    result = command("run", "--resume", "algo.total_steps=2000000")
    assert result.returncode == 0, result.stderr
    same = "training exp=dnp_crafter seed=1 name=a b'c"
    assert result.stdout.splitlines()[0] == f"{same} checkpoint.resume_from={last} algo.total_steps=2000000"
    # and once more, before it has saved one of its own
    result = command("run", "--resume")
    assert result.stdout.splitlines()[0] == f"{same} algo.total_steps=2000000 checkpoint.resume_from={last}"


def test_resume_follows_log_root_and_the_device(machine: Sshd, command: Command, checkout: Path) -> None:
    commit(checkout, "tests/python", NO_GPU)
    root = machine.home / "drive"
    assert command("run", "--cpu", "x", f"log_root={root}").returncode == 0
    folder = root / "runs/checkpoint"
    folder.mkdir(parents=True)
    checkpoint(folder, 100)
    result = command("run", "--resume")
    assert result.returncode == 0, result.stderr
    assert f"fabric.accelerator=cpu checkpoint.resume_from={folder}/ckpt_100_0.ckpt" in result.stdout


def test_nothing_to_resume(machine: Sshd, command: Command, checkout: Path) -> None:
    result = command("run", "--resume")
    assert result.returncode == 1 and "No training was started on the machine with run" in result.stderr
    assert command("run", "x").returncode == 0
    result = command("run", "--resume")
    assert result.returncode == 1 and "left no whole checkpoint; start it again with run" in result.stderr
    assert len(list(machine.project.glob("logs/training/*/log"))) == 1


@pytest.mark.parametrize("words", [["--resume", "dnp_crafter"], ["--resume", "--follow", "x=1"]])
def test_misuse_of_resume(entry, command: Command, words: list[str]) -> None:
    assert command("run", *words).returncode == 2


def test_a_training_without_an_end_says_how_to_go_on(ended: Path, command: Command) -> None:
    result = command("run", "--follow")
    assert result.returncode == 1 and "scripts/paperspace run --resume" in result.stderr
