"""`ip` gives the machine an address that stays, and never pays for two."""

from collections.abc import Callable

import pytest

from .conftest import Paperspace
from .fake_api import FakeApi
from .fake_machine import now

pytestmark = pytest.mark.usefixtures("ssh_answers")


def claimed(ip: str, region: str = "ny2", **rest: str) -> dict[str, str]:
    """An address that the account pays for."""
    return {"ip": ip, "region": region, "dtCreated": now(), **rest}


def test_claim_and_assign(api: FakeApi, paperspace: Paperspace, ssh_entry: Callable[[], str]) -> None:
    api.machine.data |= {"publicIp": None, "publicIpType": "none"}
    result = paperspace("ip", "claim", "--yes")
    assert result.returncode == 0 and "Claimed 127.0.1.1" in result.stdout
    assert api.sent("POST /public-ips")[0].body == {"region": "ny2"}
    for _ in range(2):
        result = paperspace("ip", "assign")
        assert result.returncode == 0, result.stderr
        assert "dnp has the address 127.0.1.1" in result.stdout
    assert api.ips[0]["assignedMachineId"] == "psmachine"
    assert len(api.sent("PUT /public-ips/{ip}")) == 1
    assert "HostName 127.0.1.1" in ssh_entry()


def test_claim_tells_the_price_and_asks(api: FakeApi, paperspace: Paperspace) -> None:
    result = paperspace("ip", "claim", stdin="n\n")
    assert result.returncode == 1 and "$3 a month by the price list" in result.stderr
    assert not api.ips
    assert paperspace("ip", "claim", stdin="y\n").returncode == 0
    assert len(api.ips) == 1


def test_claim_does_not_pay_for_a_second_free_one(api: FakeApi, paperspace: Paperspace) -> None:
    api.ips = [claimed("127.0.2.1", "ams1"), claimed("127.0.2.2")]
    result = paperspace("ip", "claim", "--yes")
    assert result.returncode == 0 and "Already claimed, and of no machine: 127.0.2.2" in result.stdout
    assert len(api.ips) == 2


@pytest.mark.parametrize("status", [500, 502])
def test_a_claim_whose_answer_is_lost_is_not_repeated(api: FakeApi, paperspace: Paperspace, status: int) -> None:
    api.fault("POST /public-ips", status, after=True)
    result = paperspace("ip", "claim", "--yes")
    assert result.returncode == 1 and "ip status" in result.stderr
    assert len(api.ips) == 1


def test_assign_refuses_what_is_not_there_to_take(api: FakeApi, paperspace: Paperspace) -> None:
    assert "No claimed address in ny2 is free" in paperspace("ip", "assign").stderr
    api.ips = [claimed("127.0.2.1", assignedMachineId="psother"), claimed("127.0.2.2", "ams1")]
    assert "belongs to the machine psother" in paperspace("ip", "assign", "127.0.2.1").stderr
    assert "is not among the account's claimed addresses: 127.0.2.1, 127.0.2.2" in (
        paperspace("ip", "assign", "127.0.2.9").stderr
    )
    assert not api.sent("PUT /public-ips/{ip}")


def test_status(api: FakeApi, paperspace: Paperspace) -> None:
    api.page_size = 1
    api.ips = [claimed("127.0.2.1"), claimed("127.0.2.2", assignedMachineId="psmachine")]
    result = paperspace("ip", "status")
    assert result.returncode == 0, result.stderr
    assert "dnp: 127.0.0.1 (static)" in result.stdout
    assert "127.0.2.1 in ny2, of no machine: paid for, unused" in result.stdout
    assert "127.0.2.2 in ny2, of this machine" in result.stdout
    assert "$3 a month" in result.stdout
