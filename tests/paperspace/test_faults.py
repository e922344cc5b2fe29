"""Whatever the API does wrong, the user is told what is the matter and what the machine costs meanwhile."""

import json
from pathlib import Path

import pytest

from .conftest import Paperspace, error
from .fake_api import FakeApi, Fault
from .fake_machine import Machine

pytestmark = pytest.mark.usefixtures("ssh_answers")
GET, START, STOP = "GET /machines/{id}", "PATCH /machines/{id}/start", "PATCH /machines/{id}/stop"


@pytest.mark.parametrize("command", ["up", "down", "status", "create"])
def test_a_key_that_is_not_known(paperspace: Paperspace, command: str) -> None:
    assert "PAPERSPACE_API_KEY is not accepted" in error(paperspace, command, PAPERSPACE_API_KEY="sk-wrong")


def test_a_key_that_is_answered_with_an_empty_account(api: FakeApi, paperspace: Paperspace) -> None:
    api.machines.clear()
    api.fault("GET /auth/session", 200, "null")
    assert "PAPERSPACE_API_KEY is not accepted" in error(paperspace, "down")


def test_no_key(paperspace: Paperspace) -> None:
    assert "PAPERSPACE_API_KEY is not set" in error(paperspace, "up", PAPERSPACE_API_KEY=None)


@pytest.mark.parametrize("name", ["psunknown", "dn", "DNP", "a b/c&d=ü?", "dnp "])
def test_an_id_or_a_name_that_matches_none(api: FakeApi, paperspace: Paperspace, name: str) -> None:
    message = error(paperspace, "up", PAPERSPACE_MACHINE=name)
    assert f"No machine has the name or the id '{name}'" in message
    assert "dnp (psmachine)" in message
    assert not api.sent(START)


def test_a_name_that_matches_several(api: FakeApi, paperspace: Paperspace) -> None:
    api.machines.append(Machine("psother", "dnp"))
    message = error(paperspace, "down")
    assert "2 machines are named 'dnp'" in message and "psmachine" in message and "psother" in message
    assert paperspace("down", PAPERSPACE_MACHINE="psother").returncode == 0


def test_a_name_of_many_pages(api: FakeApi, paperspace: Paperspace) -> None:
    api.page_size = 2
    api.machines[:0] = [Machine(f"ps{i}", f"dnp-{i}") for i in range(5)]
    api.machines[0].data["dtDeleted"] = "2024-01-01T00:00:00Z"
    assert json.loads(paperspace("status", "--json").stdout)["id"] == "psmachine"
    assert [request.query.get("after") for request in api.sent("GET /machines")] == [None, "2", "4"]


def test_a_list_that_never_ends_is_left(api: FakeApi, paperspace: Paperspace) -> None:
    api.fault("GET /machines", 200, json.dumps({"items": [], "hasMore": True}), times=9)
    assert "goes on, and does not say where" in error(paperspace, "status")


def test_too_many_requests_are_repeated_when_the_server_says(api: FakeApi, paperspace: Paperspace) -> None:
    for operation in ("GET /machines", GET, START):
        api.fault(operation, 429, {"code": "SLOW", "message": "Too many requests"}, headers={"Retry-After": "1"})
    result = paperspace("up")
    assert result.returncode == 0, result.stderr
    first, second = (request.moment for request in api.sent("GET /machines")[:2])
    assert second - first >= 1
    assert "trying again in 1 s" in result.stderr
    assert len(api.sent(START)) == 2


def test_too_many_requests_without_a_time_back_off_longer_and_longer(api: FakeApi, paperspace: Paperspace) -> None:
    api.fault("GET /machines", 429, "", times=4)
    assert paperspace("status", PAPERSPACE_POLL_SECONDS="0.5").returncode == 0
    moments = [request.moment for request in api.sent("GET /machines")]
    assert moments[4] - moments[3] > 0.8
    assert len(moments) == 5


def test_too_many_requests_for_ever_is_an_error(api: FakeApi, paperspace: Paperspace) -> None:
    api.fault("*", 429, {"code": "SLOW", "message": "Too many requests"}, times=99)
    assert "HTTP 429: Too many requests" in error(paperspace, "up")


@pytest.mark.parametrize("operation", ["GET /machines", GET, "GET /machine-events/{id}", START, STOP])
def test_a_server_that_stumbles_is_asked_again(api: FakeApi, paperspace: Paperspace, operation: str) -> None:
    api.faults += [
        Fault(operation, 500),
        Fault(operation, 502, "<html>bad gateway</html>"),
        Fault(operation, drop=True),
    ]
    assert paperspace("up").returncode == 0
    assert paperspace("down").returncode == 0
    assert api.machine.state == "off"
    assert not [f for f in api.faults if f.times]


def test_a_server_that_is_down_while_a_machine_starts_is_waited_for(api: FakeApi, paperspace: Paperspace) -> None:
    api.fault(GET, 503, times=7)  # more than one request is repeated
    result = paperspace("up")
    assert result.returncode == 0, result.stderr
    assert "Still trying" in result.stderr


@pytest.mark.parametrize("operation", [START, STOP])
@pytest.mark.parametrize("lag", [0, 3])
def test_a_request_whose_answer_is_lost_is_done_once(
    api: FakeApi, paperspace: Paperspace, operation: str, lag: int
) -> None:
    api.machine.set("off" if operation == START else "ready")
    api.machine.lag = lag
    api.faults.append(Fault(operation, drop=True, after=True))
    result = paperspace("up" if operation == START else "down")
    assert result.returncode == 0, result.stderr
    assert len(api.events) == 1


def test_a_web_page_in_front_of_the_api(api: FakeApi, paperspace: Paperspace) -> None:
    api.fault("*", 403, "<!DOCTYPE html><title>Just a moment...</title>", times=99)
    message = error(paperspace, "up")
    assert "HTTP 403" in message and "not the key, but the network" in message


def test_every_request_says_who_sends_it(api: FakeApi, paperspace: Paperspace) -> None:
    assert paperspace("up").returncode == 0
    assert paperspace("down").returncode == 0
    assert paperspace("ip", "status").returncode == 0
    assert api.requests and {request.agent for request in api.requests} == {"sheeprl-dnp"}


UNPAID = {"code": "FORBIDDEN", "message": "Your account is past due. Please update your payment method."}


@pytest.mark.parametrize("status, body", [(402, ""), (403, UNPAID), (400, UNPAID)])
def test_an_account_that_is_past_due(
    api: FakeApi, paperspace: Paperspace, status: int, body: str | dict[str, str]
) -> None:
    api.fault(START, status, body, times=99)
    message = error(paperspace, "up", "--retry", "1")
    assert f"HTTP {status}" in message and "The matter is the payment: settle it at https://" in message
    assert "machines are deleted after 60 days" in message


@pytest.mark.parametrize("reason", ["Account is past due", "Insufficient funds", "Your card was declined."])
def test_a_start_that_fails_by_event_for_want_of_payment(api: FakeApi, paperspace: Paperspace, reason: str) -> None:
    api.machine.error = reason
    message = error(paperspace, "up", "--retry", "1")
    assert reason in message and "The matter is the payment" in message
    assert len(api.sent(START)) == 1  # it is no lack of capacity


def test_nobody_listens(paperspace: Paperspace) -> None:
    message = error(paperspace, "down", PAPERSPACE_API_URL="http://127.0.0.1:9/v1")
    assert "Cannot reach http://127.0.0.1:9/v1: the connection is refused." in message


@pytest.mark.parametrize("text", ['{"items": [{"id": "psma', "", "null", "<html>", '{"items": 3}', "[]"])
def test_an_answer_that_is_not_what_it_should_be(api: FakeApi, paperspace: Paperspace, text: str) -> None:
    api.fault("GET /machines", 200, text, times=99)
    assert "something else than its API should" in error(paperspace, "up")


def test_a_machine_that_is_cut_off_in_the_middle_is_asked_again(api: FakeApi, paperspace: Paperspace) -> None:
    api.fault(GET, 200, '{"id": "psmachine", "state": "off', times=3)
    assert paperspace("up").returncode == 0
    api.fault(GET, 200, '{"id": "psmachine", "state": "off', times=3)
    assert paperspace("down").returncode == 0
    assert api.machine.state == "off"


def test_a_start_that_fails_by_event(api: FakeApi, paperspace: Paperspace) -> None:
    api.machine.error = "Hypervisor failure"
    message = error(paperspace, "up", "--retry", "1")
    assert "does not start: Hypervisor failure. It is off; off, only its storage is billed" in message


def test_a_start_of_someone_else_that_fails_by_event_is_followed_by_ours(api: FakeApi, paperspace: Paperspace) -> None:
    api.events.insert(0, api.machine.start())
    api.machine.error = "Hypervisor failure"
    result = paperspace("up")
    assert result.returncode == 0, result.stderr
    assert "a start before ours failed: Hypervisor failure" in result.stderr


def test_a_stop_that_fails_by_event(api: FakeApi, paperspace: Paperspace) -> None:
    api.machine.set("ready")
    api.machine.error = "Hypervisor failure"
    message = error(paperspace, "down")
    assert "does not stop: Hypervisor failure" in message and "may be billed ($0.76/h) until it is off" in message


@pytest.mark.parametrize("state", ["starting", "serviceready", "provisioning", "restarting"])
def test_stuck_on_the_way_up(api: FakeApi, paperspace: Paperspace, state: str) -> None:
    api.machine.set("off" if state == "starting" else state)
    api.machine.stuck.add(state)
    result = paperspace("up", PAPERSPACE_UP_TIMEOUT="5", PAPERSPACE_POLL_SECONDS="0.01")
    assert result.returncode == 1 and result.stdout == ""
    assert api.requests[-1].moment - api.requests[0].moment < 20
    assert f"still {state} after 5 s, and may be billed ($0.76/h) until it is off" in result.stderr


@pytest.mark.parametrize("state", ["stopping", "upgrading", "starting"])
def test_stuck_on_the_way_down(api: FakeApi, paperspace: Paperspace, state: str) -> None:
    api.machine.set("ready" if state == "stopping" else state)
    api.machine.stuck.add(state)
    result = paperspace("down", PAPERSPACE_DOWN_TIMEOUT="5")
    assert result.returncode == 1 and result.stdout == ""
    assert api.requests[-1].moment - api.requests[0].moment < 20
    assert f"still {state} after 5 s, and may be billed ($0.76/h) until it is off" in result.stderr


def test_a_stop_that_is_refused(api: FakeApi, paperspace: Paperspace) -> None:
    api.machine.set("ready")
    api.fault(STOP, 400, {"code": "BUSY", "message": "Machine is busy"}, times=99)
    message = error(paperspace, "down")
    assert "does not stop: Paperspace answers HTTP 400: Machine is busy. It is ready, and may be billed" in message


def test_a_machine_that_is_gone_while_it_is_awaited(api: FakeApi, paperspace: Paperspace) -> None:
    api.fault(GET, 404, {"code": "NOT_FOUND", "message": "Machine not found"}, times=99)
    message = error(paperspace, "up")
    assert "HTTP 404: Machine not found. The machine was off when last seen, but its start was asked for" in message


def test_ssh_that_never_answers(api: FakeApi, paperspace: Paperspace, record: Path) -> None:
    (record / "dead").touch()
    api.machine.set("ready")
    message = error(paperspace, "up", PAPERSPACE_UP_TIMEOUT="2")
    assert "is ready, but SSH at paperspace@127.0.0.1:22 does not answer" in message and "may be billed" in message
    result = paperspace("down")  # and it can be stopped all the same
    assert result.returncode == 0, result.stderr
    assert "SSH does not answer" in result.stderr
    assert api.machine.state == "off"


def test_work_that_is_nowhere_else_keeps_a_machine_on(api: FakeApi, paperspace: Paperspace, record: Path) -> None:
    api.machine.set("ready")
    (record / "unsaved").write_text("uncommitted\t-\t M agent.py\n")
    result = paperspace("down")
    assert result.returncode == 1
    assert "uncommitted:  M agent.py" in result.stderr and "may be billed" in result.stderr
    assert not api.sent(STOP) and api.machine.state == "ready"
    assert json.loads(paperspace("status", "--json").stdout)["unsavedWork"] == ["uncommitted:  M agent.py"]
    assert paperspace("down", "--force").returncode == 0
