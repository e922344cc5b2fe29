"""`down` names the results that git ignores and that are not here, and what else runs on the machine."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .project import Command, commit, wait_until_shown
from .sshd import Sshd, wait_for
from .test_work import refused, stopped

SLEEP = "import time\ntime.sleep(100)\n"


def result(folder: Path, name: str, text: str = "1\n") -> Path:
    """A file of a run, below `logs/`."""
    path = folder / "logs/runs/dnp/run" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_results_that_git_ignores_are_named_until_they_are_pulled(machine: Sshd, command: Command, api) -> None:
    result(machine.project, "checkpoint/ckpt 1.ckpt")
    refused(command, api, "not pulled: logs/runs/dnp/run/checkpoint/ckpt 1.ckpt")
    assert command("pull").returncode == 0
    stopped(command, api)


@pytest.mark.slow
@pytest.mark.parametrize("rsync", ["rsync", "tar"])
def test_results_that_went_on_are_named_again(machine: Sshd, command: Command, api, rsync: str) -> None:
    if rsync == "tar":
        machine.hide("rsync")
    path = result(machine.project, "log")
    assert command("pull").returncode == 0
    subprocess.run(["touch", "-d", "+5 seconds", path], check=True)
    refused(command, api, "not pulled: logs/runs/dnp/run/log")
    assert command("pull").returncode == 0
    stopped(command, api)


@pytest.mark.slow
def test_results_of_a_study_that_git_ignores(machine: Sshd, command: Command, api) -> None:
    path = machine.project / "results/study/run/checkpoint/last.ckpt"
    path.parent.mkdir(parents=True)
    path.write_text("1\n")
    refused(command, api, "not pulled: results/study/run/checkpoint/last.ckpt")
    assert command("pull").returncode == 0
    stopped(command, api)


def test_many_results_are_named_by_their_folders(machine: Sshd, command: Command, api) -> None:
    for number in range(12):
        result(machine.project, f"{number % 2}/{number}")
    refused(command, api, "not pulled: logs/runs/dnp/run/0/ (6 files)\nnot pulled: logs/runs/dnp/run/1/ (6 files)\n")


@pytest.mark.slow
def test_replay_buffers_are_not_waited_for(machine: Sshd, command: Command, api) -> None:
    result(machine.project, "memmap_buffer/observations")
    result(machine.project, "version_0/checkpoint_buffers/1")
    stopped(command, api)


@pytest.mark.slow
def test_what_is_newer_here_is_not_waited_for(machine: Sshd, command: Command, checkout: Path, api) -> None:
    result(machine.project, "log", "old\n")
    subprocess.run(["touch", "-d", "+5 seconds", result(checkout, "log", "newer\n")], check=True)
    stopped(command, api)


@pytest.fixture
def needs_tmux() -> None:
    if not shutil.which("tmux"):
        pytest.skip("install tmux with the system's packages")


def test_another_tmux_session(machine: Sshd, command: Command, needs_tmux: None, api) -> None:
    assert command("ssh", "tmux new-session -d -s prepare sleep 100").returncode == 0
    refused(command, api, "still runs: tmux session 'prepare': sleep")
    assert "tmux session 'prepare': sleep" in command("status").stdout
    assert command("ssh", "tmux kill-session -t prepare").returncode == 0
    stopped(command, api)


def test_a_shell_that_waits_in_tmux_is_named_and_no_obstacle(
    machine: Sshd, command: Command, needs_tmux: None, api
) -> None:
    assert command("ssh", "tmux new-session -d -s mine bash").returncode == 0
    wait_for(lambda: "bash" in machine.tmux("list-panes", "-a", "-F", "#{pane_current_command}").stdout, "the shell")
    answer = command("down")
    assert answer.returncode == 0, answer.stderr
    assert "ends too: tmux session 'mine': bash" in answer.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "what, words",
    [
        ("a study", "{python} -c SLEEP -m sheeprl_dnp.study.study results/mine"),
        ("Jupyter", "{python} {home}/bin/jupyter-lab --no-browser"),
        ("Jupyter", "{python} -c SLEEP -m ipykernel_launcher -f kernel.json"),
        ("a training outside of run", "{python} {home}/bin/sheeprl exp=x"),
    ],
)
def test_what_else_runs(machine: Sshd, command: Command, api, what: str, words: str) -> None:
    (machine.home / "bin").mkdir()
    for name in ("jupyter-lab", "sheeprl"):
        (machine.home / "bin" / name).write_text(SLEEP)
    words = words.format(python=sys.executable, home=machine.home).replace("SLEEP", "'import time; time.sleep(100)'")
    assert command("ssh", f"setsid -f {words} > /dev/null 2>&1 < /dev/null & sleep 0.3").returncode == 0
    try:
        refused(command, api, f"still runs: {what}: {sys.executable}")
    finally:
        command("ssh", f"pgrep -f '{sys.executable}' | xargs kill")
    stopped(command, api)


@pytest.mark.slow
def test_the_training_of_run_is_named_once(
    machine: Sshd, command: Command, checkout: Path, needs_tmux: None, following, api
) -> None:
    commit(checkout, "tests/sheeprl", f"#!{sys.executable}\nprint('begun', flush=True)\n{SLEEP}")
    process = following("run", "x")
    wait_until_shown(process, "\nbegun")
    answer = command("down")
    assert answer.returncode == 1
    assert "a training runs: sheeprl exp=x" in answer.stderr and "still runs" not in answer.stderr
