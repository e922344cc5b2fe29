"""`tensorboard`: a page of the machine, on this computer's loopback, as long as the command runs."""

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from .project import Command, wait_until_shown
from .sshd import Sshd, wait_for

# Shows what it was asked to show, where it was asked to
TENSORBOARD = """#!{python}
import functools, http.server, sys
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=options["--logdir"])
http.server.HTTPServer((options["--host"], int(options["--port"])), handler).serve_forever()
"""


@pytest.fixture
def runs(machine: Sshd) -> Path:
    """The folder of the machine's runs, and a TensorBoard there."""
    program = machine.project / ".venv/bin/tensorboard"
    program.parent.mkdir(parents=True)
    program.write_text(TENSORBOARD.format(python=sys.executable))
    program.chmod(0o755)
    folder = machine.project / "logs/runs"
    folder.mkdir(parents=True)
    (folder / "events").write_text("a loss that falls\n")
    return folder


@pytest.fixture
def opened(tmp_path: Path) -> Path:
    """The addresses that the user's browser was asked to open."""
    opener, record = tmp_path / "front" / "xdg-open", tmp_path / "opened"
    opener.write_text(f'#!/bin/sh\necho "$1" >> {record}\n')
    opener.chmod(0o755)
    return record


def page(address: str) -> str:
    with urllib.request.urlopen(address + "events", timeout=30) as answer:
        return answer.read().decode()


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def started(
    following: Callable[..., subprocess.Popen[str]], opened: Path, *words: str
) -> tuple[str, subprocess.Popen[str]]:
    """The address of the page, and the command."""
    process = following("tensorboard", *words)
    wait_until_shown(process, "Ctrl-C ends it")
    wait_for(opened.exists, "the browser is opened")
    return opened.read_text().split()[0], process


def test_the_page_of_the_runs_is_forwarded_and_opened(machine: Sshd, runs: Path, opened: Path, following) -> None:
    address, process = started(following, opened)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", address)
    assert page(address) == "a loss that falls\n"
    servers = serving(machine)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)
    wait_for(lambda: not serving(machine), "it ends on the machine, too")
    assert servers and not listens(int(address.split(":")[2].strip("/")))


def serving(machine: Sshd) -> list[str]:
    words = [str(machine.programs / "pgrep"), "-a", "-f", "bin/tensorboard --logdir"]
    return subprocess.run(words, capture_output=True, text=True).stdout.splitlines()


@pytest.mark.slow
def test_it_ends_there_when_the_connection_breaks(machine: Sshd, runs: Path, opened: Path, following) -> None:
    _, process = started(following, opened)
    assert serving(machine)
    machine.cut()
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "The connection broke off" in output
    wait_for(lambda: not serving(machine), "it ends on the machine, too")


@pytest.mark.slow
def test_a_folder_and_a_port_of_ones_own(machine: Sshd, runs: Path, opened: Path, following) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    (machine.project / "results/my study").mkdir(parents=True)
    (machine.project / "results/my study/events").write_text("a study\n")
    address, _ = started(following, opened, "results/my study/", "--port", str(port))
    assert address == f"http://127.0.0.1:{port}/" and page(address) == "a study\n"


def test_a_port_that_is_taken(machine: Sshd, command: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        result = command("tensorboard", "--port", str(server.getsockname()[1]))
    assert result.returncode == 1 and "is taken by another program" in result.stderr


def test_what_is_missing_on_the_machine(machine: Sshd, command: Command, runs: Path) -> None:
    result = command("tensorboard", "results/none")
    assert result.returncode == 1 and "has no folder results/none in 'sheeprl-dnp'" in result.stderr
    (machine.project / ".venv/bin/tensorboard").unlink()
    result = command("tensorboard")
    assert result.returncode == 1 and "There is no TensorBoard on the machine" in result.stderr


@pytest.mark.parametrize("words", [["--port"], ["--port", "x"], ["--loud"]], ids=" ".join)
def test_misuse(entry, command: Command, words: list[str]) -> None:
    assert command("tensorboard", *words).returncode == 2
