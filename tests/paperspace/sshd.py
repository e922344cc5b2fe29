"""The machine: a real sshd on loopback, with throwaway keys and home."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
USER = pwd.getpwuid(os.getuid()).pw_name
CONFIG = """
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/user_key.pub
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 100
LogLevel VERBOSE
SetEnv HOME={home} PATH={programs}:{path} TMUX_TMPDIR={folder} DESTDIR={root} LANG=C.UTF-8
ForceCommand {folder}/login
"""
# sshd starts commands in the home of the system's user; ours is another one
LOGIN = """#!/bin/bash
cd "$HOME"
[ -n "$SSH_ORIGINAL_COMMAND" ] || exec bash
exec bash -c "$SSH_ORIGINAL_COMMAND"
"""
# ssh looks for its configuration in the home of the system's user, whatever HOME says
SSH = """#!/bin/sh
export -p >> '{front}/environment'
config="$HOME/.ssh/config"
[ -e "$config" ] || config=none
exec '{ssh}' -F "$config" "$@"
"""
# The real pgrep finds the processes of everyone on this computer; the machine has those of its home alone
PGREP = """#!/bin/bash
'{pgrep}' "$@" | {{
  status=1
  while read -r pid rest; do
    tr '\\0' '\\n' < "/proc/$pid/environ" 2> /dev/null | grep -qx 'HOME={home}' && echo "$pid $rest" && status=0
  done
  exit $status
}}
"""
# What would switch this computer off, or write on everyone's terminals, is recorded
RECORDER = """#!/bin/sh
echo "{name} $*" >> '{record}'
[ '{name}' != systemctl ] || [ "$1" = poweroff ]
"""
SUDO = """#!/bin/sh
[ "$1" != -n ] || shift
exec "$@"
"""


def free_port() -> int:
    """A port of loopback that nothing listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(condition: Callable[[], Any], what: str, seconds: float = 60) -> Any:
    """What `condition` returns, as soon as that is true; fails after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not after {seconds} s"
        time.sleep(0.05)
    return found


class Sshd:
    """A machine at 127.0.0.1:`port`; `programs` comes first in its PATH, and its system's files are below `root`."""

    def __init__(self, folder: Path, tmp_path: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.home, self.programs, self.root = (tmp_path / "machine" / name for name in ("home", "programs", "root"))
        self.log = tmp_path / "machine" / "log"
        self.project = self.home / "sheeprl-dnp"
        for path in (self.home, self.programs, self.root):
            path.mkdir(parents=True)
        self.process: subprocess.Popen[bytes] | None = None
        self.make_key("host_key")
        self.make_key("user_key")
        (folder / "login").write_text(LOGIN)
        (folder / "login").chmod(0o755)
        places = {"home": self.home, "programs": self.programs, "root": self.root, "path": SYSTEM_PATH}
        self.program("pgrep", PGREP.format(pgrep=shutil.which("pgrep"), home=self.home))
        self.program("sudo", SUDO)
        for name in ("systemctl", "wall"):
            self.program(name, RECORDER.format(name=name, record=self.root / "calls"))
        (folder / "config").write_text(CONFIG.format(port=self.port, folder=folder, **places))

    def make_key(self, name: str) -> None:
        """A new pair of keys, in place of the old one."""
        for path in (self.folder / name, self.folder / f"{name}.pub"):
            path.unlink(missing_ok=True)
        path = str(self.folder / name)
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "test", "-f", path], check=True)

    def start(self) -> None:
        """Listens when this returns."""
        program = shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
        assert program
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # which it insists on
        command = [program, "-D", "-f", str(self.folder / "config"), "-E", str(self.log)]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)
        wait_for(self.answers, "sshd listens")

    def answers(self) -> bool:
        """Whether something listens on the port."""
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def sessions(self) -> list[int]:
        """The processes of the connections."""
        assert self.process
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def cut(self) -> None:
        """Breaks the connections off."""
        for pid in self.sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """Nothing listens, and no connection is left, when this returns."""
        if self.process:
            self.cut()
            self.process.kill()
            self.process.wait()
            self.process = None

    def program(self, name: str, text: str) -> None:
        """A program of the machine, before those of the system."""
        (self.programs / name).write_text(text)
        (self.programs / name).chmod(0o755)

    def hide(self, name: str) -> None:
        """The machine has no program `name`."""
        folder = self.folder / "bin"
        folder.mkdir()
        for place in SYSTEM_PATH.split(":"):
            for path in Path(place).iterdir() if Path(place).is_dir() else ():
                if path.name != name and not (folder / path.name).exists():
                    (folder / path.name).symlink_to(path)
        config = self.folder / "config"
        config.write_text(config.read_text().replace(SYSTEM_PATH, str(folder)))
        self.stop()
        self.start()

    def calls(self, name: str) -> list[str]:
        """How `name`, one of the recorded programs, was called."""
        record = self.root / "calls"
        lines = record.read_text().splitlines() if record.exists() else []
        return [line.removeprefix(f"{name} ") for line in lines if line.startswith(f"{name} ")]

    def tmux(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """tmux of the machine, asked without SSH."""
        environment = {"PATH": os.environ["PATH"], "TMUX_TMPDIR": str(self.folder)}
        return subprocess.run(["tmux", *arguments], env=environment, capture_output=True, text=True)


@pytest.fixture
def dead_machine(tmp_path: Path, environment: dict[str, str]) -> Iterator[Sshd]:
    """The machine, configured for the commands; its sshd doesn't run yet."""
    if not shutil.which("sshd", path=os.environ["PATH"] + ":/usr/sbin:/sbin"):
        pytest.skip("install openssh-server with the system's packages: these tests log in to a real sshd")
    if not Path("/proc/self/task").is_dir():
        pytest.skip("the connections of sshd are found by Linux's /proc")
    folder = Path(tempfile.mkdtemp(prefix="sshd-"))  # short, for the sockets of tmux
    sshd = Sshd(folder, tmp_path)
    front = tmp_path / "front"
    front.mkdir()
    ssh = shutil.which("ssh", path=environment["PATH"])
    (front / "ssh").write_text(SSH.format(ssh=ssh, front=front))
    (front / "ssh").chmod(0o755)
    environment |= {
        "PATH": f"{front}:{environment['PATH']}",
        "PAPERSPACE_SSH_USER": USER,
        "PAPERSPACE_SSH_PORT": str(sshd.port),
        "PAPERSPACE_SSH_KEY": str(folder / "user_key"),
    }
    yield sshd
    sshd.stop()
    if shutil.which("tmux"):
        sshd.tmux("kill-server")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sshd(dead_machine: Sshd) -> Sshd:
    """The machine, with its sshd running."""
    dead_machine.start()
    return dead_machine
