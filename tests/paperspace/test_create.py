"""`create` makes the machine that this project needs, once, after it told the price."""

import pytest

from .conftest import Paperspace
from .fake_api import FakeApi, Fault, template
from .fake_machine import Machine

POST = "POST /machines"
WANTED = {
    "name": "dnp",
    "machineType": "A4000",
    "templateId": "t22",
    "region": "ny2",
    "diskSize": 100,
    "publicIpType": "static",
    "startOnCreate": False,
    "autoShutdownEnabled": True,
    "autoShutdownTimeout": 8,
    "autoShutdownForce": True,
    "autoSnapshotEnabled": False,
    "takeInitialSnapshot": False,
    "restorePointEnabled": False,
}


@pytest.fixture(autouse=True)
def empty(api: FakeApi) -> None:
    """An account without machines."""
    api.machines.clear()


def test_the_machine_is_right_for_this_project(api: FakeApi, paperspace: Paperspace) -> None:
    result = paperspace("create", "--yes")
    assert result.returncode == 0, result.stderr
    assert [request.body for request in api.sent(POST)] == [WANTED]
    assert "dnp (psnew0) is off" in result.stdout
    assert "PAPERSPACE_MACHINE=" not in result.stdout  # the configured name leads to it
    assert paperspace("status").returncode == 0


def test_options_and_configuration(api: FakeApi, paperspace: Paperspace) -> None:
    options = ["--name", "big one", "--type", "A100", "--region", "ams1", "--disk", "500", "--template", "t24"]
    result = paperspace("create", *options, "--address", "dynamic", "--yes", PAPERSPACE_AUTO_SHUTDOWN_HOURS="24")
    assert result.returncode == 0, result.stderr
    changes = {"name": "big one", "machineType": "A100", "region": "ams1", "diskSize": 500, "templateId": "t24"}
    changes |= {"publicIpType": "dynamic", "autoShutdownTimeout": 24}
    assert api.sent(POST)[0].body == WANTED | changes
    assert "PAPERSPACE_MACHINE=psnew0" in result.stdout


@pytest.mark.parametrize(("reply", "bought"), [("y\n", 1), ("yes\n", 1), ("n\n", 0), ("\n", 0), ("", 0)])
def test_the_price_is_shown_and_asked_about(api: FakeApi, paperspace: Paperspace, reply: str, bought: int) -> None:
    result = paperspace("create", stdin=reply)
    assert "$0.76/h by the price list" in result.stderr
    assert "about $10.00 a month: its disk ($7.00 by the price list, 100 GB)" in result.stderr
    assert result.returncode == 1 - bought
    assert len(api.sent(POST)) == bought


def test_the_price_of_a_type_is_what_another_machine_of_it_costs(api: FakeApi, paperspace: Paperspace) -> None:
    api.machines.append(Machine("psold", "old"))
    api.machine.data["usageRate"] = 0.8
    assert "$0.80/h, as the API says of old" in paperspace("create", stdin="n").stderr


def test_a_price_that_nobody_tells(paperspace: Paperspace) -> None:
    assert "unknown: see https://" in paperspace("create", "--type", "A100", stdin="n").stderr


def test_availability_is_told(api: FakeApi, paperspace: Paperspace) -> None:
    api.available = False
    assert "one is free now: false" in paperspace("create", stdin="n").stderr


@pytest.mark.parametrize(
    ("templates", "expected"),
    [
        ([template("a", "Ubuntu 20.04"), template("b", "Ubuntu 22.04"), template("c", "Ubuntu 23.04")], "b"),
        ([template("a", "Ubuntu 24.04"), template("b", "Ubuntu 24.10")], "a"),
        ([template("a", "Ubuntu 18.04"), template("b", "Windows 10")], None),
        ([template("a", "Ubuntu 22.04", types=[{"machineTypeLabel": "A4000", "isAvailable": False}])], None),
        ([template("a", "linux", "ML-in-a-Box Ubuntu 20.04"), template("b", "Ubuntu 24.04")], "a"),
    ],
)
def test_the_template_is_the_newest_lts_that_vs_code_can_use(
    api: FakeApi, paperspace: Paperspace, templates: list[dict[str, object]], expected: str | None
) -> None:
    api.templates = templates
    api.page_size = 1
    result = paperspace("create", "--yes")
    if expected:
        assert api.sent(POST)[0].body["templateId"] == expected
    else:
        assert result.returncode == 1 and "No Ubuntu LTS template" in result.stderr
        assert not api.sent(POST)


def test_a_machine_type_that_does_not_exist_is_named_with_those_that_do(paperspace: Paperspace) -> None:
    result = paperspace("create", "--type", "A4001", "--yes")
    assert result.returncode == 1
    assert "'A4001' (PAPERSPACE_MACHINE_TYPE, --type); types that have templates: A100, A4000." in result.stderr


def test_twice_makes_one(api: FakeApi, paperspace: Paperspace) -> None:
    assert paperspace("create", "--yes").returncode == 0
    result = paperspace("create", "--yes")
    assert result.returncode == 1
    assert "A machine named 'dnp' exists already (psnew0,off)" in result.stderr
    assert len(api.sent(POST)) == 1


@pytest.mark.parametrize("fault", [{"drop": True}, {"status": 504}, {"body": '{"data'}])
def test_an_answer_that_is_lost_makes_one(api: FakeApi, paperspace: Paperspace, fault: dict[str, object]) -> None:
    api.faults.append(Fault(POST, after=True, **fault))  # type: ignore[arg-type]
    result = paperspace("create", "--yes")
    assert result.returncode == 0, result.stderr
    assert "But the machine is there" in result.stderr
    assert len(api.machines) == 1


def test_a_request_that_never_arrived_is_told(api: FakeApi, paperspace: Paperspace) -> None:
    api.fault(POST, 500)
    result = paperspace("create", "--yes")
    assert result.returncode == 1 and "was not created, as far as can be seen" in result.stderr
    assert len(api.sent(POST)) == 1


def test_no_capacity(api: FakeApi, paperspace: Paperspace) -> None:
    api.fault(POST, 400, {"code": "CAPACITY", "message": "Out of capacity"})
    assert "has no A4000 free in ny2" in paperspace("create", "--yes").stderr


def test_a_creation_that_fails_by_event(api: FakeApi, paperspace: Paperspace, monkeypatch: pytest.MonkeyPatch) -> None:
    created = api.create

    def failing(body: dict[str, object]) -> dict[str, object]:
        answer = created(body)
        api.machine.error = "No disk"
        return answer

    api.create = failing  # type: ignore[method-assign]
    result = paperspace("create", "--yes")
    assert result.returncode == 1
    assert "The machine was not created: No disk." in result.stderr
