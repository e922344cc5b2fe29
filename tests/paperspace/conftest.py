"""The user's computer, with a throwaway home: `scripts/paperspace` against a fake API, its programs recorded."""

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .fake_api import FakeApi
from .guard import guard  # noqa: F401
from .project import checkout, command, entry, following, machine  # noqa: F401
from .sshd import dead_machine, sshd  # noqa: F401

REPO = Path(__file__).parents[2]
SCRIPT = REPO / "scripts" / "paperspace"
API_KEY = "sk-not-to-be-seen-0123456789"
LOOPBACK = ("127.", "::1", "localhost")
# What needs a package, and its name in Debian
TOOLS = {"curl": "curl", "jq": "jq", "git": "git", "ssh": "openssh-client"}
# Programs that are recorded whenever the scripts start them
RECORDED = [
    "bash",
    "cat",
    "code",
    "curl",
    "date",
    "git",
    "jq",
    "mktemp",
    "rsync",
    "scp",
    "sleep",
    "ssh",
    "ssh-keygen",
    "tmux",
]
# Records the arguments and the environment that a program gets, refuses any address but loopback, and runs it
WRAPPER = """#!/bin/sh
{{ printf '%s' '{name}'; printf ' %s' "$@"; echo; }} >> '{record}/argv'
case "$*" in */scripts/paperspace*) ;; *) export -p >> '{record}/environment' ;; esac
for argument in "$@"; do
  case "$argument" in
    http://127.0.0.1[:/]*|https://127.0.0.1[:/]*|http://localhost[:/]*) ;;
    http://*|https://*) echo "{name} $argument" >> '{record}/strangers'; exit 97 ;;
  esac
done
{check}
exec '{program}' "$@"
"""
# The same for an alias of ssh, which its configuration leads somewhere
SSH_CHECK = """
host="$('{program}' -G "$@" 2> /dev/null | sed -n 's/^hostname //p')"
case "$host" in 127.*|localhost|::1|"") ;; *) echo "ssh $host" >> '{record}/strangers'; exit 97 ;; esac
"""

SSH_ANSWERS = """#!/bin/sh
echo ssh "$@" >> '{record}/argv'
export -p >> '{record}/environment'
[ "$1" = -G ] || [ ! -e '{record}/dead' ] || exit 255
case "$*" in *unsaved*) cat '{record}/unsaved' 2> /dev/null ;; esac
exit 0
"""

Paperspace = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def tools() -> None:
    """Skips where a program is missing that a user of the scripts has."""
    missing = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    if missing:
        pytest.skip(f"install {' '.join(missing)} with the system's packages: these tests run the real programs")


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Ctrl-C and a hang-up reach what a test starts, even where the tests are a background job or under `nohup`, whose
    children would ignore them.
    """
    handlers = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test whose own process connects anywhere but to this computer."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not str(address[0]).startswith(LOOPBACK):
            pytest.fail(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A throwaway home."""
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return path


@pytest.fixture
def ssh_key(home: Path) -> Path:
    """The user's usual SSH key."""
    path = home / ".ssh" / "id_ed25519"
    path.parent.mkdir(mode=0o700)
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ada's", "-f", str(path)], check=True)
    return path


@pytest.fixture
def api() -> Iterator[FakeApi]:
    """The fake API, with the machine `psmachine` named `dnp` that is off."""
    with FakeApi(key=API_KEY) as fake:
        yield fake
    assert not fake.violations, fake.violations


@pytest.fixture
def record(tmp_path: Path) -> Iterator[Path]:
    """A folder with the arguments (`argv`) and environments of the programs that were started."""
    path = tmp_path / "record"
    path.mkdir()
    yield path
    strangers = path / "strangers"
    assert not strangers.exists(), f"not loopback: {strangers.read_text()}"


@pytest.fixture
def programs(tmp_path: Path, record: Path) -> Path:
    """A folder for the front of PATH, with a recording wrapper for each program; a test may put its own there."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in RECORDED:
        program = shutil.which(name)
        if program:
            check = SSH_CHECK.format(record=record, program=program) if name == "ssh" else ""
            (folder / name).write_text(WRAPPER.format(name=name, record=record, program=program, check=check))
            (folder / name).chmod(0o755)
    return folder


@pytest.fixture
def ssh_answers(programs: Path, record: Path) -> None:
    """In place of ssh, a program that succeeds at once: for tests that are about the API.

    A file `unsaved` in the folder `record` is what the machine's git tells; a file `dead` makes every connection fail.
    """
    (programs / "ssh").write_text(SSH_ANSWERS.format(record=record))
    (programs / "ssh").chmod(0o755)


@pytest.fixture
def ssh_entry(home: Path) -> Callable[[], str]:
    """Reads what SSH knows of the machine."""
    return lambda: (home / ".ssh" / "paperspace.d" / "paperspace.conf").read_text()


@pytest.fixture
def environment(home: Path, api: FakeApi, programs: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of the user's shell: the fake API is configured, and anything else is a dead proxy away."""
    config = tmp_path / "paperspace.conf"
    config.write_text("# nothing\n")
    return {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "TMPDIR": str(tmp_path),
        "http_proxy": "http://127.0.0.1:9",
        "https_proxy": "http://127.0.0.1:9",
        "no_proxy": "127.0.0.1,localhost",
        "PAPERSPACE_CONFIG": str(config),
        "PAPERSPACE_API_KEY": API_KEY,
        "PAPERSPACE_API_URL": api.url,
        "PAPERSPACE_MACHINE": "dnp",
        "PAPERSPACE_POLL_SECONDS": "0.05",
        "PAPERSPACE_UP_TIMEOUT": "60",
        "PAPERSPACE_DOWN_TIMEOUT": "60",
    }


@pytest.fixture
def paperspace(environment: dict[str, str], tmp_path: Path) -> Paperspace:
    """Runs `scripts/paperspace ARGUMENTS`; keywords set variables of its environment, None takes one away."""

    def run(
        *arguments: str, stdin: str | None = None, timeout: float = 120, cwd: Path = tmp_path, **variables: Any
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(SCRIPT), *arguments],
            cwd=cwd,
            env=merged(environment, variables),
            input=stdin or "",
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    return run


@pytest.fixture
def background(environment: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `scripts/paperspace ARGUMENTS` in a process group of its own, as a terminal does, and goes on."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **variables: Any) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(SCRIPT), *arguments],
            cwd=tmp_path,
            env=merged(environment, variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()


def merged(environment: dict[str, str], variables: dict[str, Any]) -> dict[str, str]:
    """`environment` with `variables`; None takes one away."""
    together = environment | variables
    return {key: str(value) for key, value in together.items() if value is not None}


def error(paperspace: Paperspace, *arguments: str, **variables: object) -> str:
    """The one error of a command that fails."""
    result = paperspace(*arguments, **variables)
    assert result.returncode == 1, (result.returncode, result.stderr)
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.stderr
    return lines[0]
