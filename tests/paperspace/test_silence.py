"""A session that nobody uses keeps the machine on no longer: real SSH sessions and terminals, a clock that jumps."""

import os
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .guard import Guard
from .sshd import Sshd

Clock = Callable[[float], None]
COMMAND = "tty; (while ! [ -e {flag} ]; do sleep 0.1; done; echo output) & cat"


@pytest.fixture
def clock(guard: Guard) -> Clock:
    """Sets how many minutes from now the guard believes it is; nothing has load, and it looks at no terminal yet."""
    path = guard.folder / "offset"
    guard.program("date", f'#!/bin/sh\nexec {shutil.which("date")} -d "$(cat {path}) seconds" "$@"\n')
    guard.program("uptime", "#!/bin/sh\necho ' 10:00 up 1 day, 1 user, load average: 3.10, 0.04, 0.50'\n")
    guard.program("ps", "#!/bin/sh\necho '?'\n")
    path.write_text("0")
    return lambda minutes: bool(path.write_text(str(int(minutes * 60))))


class Session:
    """Somebody who is logged in, at the terminal `path`, where it has one."""

    def __init__(self, environment: dict[str, str], flag: Path, options: list[str]) -> None:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        words = ["ssh", *options, "paperspace", COMMAND.format(flag=flag)]
        self.process = subprocess.Popen(words, env=environment, **pipes)  # type: ignore[call-overload]
        self.path = Path(self.read("\n").split()[0]) if "-tt" in options else Path()
        if "-tt" not in options:
            self.read("not a tty")

    def read(self, words: str) -> str:
        """What its terminal shows, up to these words."""
        shown = ""
        while words not in shown:
            ready, _, _ = select.select([self.process.stdout], [], [], 30)
            assert ready, shown
            shown += os.read(self.process.stdout.fileno(), 4096).decode()
        return shown

    def press_a_key(self) -> None:
        self.process.stdin.write(b"x\n")
        self.process.stdin.flush()
        self.read("x")


@pytest.fixture
def login(
    guard: Guard, entry, sshd: Sshd, environment: dict[str, str], tmp_path: Path
) -> Iterator[Callable[..., Session]]:
    """Logs in."""
    sessions = []

    def start(*options: str) -> Session:
        sessions.append(Session(environment, tmp_path / "flag", list(options)))
        if "-tt" in options:
            guard.program("ps", f"#!/bin/sh\necho {sessions[-1].path.relative_to('/dev')}\n")
        return sessions[-1]

    yield start
    (tmp_path / "flag").touch()  # ends what waits for it in a session without a terminal
    for session in sessions:
        session.process.kill()
        session.process.wait()


@pytest.fixture
def terminal(login) -> Session:
    if os.getuid() != 0:
        pytest.skip("run the tests as root: an sshd of another user cannot give its sessions terminals")
    return login("-tt")


def silent(guard: Guard) -> int:
    """For how many minutes the guard says that nobody was there."""
    said = guard()
    assert said.startswith("busy: SSH session ("), said
    return int(said.splitlines()[0].rpartition("silent for ")[2].removesuffix(" min"))


def test_an_open_session_that_nobody_uses_is_ended(guard: Guard, clock: Clock, terminal: Session) -> None:
    assert silent(guard) == 0
    for minutes in (60, 114):
        clock(minutes)
        assert silent(guard) in (minutes, minutes - 1)
    clock(116)
    assert silent(guard) >= 115
    shown = terminal.read("press a key here.")
    assert "Nobody has used this machine for 11" in shown and "it powers off in 5." in shown
    assert not guard.powered_off
    clock(118)
    assert silent(guard) >= 117 and not guard.powered_off
    clock(121)
    assert guard().endswith("powering off")
    assert guard.powered_off


def test_one_without_a_terminal_as_of_vs_code(guard: Guard, clock: Clock, login) -> None:
    login()
    assert silent(guard) == 0
    clock(116)
    assert silent(guard) == 116
    clock(121)
    assert guard().endswith("powering off")


@pytest.mark.parametrize("sign", ["a key", "output"])
def test_a_sign_of_life_after_the_warning_keeps_it_on(
    guard: Guard, clock: Clock, terminal: Session, tmp_path: Path, sign: str
) -> None:
    guard()
    (guard.folder / "silent-since").write_text(str(int(time.time()) - 117 * 60))
    long_ago = time.time() - 10**4
    os.utime(terminal.path, (long_ago, long_ago))
    clock(0)
    assert silent(guard) == 117
    assert "press a key here" in terminal.read("press a key here.")
    assert silent(guard) == 117, "its own warning is no sign of life"
    os.utime(terminal.path, (long_ago, long_ago))
    if sign == "a key":
        terminal.press_a_key()
    else:
        clock(0.5)  # output at the very moment of the warning cannot be told from it
        (tmp_path / "flag").touch()
        terminal.read("output")
        moment = time.time() + 30
        os.utime(terminal.path, (long_ago, moment))
    assert silent(guard) == 0
    clock(10)
    assert silent(guard) in (9, 10) and not guard.powered_off


@pytest.mark.slow
def test_load_is_a_sign_of_life(guard: Guard, clock: Clock, terminal: Session) -> None:
    guard()
    clock(100)
    guard.program("uptime", "#!/bin/sh\necho ' 10:00 up 1 day, 1 user, load average: 0.00, 0.25, 0.50'\n")
    assert silent(guard) == 0


@pytest.mark.slow
def test_the_gpu_is_a_sign_of_life(guard: Guard, clock: Clock, terminal: Session) -> None:
    guard()
    clock(100)
    guard.program("nvidia-smi", "#!/bin/sh\necho 50\n")
    assert guard() == "busy: GPU at 50 %"
    guard.program("nvidia-smi", "#!/bin/sh\nexit 9\n")
    clock(121)
    assert silent(guard) == 0


@pytest.mark.slow
def test_another_session_is_a_sign_of_life(guard: Guard, clock: Clock, login) -> None:
    login()
    guard()
    clock(100)
    login()
    assert silent(guard) == 0


@pytest.mark.slow
@pytest.mark.parametrize("setting, off", [("0", False), ("30", True)])
def test_the_setting(guard: Guard, clock: Clock, login, setting: str, off: bool) -> None:
    guard.settings["IDLE_GUARD_SILENT_MINUTES"] = setting
    login()
    for minutes in (0, 26, 31, 10**4):
        clock(minutes)
        guard()
    assert guard.powered_off == off
