"""`run --down` ends without the user's computer: the machine waits for its results to be fetched, and powers off."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .project import Command, commit, wait_until_shown
from .sshd import Sshd, wait_for

Wait = Callable[..., None]
OFF = ["poweroff"]


@pytest.fixture(autouse=True)
def needs_tmux() -> None:
    if not shutil.which("tmux"):
        pytest.skip("install tmux with the system's packages: trainings run in it")


@pytest.fixture
def wait(machine: Sshd, checkout: Path) -> Wait:
    """Sets how long the machine waits: minutes for its results, seconds for a stop by the API, and after a warning."""

    def setting(minutes: int, grace: int = 0, warning: int = 0) -> None:
        values = {"infra/training.sh": {"FETCH_MINUTES=15": f"FETCH_MINUTES={minutes}"}}
        values["infra/remote/after-training"] = {"GRACE=120": f"GRACE={grace}", "WARNING=60": f"WARNING={warning}"}
        for name, changes in values.items():
            text = before = (checkout / name).read_text()
            for old, new in changes.items():
                assert text.count(f"readonly {old}") == 1
                text = text.replace(f"readonly {old}", f"readonly {new}")
            if text != before:
                commit(checkout, name, text)

    return setting


@pytest.fixture
def alone(machine: Sshd, following) -> Callable[..., None]:
    """Starts `run WORDS` and breaks the user's computer in the middle of the training, which then ends."""

    def start(*words: str) -> None:
        process = following("run", "x", "until=logs/go", *words)
        wait_until_shown(process, "\ntraining exp=x")
        os.killpg(process.pid, signal.SIGKILL)
        machine.cut()
        (machine.project / "logs" / "go").touch()

    return start


def is_powered_off(machine: Sshd) -> bool:
    return machine.calls("systemctl") == OFF


def after(machine: Sshd) -> bool:
    """Whether the machine still has something to do after its training."""
    return machine.tmux("has-session", "-t", "=after-training").returncode == 0


def test_the_machine_ends_by_itself_and_pull_fetches_after_up(
    machine: Sshd, command: Command, wait: Wait, alone, checkout: Path, api
) -> None:
    wait(minutes=0)
    alone("--down", "status=3")
    wait_for(lambda: is_powered_off(machine), "it powers itself off")
    wait_for(lambda: not after(machine), "it is done")
    assert "powers off in 0 s (run --down)" in machine.calls("wall")[0]
    assert not (checkout / "logs/runs").exists()
    machine.stop()
    api.machine.set("off")
    machine.start()
    assert command("up").returncode == 0
    result = command("pull")
    assert result.returncode == 0, result.stderr
    assert "powers itself off" not in result.stderr
    assert (checkout / "logs/runs/run/result.txt").read_text() == "done\n"
    assert command("run", "--follow").returncode == 3


@pytest.mark.slow
def test_it_waits_for_its_results_to_be_fetched(
    machine: Sshd, command: Command, wait: Wait, alone, checkout: Path
) -> None:
    wait(minutes=15)
    alone("--down")
    wait_for(lambda: "ended with status 0" in end_log(machine), "the end")
    assert after(machine) and not is_powered_off(machine)
    result = command("pull")
    assert "The machine powers itself off soon" in result.stderr and "scripts/paperspace down" in result.stderr
    wait_for(lambda: is_powered_off(machine), "it powers itself off")


def end_log(machine: Sshd) -> str:
    path = machine.home / ".local/state/sheeprl-dnp/log"
    return path.read_text() if path.exists() else ""


def test_with_the_users_computer_it_is_stopped_by_the_api(machine: Sshd, command: Command, wait: Wait, api) -> None:
    wait(minutes=15, grace=120)
    result = command("run", "x", "--down")
    assert result.returncode == 0, result.stderr
    assert api.machine.state == "off"
    assert not is_powered_off(machine)


@pytest.mark.slow
def test_without_down_it_stays_on(machine: Sshd, wait: Wait, alone) -> None:
    wait(minutes=0)
    alone()
    wait_for(lambda: "ended with status 0" in end_log(machine) and not after(machine), "the end")
    assert not machine.calls("systemctl")


@pytest.mark.slow
def test_a_training_that_is_killed_ends_it_too(machine: Sshd, wait: Wait, following) -> None:
    wait(minutes=0)
    process = following("run", "x", "until=never", "--down")
    wait_until_shown(process, "\ntraining exp=x")
    os.killpg(process.pid, signal.SIGKILL)
    machine.tmux("kill-session", "-t", "training")
    wait_for(lambda: is_powered_off(machine), "it powers itself off")
    assert "sheeprl exp=x until=never was killed: training exp=x" in end_log(machine)


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["tmux new-session -d -s other sleep 100", "touch .keep-awake"])
def test_what_else_runs_keeps_it_on(machine: Sshd, command: Command, wait: Wait, alone, keep: str) -> None:
    wait(minutes=0)
    assert command("ssh", keep).returncode == 0
    alone("--down")
    wait_for(lambda: not after(machine) and "the machine stays on, and is billed: " in end_log(machine), "the end")
    assert not machine.calls("systemctl")


@pytest.mark.slow
def test_another_run_within_that_time_keeps_it_on(machine: Sshd, command: Command, wait: Wait, alone) -> None:
    wait(minutes=15)
    alone("--down")
    wait_for(lambda: "ended with status 0" in end_log(machine), "the end")
    (machine.project / "logs" / "go").unlink()
    assert command("run", "y").returncode == 0
    wait_for(lambda: not after(machine), "the end")
    assert "exp=y ended" in end_log(machine) and not machine.calls("systemctl")


@pytest.mark.slow
def test_following_it_can_ask_for_the_end(machine: Sshd, command: Command, wait: Wait, following, api) -> None:
    wait(minutes=0)
    process = following("run", "x", "until=logs/go")
    wait_until_shown(process, "\ntraining exp=x")
    os.killpg(process.pid, signal.SIGKILL)
    again = following("run", "--follow", "--down")
    wait_until_shown(again, "training exp=x")
    os.killpg(again.pid, signal.SIGKILL)
    (machine.project / "logs" / "go").touch()
    wait_for(lambda: is_powered_off(machine), "it powers itself off")


# notify

NOTIFY = 'printf "%s\\n" "$1" >> "$HOME/told"; cat >> "$HOME/told"; : secret-token'


def told(machine: Sshd) -> list[str]:
    path = machine.home / "told"
    return path.read_text().splitlines() if path.exists() else []


def test_notify_tells_the_end_and_the_last_line(
    machine: Sshd, command: Command, environment: dict[str, str], record: Path, tmp_path: Path
) -> None:
    environment["PAPERSPACE_NOTIFY"] = NOTIFY
    assert command("run", "x", "status=3").returncode == 3
    line = "sheeprl exp=x status=3 ended with status 3: trained"
    assert wait_for(lambda: len(told(machine)) == 2 and told(machine), "the message") == [line, line]
    assert "secret-token" not in (record / "argv").read_text() + (tmp_path / "front" / "environment").read_text()
    environment["PAPERSPACE_NOTIFY"] = ""
    assert command("run", "x").returncode == 0
    wait_for(lambda: not after(machine), "the end")
    assert len(told(machine)) == 2


@pytest.mark.slow
def test_notify_without_the_users_computer(machine: Sshd, wait: Wait, alone, environment: dict[str, str]) -> None:
    environment["PAPERSPACE_NOTIFY"] = "cat >> told-not-here; exit 3"
    wait(minutes=0)
    alone("--down")
    wait_for(lambda: is_powered_off(machine), "a command that fails keeps nothing on")
    assert "the notify command failed with status 3" in end_log(machine)


@pytest.mark.slow
def test_notify_shows_what_a_progress_bar_showed_last(machine: Sshd, command: Command, checkout: Path) -> None:
    commit(checkout, "tests/sheeprl", "#!/bin/sh\nprintf 'begun\\n 10 %%\\r100 %%\\r\\n \\n'\n")
    assert command("run", "x").returncode == 0
    wait_for(lambda: "ended with status 0: 100 %" in end_log(machine), "the end")


@pytest.mark.slow
def test_a_machine_that_cannot_power_itself_off_says_so(machine: Sshd, wait: Wait, alone) -> None:
    machine.program("systemctl", "#!/bin/sh\nexit 1\n")
    wait(minutes=0)
    alone("--down")
    wait_for(lambda: "cannot power itself off: it is billed until you stop it" in end_log(machine), "the end")


def test_no_key_is_on_it(machine: Sshd) -> None:
    text = Path(__file__).parents[2].joinpath("infra/remote/after-training").read_text()
    assert "PAPERSPACE" not in text and "curl" not in text
    assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0
