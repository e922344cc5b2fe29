"""Ctrl-C, or a closed terminal, in the middle of `up` and `down` says in which state it leaves the machine."""

import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import REPO
from .fake_api import FakeApi

Background = Callable[..., subprocess.Popen[str]]
pytestmark = pytest.mark.usefixtures("ssh_answers")


def seen(api: FakeApi, state: str) -> threading.Event:
    """Is set when the scripts have been shown a machine in `state`."""
    event = threading.Event()
    look = api.machine.look

    def watched() -> dict[str, object]:
        shown = look()
        if shown["state"] == state:
            event.set()
        return shown

    api.machine.look = watched  # type: ignore[method-assign]
    return event


def interrupted(process: subprocess.Popen[str], number: int = signal.SIGINT) -> str:
    """What the command says at the signal, which its whole process group gets as from a terminal."""
    os.killpg(process.pid, number)
    try:
        out, err = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:  # bash loses a signal that comes just as the program ends that it waits for
        os.killpg(process.pid, number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, (process.returncode, err)
    assert out == ""
    return err


def test_a_signal_between_two_substitutions_is_heard() -> None:
    commands = f'. {REPO}/infra/common.sh; told() {{ say "heard $(echo it)"; exit 130; }}; on_interrupt told'
    script = f'{commands}; x="$(kill -INT $$)$(echo then)"; say "went on"'
    result = subprocess.run(["bash", "-euc", script], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (130, "heard it\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_in_the_middle_of_up(api: FakeApi, background: Background, number: int) -> None:
    api.machine.stuck.add("starting")
    shown = seen(api, "starting")
    process = background("up")
    assert shown.wait(60)
    message = interrupted(process, number)
    assert "Interrupted while starting dnp." in message
    assert "The machine is starting now, and may be billed ($0.76/h) until it is off." in message
    assert "scripts/paperspace down stops it" in message


def test_in_the_middle_of_down(api: FakeApi, background: Background) -> None:
    api.machine.set("ready")
    api.machine.stuck.add("stopping")
    shown = seen(api, "stopping")
    process = background("down")
    assert shown.wait(60)
    message = interrupted(process)
    assert "Interrupted while stopping dnp." in message
    assert "The machine is stopping now, and may be billed ($0.76/h) until it is off." in message


def test_while_a_request_hangs(api: FakeApi, background: Background) -> None:
    api.machine.stuck.add("starting")
    asked, release = threading.Event(), threading.Event()

    def hang(operation: str) -> None:
        if operation == "GET /machines/{id}" and not release.is_set():
            asked.set()
            release.wait(60)

    api.on_request = hang
    process = background("up")
    assert asked.wait(60)
    threading.Timer(0.5, release.set).start()
    message = interrupted(process)
    assert "The machine is starting now" in message


def test_while_ssh_is_awaited(api: FakeApi, background: Background, record: Path) -> None:
    (record / "dead").touch()
    shown = seen(api, "ready")
    process = background("up")
    assert shown.wait(60)
    while "-- paperspace true" not in (record / "argv").read_text():
        time.sleep(0.02)
    message = interrupted(process)
    assert "Interrupted while waiting for SSH on dnp." in message
    assert "The machine is ready now, and may be billed ($0.76/h) until it is off." in message


def test_while_capacity_is_awaited(api: FakeApi, background: Background) -> None:
    full = {"code": "CAPACITY", "message": "Out of capacity"}
    api.fault("PATCH /machines/{id}/start", 400, full, times=99)
    process = background("up", "--retry", "5", PAPERSPACE_POLL_SECONDS="2")
    assert process.stderr
    while "is free" not in process.stderr.readline():
        assert process.poll() is None
    message = interrupted(process)
    assert "The machine is off now; off, only its storage is billed." in message


def test_when_the_api_is_gone_too(api: FakeApi, background: Background) -> None:
    api.machine.stuck.add("starting")
    shown = seen(api, "starting")
    process = background("up")
    assert shown.wait(60)
    api.fault("*", 503, times=10**6)
    message = interrupted(process)
    assert re.search(r"The machine was \w+ when last seen, .*billed \(\$0\.76/h\).* HTTP 503", message)
