"""The decision of the idle guard, with real processes and SSH sessions, and an `nvidia-smi` that does as told."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .guard import GUARD, Guard
from .project import REPO, Command
from .sshd import Sshd, wait_for


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Starts `PROGRAM ARGUMENTS`, where PROGRAM is a sleeping script of that name under the path of a project."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> None:
        started.append(subprocess.Popen(list(words), cwd=tmp_path, stdin=subprocess.DEVNULL))

    yield start
    for sleeper in started:
        sleeper.kill()
        sleeper.wait()


def script(tmp_path: Path, name: str) -> str:
    """A script in Python that sleeps."""
    path = tmp_path / "sheeprl-dnp" / ".venv" / "bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("import time\ntime.sleep(100)\n")
    return str(path)


def test_it_powers_off_at_the_last_of_the_idle_checks_in_a_row(guard: Guard) -> None:
    assert guard() == "idle 1 of 3 checks in a row"
    assert guard() == "idle 2 of 3 checks in a row"
    assert not guard.powered_off
    assert guard().splitlines() == ["idle 3 of 3 checks in a row", "powering off"]
    assert guard.powered_off


def test_a_busy_check_begins_the_count_anew(guard: Guard) -> None:
    guard()
    guard()
    (guard.folder / "keep-awake").touch()
    assert "keep-awake exists" in guard()
    (guard.folder / "keep-awake").unlink()
    assert guard() == "idle 1 of 3 checks in a row"
    assert not guard.powered_off


def test_a_power_off_that_failed_is_tried_again(guard: Guard) -> None:
    guard.program("systemctl", f'#!/bin/sh\necho "$*" >> {guard.folder}/systemctl\nexit 1\n')
    environment = {"PATH": f"{guard.programs}:{os.environ['PATH']}", "RUNTIME_DIRECTORY": str(guard.folder)}
    for _ in range(4):
        subprocess.run([GUARD, "check"], env=environment | guard.settings, capture_output=True)
    assert (guard.folder / "systemctl").read_text().count("poweroff") == 2


@pytest.mark.parametrize("options", [[], ["-tt"], ["-N"]], ids=["without a terminal", "with one", "a port only"])
def test_an_ssh_session_keeps_it_on(
    guard: Guard, entry, sshd: Sshd, environment: dict[str, str], options: list[str]
) -> None:
    if options == ["-tt"] and os.getuid() != 0:
        pytest.skip("run the tests as root: an sshd of another user cannot give its sessions terminals")
    guard.settings["IDLE_GUARD_CHECKS"] = "1000"  # it is asked often while the session begins and ends
    assert guard().startswith("idle 1")
    words = [] if options == ["-N"] else ["sleep 100"]
    session = subprocess.Popen(["ssh", *options, "paperspace", *words], env=environment, stdin=subprocess.DEVNULL)
    try:
        found = wait_for(lambda: (said := guard()).startswith("busy: SSH session") and said, "the session is seen")
        assert "sshd" in found
        assert guard().startswith("busy: SSH session")
    finally:
        session.kill()
        session.wait()
    wait_for(lambda: guard().startswith("idle 1"), "the session's end is seen")


def test_a_stranger_who_knocks_does_not_keep_it_on(guard: Guard, sshd: Sshd) -> None:
    with socket.create_connection(("127.0.0.1", sshd.port)) as stranger:
        assert stranger.recv(100).startswith(b"SSH-")
        assert sshd.sessions()
        assert guard().startswith("idle")


@pytest.mark.parametrize(
    "words",
    [
        ["{python}", "{sheeprl}", "exp=dnp_crafter"],
        ["{python}", "{sheeprl}-eval", "checkpoint_path=x"],
        ["{python}", "-u", "{sheeprl}"],
        ["{python}", "-c", "import time; time.sleep(100)", "-m", "debugpy", "--wait-for-client", "{sheeprl}", "exp=x"],
        ["{python}", "-c", "import time; time.sleep(100)", "-m", "sheeprl", "exp=x"],
        ["{python}", "-c", "import time; time.sleep(100)", "-m", "sheeprl_dnp.evaluation", "x"],
    ],
)
def test_a_training_keeps_it_on(guard: Guard, tmp_path: Path, process, words: list[str]) -> None:
    script(tmp_path, "sheeprl-eval")
    places = {"python": sys.executable, "sheeprl": script(tmp_path, "sheeprl")}
    process(*(word.format(**places) for word in words))
    wait_for(lambda: guard().startswith("busy: training ("), "the training is seen", 10)


@pytest.mark.parametrize(
    "words",
    [
        ["tail", "-f", "{sheeprl}"],
        ["{python}", "-c", "import time; time.sleep(100)", "--logdir", "/home/x/sheeprl-dnp/logs/runs"],
        ["bash", "-c", "sleep 100; : {sheeprl} exp=x"],
    ],
)
def test_what_only_names_it_does_not(guard: Guard, tmp_path: Path, process, words: list[str]) -> None:
    places = {"python": sys.executable, "sheeprl": script(tmp_path, "sheeprl")}
    process(*(word.format(**places) for word in words))
    time.sleep(0.3)
    assert guard().startswith("idle")


@pytest.mark.parametrize(
    "answer, busy",
    [
        ("echo 0; echo 37", "GPU at 37 %"),
        ("echo 5", "GPU at 5 %"),
        ("echo 4", ""),
        ("echo '[N/A]'", ""),
        ("echo NVIDIA-SMI has failed >&2; exit 9", ""),
        ("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18", ""),
    ],
)
def test_a_gpu_that_works_keeps_it_on(guard: Guard, answer: str, busy: str) -> None:
    guard.program("nvidia-smi", f"#!/bin/sh\n{answer}\n")
    assert guard() == (f"busy: {busy}" if busy else "idle 1 of 3 checks in a row")


def test_the_state_in_a_line(guard: Guard) -> None:
    assert guard("status") == "on, last check: no check since the start"
    guard()
    assert guard("status") == "on, last check: idle 1 of 3 checks in a row"
    guard.program("systemctl", "#!/bin/sh\nexit 3\n")
    assert guard("status").startswith("OFF (sudo systemctl enable --now idle-guard.timer)")


def test_status_of_the_machine_shows_it(machine: Sshd, command: Command) -> None:
    assert "scripts/paperspace bootstrap" in command("status").stdout
    machine.program("idle-guard", GUARD.read_text())
    machine.program("systemctl", "#!/bin/sh\nexit 0\n")
    assert "on, last check: no check since the start" in command("status").stdout


def test_misuse_of_it(guard: Guard) -> None:
    assert subprocess.run([GUARD], capture_output=True).returncode == 2


def test_the_units_are_valid(tmp_path: Path) -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("install systemd with the system's packages: it knows whether its units are valid")
    program = tmp_path / "idle-guard"
    program.touch(mode=0o755)
    for unit in (REPO / "infra" / "systemd").glob("idle-guard.[st]*"):
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/local/sbin/idle-guard", str(program)))
    units = [str(path) for path in tmp_path.glob("idle-guard.*")]
    assert len(units) == 2
    result = subprocess.run(["systemd-analyze", "verify", "--man=no", *units], capture_output=True, text=True)
    ours = [line for line in result.stderr.splitlines() if "idle-guard" in line]
    assert result.returncode == 0 and not ours, result.stderr


def test_it_has_no_key_and_calls_nobody() -> None:
    text = GUARD.read_text()
    assert "PAPERSPACE" not in text and "curl" not in text
