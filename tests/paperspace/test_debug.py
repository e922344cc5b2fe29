"""`run --debug`: the training waits for a debugger on loopback, and the port is forwarded."""

import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from .project import Command, commit, git
from .sshd import Sshd, free_port, wait_for

debugpy = pytest.importorskip("debugpy", reason="install debugpy, e.g. scripts/setup debug")

PYTHON = """#!/bin/sh
[ "$1" != -c ] || exit 0 # the GPU works
export PYTHONPATH='{site}'
exec '{python}' -Xfrozen_modules=off "$@"
"""


def send(client: socket.socket, serial: int, command: str, **arguments: object) -> None:
    """A request of the Debug Adapter Protocol."""
    body = json.dumps({"seq": serial, "type": "request", "command": command, "arguments": arguments}).encode()
    client.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))


def until(client: socket.socket, words: bytes) -> bytes:
    """What the debugger says, up to and with `words`."""
    heard = b""
    while words not in heard:
        chunk = client.recv(65536)
        assert chunk, heard
        heard += chunk
    return heard


def debug(port: int) -> bytes:
    """What VS Code does to attach, and what it hears until the program ends."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        send(client, 1, "initialize", adapterID="debugpy")
        heard = until(client, b'"supportsConfigurationDoneRequest"')
        send(client, 2, "attach", justMyCode=False)
        heard += until(client, b'"initialized"')
        send(client, 3, "configurationDone")
        return heard + until(client, b'"terminated"')


@pytest.fixture
def ports(machine: Sshd, checkout: Path) -> tuple[int, int]:
    """Both sides are one computer here, so the forwarded port has another number than the one that it leads to."""
    here, there = free_port(), free_port()
    training = (checkout / "infra/training.sh").read_text()
    assert "DEBUG_PORT=5678" in training and '"127.0.0.1:$DEBUG_PORT:127.0.0.1:$DEBUG_PORT"' in training
    training = training.replace("DEBUG_PORT=5678", f"DEBUG_PORT={there}")
    training = training.replace('"127.0.0.1:$DEBUG_PORT:', f'"127.0.0.1:{here}:')
    commit(checkout, "infra/training.sh", training)
    python = PYTHON.format(site=Path(debugpy.__file__).parents[1], python=sys.executable)
    commit(checkout, "tests/python", python)
    commit(checkout, "tests/sheeprl", "import sys\nprint('training', *sys.argv[1:])\nsys.exit(4)\n")
    return here, there


def test_a_training_waits_for_the_debugger_and_goes_on_with_it(
    ports: tuple[int, int], machine: Sshd, following
) -> None:
    process = following("run", "--debug", "x")
    wait_for(lambda: listeners(ports[0]), "the port is forwarded")
    wait_for(lambda: listeners(ports[1]), "debugpy listens")
    assert listeners(ports[0]) | listeners(ports[1]) == {f"127.0.0.1:{port}" for port in ports}
    log = next(machine.project.glob("logs/training/*/log"))
    assert "training" not in log.read_text()
    assert b'"process"' in debug(ports[0])
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 4, output
    assert "training exp=x" in output and "Attach to run --debug" in output
    assert (machine.project / ".venv-log").read_text() == "setup debug\n"


def listeners(port: int) -> set[str]:
    """The addresses at which something listens on `port`."""
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        address, number = line.split()[1].split(":")
        if line.split()[3] == "0A" and int(number, 16) == port:
            found.add(".".join(str(byte) for byte in reversed(bytes.fromhex(address))) + f":{port}")
    return found


def test_a_busy_port_is_refused_before_any_work(ports: tuple[int, int], command: Command, machine: Sshd) -> None:
    before = git(machine.project, "rev-parse", "HEAD")
    with socket.create_server(("127.0.0.1", ports[1])):
        result = command("run", "--debug", "x")
    assert result.returncode == 1
    assert f"Port {ports[1]} of this computer" in result.stderr
    assert git(machine.project, "rev-parse", "HEAD") == before


def test_ctrl_c_leaves_it_waiting(ports: tuple[int, int], machine: Sshd, following) -> None:
    process = following("run", "--debug", "x")
    wait_for(lambda: listeners(ports[1]), "debugpy listens")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 130, output
    assert machine.tmux("has-session", "-t", "training").returncode == 0
