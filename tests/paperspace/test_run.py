"""`run` and `pull`: a training in a real tmux on the machine, over a real sshd that cuts connections."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .project import DRIVER, NO_GPU, Command, commit, git, wait_until_shown
from .sshd import Sshd, wait_for

Following = Callable[..., subprocess.Popen[str]]


@pytest.fixture(autouse=True)
def needs_tmux() -> None:
    if not shutil.which("tmux"):
        pytest.skip("install tmux with the system's packages: trainings run in it")


def interrupt(process: subprocess.Popen[str]) -> str:
    """Ctrl-C, and what was printed."""
    os.killpg(process.pid, signal.SIGINT)
    return process.communicate(timeout=30)[0]


def log(machine: Sshd) -> str:
    """The log of the last training, so far."""
    logs = sorted(machine.project.glob("logs/training/*/log"))
    return logs[-1].read_text() if logs else ""


def test_a_training_runs_with_our_last_commit_and_gives_its_status(
    machine: Sshd, command: Command, checkout: Path
) -> None:
    mine = commit(checkout, "new.py")
    result = command("run", "dnp_crafter", "seed=1", "status=3", "name=a b'c")
    assert result.returncode == 3, result.stderr
    assert result.stdout == "training exp=dnp_crafter seed=1 status=3 name=a b'c\ntrained\n"
    assert git(machine.project, "rev-parse", "HEAD") == mine
    assert (machine.project / ".venv-log").read_text() == "setup \n"
    assert "scripts/paperspace pull" in result.stderr


def test_a_training_on_a_new_branch(machine: Sshd, command: Command, checkout: Path) -> None:
    git(checkout, "checkout", "--quiet", "-b", "idea")
    mine = commit(checkout, "new.py")
    assert command("run", "exp=x").returncode == 0
    assert git(machine.project, "symbolic-ref", "--short", "HEAD") == "idea"
    assert git(machine.project, "rev-parse", "HEAD") == mine


def test_no_training_starts_where_torch_sees_no_gpu(machine: Sshd, command: Command, checkout: Path, api) -> None:
    machine.program("nvidia-smi", DRIVER)
    commit(checkout, "tests/python", NO_GPU)
    result = command("run", "--down", "x")
    assert result.returncode == 1
    assert "torch cannot use the GPU: torch 2.13.0 (CUDA 13.0) sees no GPU. Mend it: " in result.stderr
    assert "at the price of the GPU" in result.stderr and "run --cpu" in result.stderr
    assert not log(machine) and machine.tmux("has-session", "-t", "training").returncode
    assert api.machine.state == "ready"


@pytest.mark.parametrize(
    "words, trained",
    [
        (["--cpu", "x"], "training exp=x fabric.accelerator=cpu"),
        (["x", "fabric.accelerator=cpu"], "training exp=x fabric.accelerator=cpu"),
        (["--cpu", "x", "fabric.accelerator=auto"], "training exp=x fabric.accelerator=auto"),
    ],
)
def test_on_the_cpu_where_the_user_says_so(
    machine: Sshd, command: Command, checkout: Path, words: list[str], trained: str
) -> None:
    commit(checkout, "tests/python", NO_GPU)
    result = command("run", *words)
    assert (result.returncode, result.stdout.splitlines()[0]) == (0, trained), result.stderr


def test_uncommitted_work_is_not_left_behind_unseen(machine: Sshd, command: Command, checkout: Path) -> None:
    (checkout / "new.py").write_text("x\n")
    (checkout / "results").mkdir()
    (checkout / "results" / "pulled.csv").write_text("no part of the code\n")
    result = command("run", "x")
    assert result.returncode == 1
    assert "?? new.py" in result.stderr and "pulled.csv" not in result.stderr
    assert not log(machine)


def test_changes_on_the_machine_are_not_run_unseen(machine: Sshd, command: Command) -> None:
    (machine.project / "scripts" / "setup").write_text("changed\n")
    result = command("run", "x")
    assert result.returncode == 1
    assert " M scripts/setup" in result.stderr


def test_commits_of_the_machine_are_not_overwritten(machine: Sshd, command: Command, checkout: Path) -> None:
    theirs = commit(machine.project, "theirs.py")
    assert "scripts/paperspace sync" in command("run", "x").stderr
    commit(checkout, "mine.py")
    result = command("run", "x")
    assert result.returncode == 1 and "both sides" in result.stderr
    assert git(machine.project, "rev-parse", "HEAD") == theirs


@pytest.mark.parametrize("arguments", [[], ["--loud", "x"], ["--follow", "x"]])
def test_misuse(entry, command: Command, arguments: list[str]) -> None:
    result = command("run", *arguments)
    assert result.returncode == 2, result.stderr


def test_a_training_survives_a_cut_connection_and_is_followed_again(machine: Sshd, following: Following) -> None:
    process = following("run", "x", "until=logs/go", "status=5")
    wait_until_shown(process, "\ntraining exp=x")
    machine.stop()
    assert machine.tmux("has-session", "-t", "training").returncode == 0
    machine.start()
    (machine.project / "logs" / "go").touch()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 5, output
    assert "The connection is lost; the training goes on" in output
    assert output.count("\ntrained\n") == 1


@pytest.fixture
def starting(machine: Sshd, following: Following, checkout: Path) -> Iterator[subprocess.Popen[str]]:
    """The command, while the machine sets the project up; in the end that fails."""
    wait = "while [ -e logs/starting ]; do sleep 0.1; done"
    commit(checkout, "scripts/setup", f"#!/bin/sh\nmkdir -p logs\ntouch logs/starting\n{wait}\nexit 1\n")
    process = following("run", "x")
    mark = machine.project / "logs" / "starting"
    wait_for(mark.exists, "the start")
    yield process
    mark.unlink()


def test_ctrl_c_while_a_training_starts_says_that_it_may_run(starting: subprocess.Popen[str]) -> None:
    output = interrupt(starting)
    assert starting.returncode == 130, output
    assert "it may run on the machine" in output and "run --follow" in output


def test_a_connection_lost_while_a_training_starts_says_that_it_may_run(
    starting: subprocess.Popen[str], machine: Sshd
) -> None:
    machine.cut()
    output, _ = starting.communicate(timeout=60)
    assert starting.returncode == 1, output
    assert "it may run on the machine" in output and "run --follow" in output


def test_a_second_training_does_not_start_while_one_starts(
    starting: subprocess.Popen[str], machine: Sshd, command: Command
) -> None:
    interrupt(starting)
    result = command("run", "y")
    assert result.returncode == 1 and "Another training was being started" in result.stderr
    assert not log(machine)


def test_ctrl_c_stops_following_and_not_the_training(
    machine: Sshd, following: Following, command: Command, api
) -> None:
    process = following("run", "x", "until=logs/go", "status=6", "--down")
    wait_until_shown(process, "\ntraining exp=x")
    output = interrupt(process)
    assert process.returncode == 130
    assert "the training goes on" in output and "the machine waits 15 minutes for its results" in output
    assert "run --follow --down" in output
    second = command("run", "y")
    assert second.returncode == 1 and "sheeprl exp=x" in second.stderr
    other = command("ssh", "bash sheeprl-dnp/infra/remote/training start sheeprl-dnp 0 cpu never exp=y")
    assert other.returncode == 4, "on the machine itself, too"
    refused = command("down")
    assert refused.returncode == 1 and "a training runs: sheeprl exp=x" in refused.stderr
    (machine.project / "logs" / "go").touch()
    result = command("run", "--follow")
    assert (result.returncode, result.stdout.splitlines()[-1]) == (6, "trained")
    assert api.machine.state == "ready"


def test_down_follows_the_end_of_the_training(machine: Sshd, command: Command, checkout: Path, api) -> None:
    result = command("run", "--down", "x", "status=3")
    assert result.returncode == 3, result.stderr
    assert api.machine.state == "off"
    assert (checkout / "logs/runs/run/result.txt").read_text() == "done\n"
    assert "trained" in next(checkout.glob("logs/training/*/log")).read_text()


def test_down_follows_a_training_whose_results_git_does_not_ignore(
    machine: Sshd, command: Command, checkout: Path, api
) -> None:
    assert command("run", "--down", "x", "results=results/study").returncode == 0
    assert api.machine.state == "off"
    assert (checkout / "results/study/run/result.txt").exists()


def test_without_the_results_the_machine_stays_on(machine: Sshd, command: Command, checkout: Path, api) -> None:
    commit(checkout, "logs", "a file is in the way of the folder\n")
    git(checkout, "push", "--quiet", str(machine.project), "main:other")
    git(machine.project, "checkout", "--quiet", "-B", "main", "other~")
    git(checkout, "reset", "--quiet", "--soft", "HEAD~")
    git(checkout, "reset", "--quiet")
    result = command("run", "--down", "x")
    assert result.returncode == 1
    assert "stay on the machine's disk. It waits 15 minutes" in result.stderr
    assert api.machine.state == "ready"


def test_ctrl_c_while_results_are_pulled_says_that_the_machine_stays_on(
    machine: Sshd, following: Following, api
) -> None:
    machine.program("ls", "#!/bin/sh\ntouch logs/pulling\nsleep 60\n")
    process = following("run", "--down", "x")
    wait_for((machine.project / "logs" / "pulling").exists, "the pull")
    output = interrupt(process)
    assert process.returncode == 130, output
    assert "the machine stays on, and is billed" in output and "scripts/paperspace pull, then down" in output
    assert api.machine.state == "ready"


def test_a_killed_training_is_a_failure_and_the_machine_is_stopped(machine: Sshd, following: Following, api) -> None:
    process = following("run", "x", "until=never", "--down")
    wait_until_shown(process, "\ntraining exp=x")
    machine.tmux("kill-session", "-t", "training")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1, output
    assert "left no exit status" in output
    assert api.machine.state == "off"


def test_a_set_up_that_fails_is_shown(machine: Sshd, command: Command, checkout: Path) -> None:
    commit(checkout, "scripts/setup", "#!/bin/sh\necho no such package >&2\nexit 1\n")
    result = command("run", "x")
    assert result.returncode == 1
    assert "no such package" in result.stderr and "did not start" in result.stderr


@pytest.mark.parametrize("rsync", ["rsync", "tar"])
def test_pull_adds_and_renews_and_never_deletes(machine: Sshd, command: Command, checkout: Path, rsync: str) -> None:
    if rsync == "tar":
        machine.hide("rsync")
    elif not shutil.which("rsync"):
        pytest.skip("install rsync with the system's packages")
    for folder, text in ((checkout, "old"), (machine.project, "new")):
        commit(folder, "results/study.yaml", f"{text}\n")
        run = folder / "logs/runs/run"
        run.mkdir(parents=True)
        (run / "both.txt").write_text(f"{text}\n")
        (run / f"{text}.txt").write_text(f"{text}\n")
        (run / "memmap_buffer").mkdir()
        (run / "memmap_buffer" / text).write_text("large\n")
    # rsync compares whole seconds
    os.utime(checkout / "logs/runs/run/both.txt", (1, 1))
    os.utime(machine.project / "logs/runs/run/both.txt", (2, 2))
    for _ in range(2):
        result = command("pull")
        assert result.returncode == 0, result.stderr
        files = {path.name: path.read_text() for path in (checkout / "logs/runs/run").glob("*.txt")}
        assert files == {"both.txt": "new\n", "new.txt": "new\n", "old.txt": "old\n"}
        assert [path.name for path in (checkout / "logs/runs/run/memmap_buffer").iterdir()] == ["old"]
        assert (checkout / "results/study.yaml").read_text() == "old\n"
    (checkout / "logs/runs/run/both.txt").write_text("mine, and newer\n")
    assert command("pull").returncode == 0
    assert (checkout / "logs/runs/run/both.txt").read_text() == "mine, and newer\n"
