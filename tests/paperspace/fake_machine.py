"""A machine of the fake API: its states, and how long it stays in each."""

import itertools
import time
from datetime import datetime, timezone
from typing import Any

GB = 1024**3
# Where a machine goes by itself from each state
PLANS = {
    "starting": ["serviceready", "ready"],
    "stopping": ["off"],
    "restarting": ["serviceready", "ready"],
    "serviceready": ["ready"],
    "upgrading": ["ready"],
    "provisioning": ["ready"],
}
STOPPABLE = ["ready", "serviceready"]
serial = itertools.count(1)


class RefusalError(Exception):
    """An error that the API answers."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def now() -> str:
    """This moment, as the API writes it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def new_event(name: str, machine: str) -> dict[str, Any]:
    """Something that began to happen to a machine."""
    event = {"id": f"ev{next(serial)}", "name": name, "state": "in progress", "machineId": machine}
    return event | {"dtCreated": now(), "dtStarted": now(), "dtFinished": None, "error": None}


class Machine:
    """`data` is what the API shows; each look moves it along `plan`, never past a state that is in `stuck`."""

    def __init__(self, identity: str, name: str, state: str = "off") -> None:
        self.data: dict[str, Any] = {
            "id": identity,
            "name": name,
            "state": "off",
            "os": "Ubuntu 22.04.5 LTS",
            "machineType": "A4000",
            "agentType": "LinuxHeadless",
            "cpus": 8,
            "ram": 45 * GB,
            "storageTotal": 100 * GB,
            "storageUsed": 20 * GB,
            "accelerators": [{"name": "Quadro RTX A4000", "memory": 16 * GB, "count": 1}],
            "region": "ny2",
            "privateIp": "10.0.0.2",
            "networkId": "n1",
            "publicIp": "127.0.0.1",
            "publicIpType": "static",
            "autoShutdownEnabled": True,
            "autoShutdownTimeout": 8,
            "autoShutdownForce": True,
            "updatesPending": False,
            "restorePointEnabled": False,
            "usageRate": 0.76,
            "storageRate": 7,
            "dtCreated": now(),
            "dtModified": now(),
            "autoSnapshotEnabled": False,
        }
        absent = "autoSnapshotFrequency autoSnapshotSaveCount restorePointFrequency restorePointSnapshotId dtDeleted"
        self.data |= dict.fromkeys([*absent.split(), "reservation"])
        self.stay = 0.05  # seconds in each passing state; and one look at least
        self.lag = 0  # looks after a request before its first state is shown
        self.stuck: set[str] = set()
        self.on_start = ["starting", "serviceready", "ready"]
        self.error: str | None = None  # of the next start or stop, as an event
        self.no_room = 0  # so many starts go back to off without a word
        self.event_hangs = False  # the event of such a start never ends
        self.next_ip: str | None = None  # the address after the next start
        self.event: dict[str, Any] | None = None
        self.looks_left: int | None = None  # when it is being deleted
        self.set(state)

    @property
    def state(self) -> str:
        """What it is doing now."""
        return self.data["state"]

    def set(self, state: str) -> None:
        """Is in `state` from now on, and goes its usual way from there."""
        self.data["state"] = state
        self.plan = list(PLANS.get(state, []))
        self.since, self.looks = time.monotonic(), 0

    def look(self) -> dict[str, Any]:
        """What the API shows now; a state that passes was seen once at least before the next one."""
        seen_enough = self.looks >= max(1, self.lag) and time.monotonic() - self.since >= self.stay
        if self.plan and seen_enough and self.state not in self.stuck:
            self.advance()
        self.looks += 1
        return dict(self.data)

    def advance(self) -> None:
        if self.error and self.event:
            self.event |= {"state": "error", "error": self.error, "dtFinished": now()}
            self.error, self.plan = None, ["off" if self.event["name"] == "start" else "ready"]
        following, *rest = self.plan
        self.set(following)
        self.plan, self.lag = rest, 0
        hangs = self.event_hangs and following == "off"
        if not rest and self.event and self.event["state"] == "in progress" and not hangs:
            self.event |= {"state": "done", "dtFinished": now()}
        if following == "ready" and self.next_ip:
            self.data["publicIp"], self.next_ip = self.next_ip, None

    def start(self) -> dict[str, Any]:
        """What PATCH .../start does."""
        if self.state != "off" or self.plan:
            raise RefusalError(f"Machine cannot be started while it is {self.state}")
        self.no_room -= 1
        return self.begin("start", ["starting", "off"] if self.no_room >= 0 else self.on_start)

    def stop(self) -> dict[str, Any]:
        """What PATCH .../stop does."""
        if self.state not in STOPPABLE or (self.state == "ready" and self.plan):
            raise RefusalError(f"Machine cannot be stopped while it is {self.state}")
        return self.begin("stop", ["stopping", "off"])

    def begin(self, name: str, plan: list[str]) -> dict[str, Any]:
        self.event = new_event(name, self.data["id"])
        self.plan, self.looks, self.since = plan, 0, time.monotonic()
        if not self.lag:
            self.set(plan[0])
            self.plan = plan[1:]
        return self.event
