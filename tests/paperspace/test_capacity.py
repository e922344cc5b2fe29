"""No free machine of the type: however Paperspace shows it, `up` says so, and `up --retry` waits for one."""

import time

import pytest

from .conftest import Paperspace, error
from .fake_api import FakeApi
from .fake_machine import new_event

pytestmark = pytest.mark.usefixtures("ssh_answers")
START = "PATCH /machines/{id}/start"
FULL = {"code": "CAPACITY", "message": "Out of capacity for A4000 in NY2"}


def test_no_capacity_at_once(api: FakeApi, paperspace: Paperspace) -> None:
    api.fault(START, 400, FULL)
    message = error(paperspace, "up")
    assert "no A4000 free in ny2" in message and "Out of capacity for A4000 in NY2" in message
    assert "is off; off, only its storage is billed" in message and "up --retry" in message


@pytest.mark.parametrize("status", [400, 409, 503])
def test_no_capacity_is_retried_as_long_as_the_user_says(api: FakeApi, paperspace: Paperspace, status: int) -> None:
    api.fault(START, status, FULL, times=2)
    result = paperspace("up", "--retry", "1")
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("no A4000 is free in ny2") == 2
    assert len(api.sent(START)) == 3


def test_no_capacity_to_the_end_of_the_retries(api: FakeApi, paperspace: Paperspace) -> None:
    api.fault(START, 400, FULL, times=99)
    begin = time.monotonic()
    assert "no A4000 free" in error(paperspace, "up", "--retry", "0.15")
    assert time.monotonic() - begin > 2
    assert len(api.sent(START)) > 1


@pytest.mark.parametrize("retry", [[], ["--retry", "1"]])
def test_no_capacity_by_event(api: FakeApi, paperspace: Paperspace, retry: list[str]) -> None:
    api.machine.error = "Out of capacity, try again later"
    result = paperspace("up", *retry)
    if retry:
        assert result.returncode == 0, result.stderr
        assert len(api.sent(START)) == 2
    else:
        assert result.returncode == 1
        assert "Out of capacity, try again later" in result.stderr and "is off; off, only" in result.stderr


def test_a_start_that_someone_takes_back(api: FakeApi, paperspace: Paperspace) -> None:
    api.machine.on_start = ["starting", "stopping", "off"]
    message = error(paperspace, "up")
    assert "went back to off before it was ready" in message and "It is off; off, only its storage is billed" in message


@pytest.mark.parametrize("hangs", [False, True])
def test_starts_that_go_back_to_off_without_a_word_are_retried(
    api: FakeApi, paperspace: Paperspace, hangs: bool
) -> None:
    api.machine.no_room, api.machine.event_hangs = 2, hangs
    result = paperspace("up", "--retry", "1")
    assert result.returncode == 0, result.stderr
    assert len(api.sent(START)) == 3 and api.machine.state == "ready"
    seen = "no A4000 is free in ny2 (as it seems: the machine went back to off before it was ready"
    assert result.stderr.count(seen) == 2


def test_starts_that_go_back_to_off_for_ever(api: FakeApi, paperspace: Paperspace) -> None:
    api.machine.no_room = 99
    message = error(paperspace, "up", "--retry", "0.05")
    assert "no A4000 free in ny2 (as it seems: " in message and "is off; off, only its storage is billed" in message
    api.requests.clear()
    assert "If none is free, wait for one: scripts/paperspace up --retry 60" in error(paperspace, "up")
    assert len(api.sent(START)) == 1


def test_a_start_that_never_leaves_off_is_retried(api: FakeApi, paperspace: Paperspace) -> None:
    api.machine.on_start = ["off"]

    def room(operation: str) -> None:
        if operation != START and api.sent(START):
            api.events[-1]["state"] = "done"
            api.machine.on_start = ["starting", "serviceready", "ready"]

    api.on_request = room
    result = paperspace("up", "--retry", "1")
    assert result.returncode == 0, result.stderr
    assert len(api.sent(START)) == 2


@pytest.mark.parametrize("state", ["error", "cancelled"])
def test_an_event_that_fails_without_a_reason_is_retried(api: FakeApi, paperspace: Paperspace, state: str) -> None:
    api.machine.no_room = 1

    def fail(operation: str) -> None:
        if operation == "GET /machine-events/{id}" and len(api.sent(START)) == 1 and api.machine.state == "off":
            api.events[0]["state"] = state

    api.on_request = fail
    result = paperspace("up", "--retry", "1")
    assert result.returncode == 0, result.stderr
    assert len(api.sent(START)) == 2


def test_a_start_that_someone_stops_is_not_retried(api: FakeApi, paperspace: Paperspace) -> None:
    api.machine.on_start = ["starting", "stopping", "off"]

    def stop(operation: str) -> None:
        if api.machine.state == "stopping" and api.events[0]["name"] == "start":
            api.events.insert(0, new_event("stop", "psmachine") | {"state": "done"})

    api.on_request = stop
    message = error(paperspace, "up", "--retry", "1")
    assert "someone stopped it. It is off; off, only its storage is billed" in message
    assert len(api.sent(START)) == 1
