"""`status --month` adds up what the machine has cost since the first of the month, from its starts and stops."""

import json
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from .conftest import Paperspace, error
from .fake_api import FakeApi

pytestmark = pytest.mark.usefixtures("ssh_answers")
NOW = datetime.now(timezone.utc)  # of the events; a test can come minutes later
MONTH = NOW.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def event(name: str, hours_ago: float, state: str = "done", lasted: float = 0) -> dict[str, Any]:
    """An event that began so long ago; one that is done lasted some hours."""
    begin = NOW - timedelta(hours=hours_ago)
    end = (begin + timedelta(hours=lasted)).strftime("%Y-%m-%dT%H:%M:%S.123Z") if state != "in progress" else None
    began = begin.strftime("%Y-%m-%dT%H:%M:%S.123Z")
    entry = {"id": f"{name}{hours_ago}", "name": name, "state": state, "machineId": "psmachine", "error": None}
    return entry | {"dtCreated": began, "dtStarted": began, "dtFinished": end}


def hours(*intervals: tuple[float, float]) -> float:
    """The hours of these intervals, in hours ago, that are of this month."""
    of_month = (NOW - MONTH).total_seconds() / 3600
    return sum(max(0.0, min(begin, of_month) - end) for begin, end in intervals)


CREATED = event("create", 3000)
CASES = {
    "a start and a stop": ([event("start", 5), event("stop", 2)], "off", [(5, 2)], []),
    "a stop ends when it is done": ([event("start", 5), event("stop", 3, lasted=0.5)], "off", [(5, 2.5)], []),
    "on now": ([event("start", 9), event("stop", 7), event("start", 3)], "ready", [(9, 7), (3, 0)], []),
    "on since before this month": ([event("start", 900)], "ready", [(900, 0)], []),
    "a stop of last month and one of this": (
        [event("start", 2000), event("stop", 1999), event("start", 8), event("stop", 7)],
        "off",
        [(8, 7)],
        [],
    ),
    "a start that failed": (
        [event("start", 9, state="error"), event("start", 4), event("stop", 3)],
        "off",
        [(4, 3)],
        [],
    ),
    "a stop that failed": (
        [event("start", 9), event("stop", 8, state="error"), event("stop", 3)],
        "off",
        [(9, 3)],
        [],
    ),
    "forced": ([event("start", 6), event("vm-shutdown-force", 4)], "off", [(6, 4)], []),
    "a stop that is going on": ([event("start", 6), event("stop", 1, state="in progress")], "stopping", [(6, 0)], []),
    "no stop before the next start": (
        [event("start", 9), event("start", 4), event("stop", 3)],
        "off",
        [(9, 4), (4, 3)],
        [(9, 4)],
    ),
    "off without a stop": ([event("start", 6)], "off", [(6, 0)], [(6, 0)]),
}


@pytest.mark.parametrize("case", CASES)
def test_hours_and_dollars(api: FakeApi, paperspace: Paperspace, case: str) -> None:
    events, state, on, unseen = CASES[case]
    api.machine.set(state)
    api.machine.stuck.add(state)
    api.events = [CREATED, *events][::-1]
    api.page_size = 2
    month = json.loads(paperspace("status", "--month", "--json").stdout)["month"]
    assert month["since"] == MONTH.strftime("%Y-%m-%dT%H:%M:%SZ")
    since = (datetime.now(timezone.utc) - NOW).total_seconds() / 3600  # more of what goes on still
    on, unseen = (sum(hours(i) + (since if i[1] == 0 else 0) for i in intervals) for intervals in (on, unseen))
    assert month["hoursOn"] == pytest.approx(on, abs=0.02)
    assert month["hoursWithoutStop"] == pytest.approx(unseen, abs=0.02)
    assert month["computeDollars"] == pytest.approx(0.76 * on, abs=0.02)


def test_a_machine_that_was_made_on_is_billed_since(api: FakeApi, paperspace: Paperspace) -> None:
    api.events = [event("stop", 2), event("create", 5)]
    month = json.loads(paperspace("status", "--month", "--json").stdout)["month"]
    assert month["hoursOn"] == pytest.approx(hours((5, 2)), abs=0.05)


def test_disk_and_address_are_billed_for_the_part_of_the_month_that_is_over(
    api: FakeApi, paperspace: Paperspace
) -> None:
    api.machine.data["dtCreated"] = "2024-01-01T00:00:00.000Z"
    following = (MONTH + timedelta(days=32)).replace(day=1)
    month = json.loads(paperspace("status", "--json", "--month").stdout)["month"]
    assert month["storageDollars"] == pytest.approx(10 * (NOW - MONTH) / (following - MONTH), abs=0.02)
    assert month["dollars"] == pytest.approx(month["storageDollars"] + month["computeDollars"], abs=0.011)


def test_in_words(api: FakeApi, paperspace: Paperspace) -> None:
    api.events = [event("start", 6), CREATED]
    shown = paperspace("status", "--month").stdout
    assert "this month  about $" in shown and f"since {MONTH:%Y-%m-%d} (UTC)" in shown and "h on at $0.76/h" in shown
    assert "h at most: no stop is among its events" in shown
    assert "this month" not in paperspace("status").stdout


def test_events_that_cannot_be_read_are_no_month_without_costs(api: FakeApi, paperspace: Paperspace) -> None:
    api.fault("GET /machine-events", 403, {"code": "NO", "message": "Forbidden"}, times=99)
    assert "HTTP 403: Forbidden" in error(paperspace, "status", "--month")
