"""`up` ends with a machine that answers over SSH, `down` with one that is off, from whatever state it is in."""

import json
import re
from collections.abc import Callable

import pytest

from .conftest import Paperspace
from .contract import STATES
from .fake_api import FakeApi

pytestmark = pytest.mark.usefixtures("ssh_answers")


@pytest.mark.parametrize("state", STATES)
def test_up_twice_and_down_twice_from_every_state(api: FakeApi, paperspace: Paperspace, state: str) -> None:
    api.machine.set(state)
    for command, end in (("up", "ready"), ("up", "ready"), ("down", "off"), ("down", "off")):
        result = paperspace(command)
        assert result.returncode == 0, result.stderr
        assert api.machine.state == end
    starts = 1 if state in ("off", "stopping") else 0
    assert len(api.sent("PATCH /machines/{id}/start")) == starts
    assert len(api.sent("PATCH /machines/{id}/stop")) == 1


@pytest.mark.parametrize("state", STATES)
def test_down_from_every_state(api: FakeApi, paperspace: Paperspace, state: str) -> None:
    api.machine.set(state)
    result = paperspace("down")
    assert result.returncode == 0, result.stderr
    assert api.machine.state == "off"
    assert "dnp is off" in result.stdout


def test_up_says_where_it_is_what_it_costs_and_what_stops_it(api: FakeApi, paperspace: Paperspace) -> None:
    api.machine.data["usageRate"] = 1.38
    result = paperspace("up")
    assert result.returncode == 0, result.stderr
    assert "ssh paperspace (paperspace@127.0.0.1, static address)" in result.stdout
    assert "$1.38/h" in result.stdout
    assert "scripts/paperspace down" in result.stdout
    assert "auto-shutdown: 8 h after it was started" in result.stdout
    assert "idle guard: " in result.stdout
    assert "starting" in result.stderr and "serviceready" in result.stderr  # progress


def test_a_machine_that_nothing_would_stop_is_pointed_out(api: FakeApi, paperspace: Paperspace) -> None:
    api.machine.data |= {"autoShutdownEnabled": False, "autoShutdownTimeout": None}
    assert "auto-shutdown: none!" in paperspace("up").stdout


def test_down_says_what_resting_costs(paperspace: Paperspace) -> None:
    result = paperspace("down")
    assert "While it rests it costs about $10.00 a month: its disk ($7.00 by the API, its storageRate)" in result.stdout
    assert "its static address ($3.00 by the price list)" in result.stdout


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"storageRate": 0.00685, "publicIpType": "dynamic"}, r"\$5\.00 a month: its disk \(\$5\.00 by the API"),
        (
            {"storageRate": 0, "storageTotal": 250 * 1024**3},
            r"\$13\.00 a month: its disk \(\$10\.00 by the price list, 250 GB",
        ),
        ({"storageRate": 0, "storageTotal": 250}, r"\$13\.00 a month"),
    ],
)
def test_the_resting_price_follows_what_the_api_tells(
    api: FakeApi, paperspace: Paperspace, changes: dict[str, object], text: str
) -> None:
    api.machine.data |= changes
    assert re.search(text, paperspace("down").stdout)


def test_a_changed_address_is_in_the_ssh_entry_after_up(
    api: FakeApi, paperspace: Paperspace, ssh_entry: Callable[[], str]
) -> None:
    api.machine.data["publicIpType"] = "dynamic"
    assert paperspace("up").returncode == 0
    assert "HostName 127.0.0.1" in ssh_entry()
    assert paperspace("down").returncode == 0
    api.machine.next_ip = "127.0.0.7"
    result = paperspace("up")
    assert result.returncode == 0, result.stderr
    assert "HostName 127.0.0.7" in ssh_entry() and "HostName 127.0.0.1\n" not in ssh_entry()
    assert "127.0.0.7, dynamic address" in result.stdout


def test_a_state_that_is_shown_late_is_waited_for(api: FakeApi, paperspace: Paperspace) -> None:
    api.machine.lag = 4  # looks that still show the state from before the request
    assert paperspace("up").returncode == 0
    api.machine.lag = 4
    assert paperspace("down").returncode == 0
    assert len(api.sent("PATCH /machines/{id}/start")) == 1
    assert len(api.sent("PATCH /machines/{id}/stop")) == 1


def test_a_machine_that_leaves_ready_while_ssh_is_awaited_is_started_again(
    api: FakeApi, paperspace: Paperspace
) -> None:
    api.machine.set("ready")
    api.machine.plan = ["stopping", "off"]  # a stop that the state does not show yet
    result = paperspace("up")
    assert result.returncode == 0, result.stderr
    assert api.machine.state == "ready"
    assert len(api.sent("PATCH /machines/{id}/start")) == 1


@pytest.mark.parametrize("command", ["up", "down"])
def test_a_restore_point_is_refused(api: FakeApi, paperspace: Paperspace, command: str) -> None:
    api.machine.set("ready")
    api.machine.data |= {"restorePointEnabled": True, "restorePointFrequency": "shutdown"}
    result = paperspace(command)
    assert result.returncode == 1
    assert "each stop resets its disk" in result.stderr
    assert "may be billed" in result.stderr
    assert not api.sent("PATCH /machines/{id}/start") + api.sent("PATCH /machines/{id}/stop")
    assert paperspace("down", "--force").returncode == 0


def test_a_machine_without_an_address_is_no_success(api: FakeApi, paperspace: Paperspace) -> None:
    api.machine.data |= {"publicIp": None, "publicIpType": "none"}
    result = paperspace("up")
    assert result.returncode == 1
    assert "no public address" in result.stderr and "may be billed" in result.stderr
    assert paperspace("down").returncode == 0


def test_status_as_json(api: FakeApi, paperspace: Paperspace) -> None:
    off = json.loads(paperspace("status", "--json").stdout)
    assert off["state"] == "off" and off["billed"] is False
    assert off["dollarsPerMonthWhileOff"] == 10
    assert [off[key] for key in ("uptimeSeconds", "dollarsSinceStart", "idleGuard", "unsavedWork")] == [None] * 4
    paperspace("up")
    start = api.sent("PATCH /machines/{id}/start")[0]
    assert start
    api.events[0]["dtStarted"] = "2020-01-01T00:00:00.123Z"
    ready = json.loads(paperspace("status", "--json").stdout)
    assert ready["state"] == "ready" and ready["billed"] is True
    assert ready["dollarsPerHour"] == 0.76 and ready["addressType"] == "static"
    assert ready["uptimeSeconds"] > 5 * 365 * 24 * 3600
    assert ready["dollarsSinceStart"] == pytest.approx(ready["uptimeSeconds"] / 3600 * 0.76, abs=0.01)
    assert ready["unsavedWork"] == []
    assert isinstance(ready["idleGuard"], str)


@pytest.mark.parametrize("state", STATES)
def test_status_in_words_in_every_state(api: FakeApi, paperspace: Paperspace, state: str) -> None:
    api.machine.set(state)
    api.machine.stuck.add(state)
    result = paperspace("status")
    assert result.returncode == 0, result.stderr
    assert f"dnp (psmachine): {state}" in result.stdout
    assert ("only what it costs while off" if state == "off" else "$0.76/h") in result.stdout
    assert "about $10.00 a month" in result.stdout
