"""A machine that is neither off nor reachable, as after a `poweroff` from inside, may be billed on: commands say so."""

import json
from pathlib import Path

import pytest

from .conftest import Paperspace
from .fake_api import FakeApi
from .project import Command
from .sshd import Sshd

BILLED = "For Paperspace it is ready, and it may be billed on ($0.76/h, $18.24 a day), even if it powered itself off"
INVOICE = "your first invoice shows"


@pytest.fixture
def dead(api: FakeApi, record: Path, ssh_answers: None) -> FakeApi:
    """Its idle guard has powered it off, and the API still shows it as ready."""
    (record / "dead").touch()
    api.machine.set("ready")
    return api


def test_status_says_what_it_may_cost(dead: FakeApi, paperspace: Paperspace) -> None:
    shown = paperspace("status").stdout
    assert BILLED in shown and INVOICE in shown and "scripts/paperspace down stops it for certain" in shown
    status = json.loads(paperspace("status", "--json").stdout)
    assert (status["reachable"], status["billed"]) == (False, True)


def test_up_says_it_before_it_waits(dead: FakeApi, paperspace: Paperspace) -> None:
    result = paperspace("up", PAPERSPACE_UP_TIMEOUT="2")
    assert result.returncode == 1
    assert result.stderr.index(BILLED) < result.stderr.index("waiting for SSH") and INVOICE in result.stderr


@pytest.mark.parametrize("state, reachable", [("ready", True), ("off", None), ("starting", None)])
def test_a_machine_that_is_fine_is_not_suspected(
    api: FakeApi, paperspace: Paperspace, ssh_answers: None, state: str, reachable: bool | None
) -> None:
    api.machine.set(state)
    api.machine.stuck.add(state)
    assert "billed on" not in paperspace("status").stdout
    assert json.loads(paperspace("status", "--json").stdout)["reachable"] is reachable
    api.machine.stuck.clear()
    assert "billed on" not in paperspace("up").stderr


@pytest.mark.parametrize(
    "words", [["sync"], ["pull"], ["run", "x"], ["run", "--follow"], ["ssh", "true"], ["bootstrap"]]
)
def test_commands_that_need_it_say_so(machine: Sshd, command: Command, words: list[str]) -> None:
    machine.stop()
    result = command(*words)
    assert result.returncode != 0
    assert BILLED in result.stderr and INVOICE in result.stderr


def test_doctor_says_so(machine: Sshd, command: Command) -> None:
    machine.stop()
    assert BILLED in command("doctor").stdout


@pytest.mark.parametrize("state, said", [("off", "It is off. Start it"), ("stopping", "It is stopping. Wait for it")])
def test_a_machine_in_another_state_is_not_billed_on(
    machine: Sshd, command: Command, api: FakeApi, state: str, said: str
) -> None:
    machine.stop()
    api.machine.set(state)
    api.machine.stuck.add(state)
    assert f"{said}: scripts/paperspace up" in command("sync").stderr


def test_without_the_api_the_way_on_is_told_all_the_same(machine: Sshd, command: Command) -> None:
    machine.stop()
    result = command("sync", PAPERSPACE_API_URL="http://127.0.0.1:9/v1")
    assert "does not answer over SSH" in result.stderr and "Start it: scripts/paperspace up" in result.stderr


def test_create_points_to_the_first_invoice(api: FakeApi, paperspace: Paperspace) -> None:
    api.machines.clear()
    assert "Look at your first invoice" in paperspace("create", "--yes", "--key", "none").stdout
