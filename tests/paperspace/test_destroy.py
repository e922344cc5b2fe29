"""Nothing of a machine is billed after `destroy`, and what an address outlives can be given back."""

import pytest

from .conftest import Paperspace
from .fake_api import FakeApi, Fault
from .test_ip import claimed

pytestmark = pytest.mark.usefixtures("ssh_answers")
DELETE, RELEASE = "DELETE /machines/{id}", "DELETE /public-ips/{ip}"


@pytest.fixture(autouse=True)
def addresses(api: FakeApi) -> None:
    """The machine has one of two addresses that the account pays for."""
    api.ips = [claimed("127.0.2.1"), claimed("127.0.0.1", assignedMachineId="psmachine")]


def ips(api: FakeApi) -> list[str]:
    return [entry["ip"] for entry in api.ips]


# ip


def test_an_address_is_seen_and_given_back_without_a_machine(api: FakeApi, paperspace: Paperspace) -> None:
    api.machines.clear()
    result = paperspace("ip", "status")
    assert result.returncode == 0, result.stderr
    assert "No machine has the name or the id 'dnp'." in result.stdout
    assert "127.0.2.1 in ny2, of no machine: paid for, unused" in result.stdout
    assert "127.0.0.1 in ny2, of psmachine, which is not there: paid for, unused" in result.stdout
    assert paperspace("ip", "release", "127.0.0.1", "--yes").returncode == 0
    assert paperspace("ip", "release", "--yes").returncode == 0
    assert not api.ips
    assert "claimed:" not in paperspace("ip", "status", PAPERSPACE_MACHINE=None).stdout


def test_release_asks_and_says_whose_it_is(api: FakeApi, paperspace: Paperspace) -> None:
    result = paperspace("ip", "release", "127.0.0.1", stdin="n\n")
    assert result.returncode == 1 and "127.0.0.1 is of dnp" in result.stderr
    assert len(api.ips) == 2
    assert paperspace("ip", "release", "127.0.0.1", stdin="y\n").returncode == 0
    assert ips(api) == ["127.0.2.1"]


def test_release_of_an_address_that_must_be_taken_from_its_machine_first(api: FakeApi, paperspace: Paperspace) -> None:
    api.releases_only_unassigned = True
    result = paperspace("ip", "release", "127.0.0.1", "--yes")
    assert result.returncode == 0, result.stderr
    assert ips(api) == ["127.0.2.1"]


@pytest.mark.slow
@pytest.mark.parametrize("after", [True, False])
def test_a_release_whose_answer_is_lost_is_looked_after(api: FakeApi, paperspace: Paperspace, after: bool) -> None:
    api.faults.append(Fault(RELEASE, 502, after=after))
    result = paperspace("ip", "release", "--yes")
    assert result.returncode == (0 if after else 1)
    if not after:
        assert "127.0.2.1 is still claimed, and billed" in result.stderr


def test_release_needs_to_know_which(api: FakeApi, paperspace: Paperspace) -> None:
    assert "127.0.9.9 is not among the account's claimed" in paperspace("ip", "release", "127.0.9.9", "--yes").stderr
    api.ips.append(claimed("127.0.2.2"))
    assert "127.0.2.1 | 127.0.2.2" in paperspace("ip", "release", "--yes").stderr
    api.ips = [claimed("127.0.0.1", assignedMachineId="psmachine")]
    assert "No claimed address is unused" in paperspace("ip", "release", "--yes").stderr
    assert not api.sent(RELEASE)
    assert paperspace("ip", "release", "--all").returncode == 2


# destroy


def test_the_machine_and_its_address_are_gone(api: FakeApi, paperspace: Paperspace) -> None:
    result = paperspace("destroy", stdin="dnp\n")
    assert result.returncode == 0, result.stderr
    assert "dnp is gone, and so is its address 127.0.0.1" in result.stdout
    assert not api.machines and ips(api) == ["127.0.2.1"]


@pytest.mark.parametrize("name", ["", "\n", "yes\n", "DNP\n", "psmachine\n"])
def test_only_its_name_deletes_it(api: FakeApi, paperspace: Paperspace, name: str) -> None:
    result = paperspace("destroy", stdin=name)
    assert result.returncode == 1 and "nothing was deleted" in result.stderr
    assert "its disk with all that is on it, and its address 127.0.0.1" in result.stderr
    assert api.machines and not api.sent(DELETE)


def test_a_machine_that_is_on_is_stopped_first(api: FakeApi, paperspace: Paperspace) -> None:
    api.machine.set("ready")
    result = paperspace("destroy", stdin="dnp\n")
    assert result.returncode == 0, result.stderr
    assert not api.machines


def test_work_that_is_nowhere_else_keeps_it(api: FakeApi, paperspace: Paperspace, record) -> None:
    api.machine.set("ready")
    (record / "unsaved").write_text("uncommitted\t-\t M agent.py\n")
    result = paperspace("destroy", stdin="dnp\n")
    assert result.returncode == 1 and "uncommitted:  M agent.py" in result.stderr
    assert api.machine.state == "ready" and not api.sent(DELETE)


@pytest.mark.slow
@pytest.mark.parametrize("fault", [{"drop": True}, {"status": 504}, {"status": 500}])
def test_an_answer_that_is_lost(api: FakeApi, paperspace: Paperspace, fault: dict[str, object]) -> None:
    api.faults.append(Fault(DELETE, after=True, **fault))  # type: ignore[arg-type]
    result = paperspace("destroy", stdin="dnp\n")
    assert result.returncode == 0, result.stderr
    assert not api.machines


def test_a_deletion_that_is_refused(api: FakeApi, paperspace: Paperspace) -> None:
    api.fault(DELETE, 400, {"code": "LOCKED", "message": "Machine is locked"})
    result = paperspace("destroy", stdin="dnp\n")
    assert result.returncode == 1
    assert "not deleted: Paperspace answers HTTP 400: Machine is locked. Its storage is billed" in result.stderr
    assert len(api.ips) == 2


def test_a_machine_that_stays(api: FakeApi, paperspace: Paperspace) -> None:
    api.fault(DELETE, 500)
    result = paperspace("destroy", stdin="dnp\n", PAPERSPACE_DOWN_TIMEOUT="1")
    assert result.returncode == 1 and "is still there after 1 s, and its storage billed" in result.stderr
    assert len(api.ips) == 2


def test_an_address_that_stays(api: FakeApi, paperspace: Paperspace) -> None:
    api.fault(RELEASE, 400, {"code": "NO", "message": "Not now"}, times=9)
    result = paperspace("destroy", stdin="dnp\n")
    assert result.returncode == 1
    assert "its address 127.0.0.1 is still claimed, and billed" in result.stderr
    assert "scripts/paperspace ip release 127.0.0.1" in result.stderr


def test_snapshots_that_are_left_are_told(api: FakeApi, paperspace: Paperspace) -> None:
    api.snapshots = [{"id": "sn1", "name": "before", "machineId": "psmachine", "isAutoSnapshot": False}]
    assert "1 of its snapshots are left, and may be billed" in paperspace("destroy", stdin="dnp\n").stderr
