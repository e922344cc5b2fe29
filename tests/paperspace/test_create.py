"""`create` makes the machine that this project needs, once, after it told the price."""

from pathlib import Path

import pytest

from .conftest import Paperspace
from .fake_api import FakeApi, Fault, listing, template, types
from .fake_machine import Machine

POST = "POST /machines"
WANTED = {
    "name": "dnp",
    "machineType": "A4000",
    "templateId": "t-mliab-u22-241101",
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
    "startupScriptId": "ss0",
}


@pytest.fixture(autouse=True)
def empty(api: FakeApi, ssh_key: Path) -> None:
    """An account without machines, and a user who has an SSH key."""
    api.machines.clear()


def test_the_machine_is_right_for_this_project(api: FakeApi, paperspace: Paperspace) -> None:
    result = paperspace("create", "--yes")
    assert result.returncode == 0, result.stderr
    assert [request.body for request in api.sent(POST)] == [WANTED]
    assert "dnp (psnew0) is off" in result.stdout
    assert "PAPERSPACE_MACHINE=" not in result.stdout  # the configured name leads to it
    assert paperspace("status").returncode == 0


def test_options_and_configuration(api: FakeApi, paperspace: Paperspace) -> None:
    options = [
        "--name",
        "big one",
        "--type",
        "A100",
        "--region",
        "ams1",
        "--disk",
        "500",
        "--template",
        "prod-u22-gpu-241021",
    ]
    result = paperspace("create", *options, "--address", "dynamic", "--yes", PAPERSPACE_AUTO_SHUTDOWN_HOURS="24")
    assert result.returncode == 0, result.stderr
    changes = {
        "name": "big one",
        "machineType": "A100",
        "region": "ams1",
        "diskSize": 500,
        "templateId": "t-prod-u22-gpu-241021",
    }
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


def test_a_price_that_nobody_tells(api: FakeApi, paperspace: Paperspace) -> None:
    api.templates = [template("mliab-u24-261101", "Ubuntu 24.04", types("B200"))]
    assert "unknown: see https://" in paperspace("create", "--type", "B200", stdin="n").stderr


@pytest.mark.parametrize(("kind", "dollars"), [("A100", "3.09"), ("A100-80G", "3.18"), ("H100", "5.95")])
def test_the_price_of_a_large_gpu(paperspace: Paperspace, kind: str, dollars: str) -> None:
    assert f"${dollars}/h by the price list" in paperspace("create", "--type", kind, stdin="n").stderr


@pytest.mark.parametrize(("gigabytes", "dollars"), [(500, 25), (501, 55), (1000, 55), (2000, 120)])
def test_the_price_of_a_disk(paperspace: Paperspace, gigabytes: int, dollars: int) -> None:
    shown = paperspace("create", "--disk", str(gigabytes), stdin="n").stderr
    assert f"about ${dollars + 3}.00 a month: its disk (${dollars}.00 by the price list, {gigabytes} GB)" in shown


def test_availability_is_told(api: FakeApi, paperspace: Paperspace) -> None:
    api.available = False
    assert "one is free now: false" in paperspace("create", stdin="n").stderr


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("A4000", "mliab-u22-241101"),
        ("P4000", "prod-u22-gpu-241021"),
        ("A100", "mliab-u22-241101-1x-a100"),
        ("A100-80G", "mliab-u22-241101-1x-a100"),
        ("H100", "mliab-u22-241108-1x-h100"),
        ("H100x8", "mliab-u22-241108-h100"),
    ],
)
def test_the_template_of_the_providers_list(api: FakeApi, paperspace: Paperspace, kind: str, expected: str) -> None:
    for templates in (listing(), listing()[::-1]):
        api.machines.clear()
        api.requests.clear()
        api.templates, api.page_size = templates, 3
        result = paperspace("create", "--type", kind, "--yes")
        assert result.returncode == 0, result.stderr
        assert api.sent(POST)[0].body["templateId"] == f"t-{expected}"


U22 = template("mliab-u22-241101", "Ubuntu 22.04")
DESKTOP = template("prod-u22-gpu-241021", "Ubuntu 22.04 Desktop")
CPU = template("prod-u24-cpu-261101", "Ubuntu 24.04 Server")
OLD = template("mliab-u20-241101", "Ubuntu 20.04")


@pytest.mark.parametrize(
    ("templates", "expected"),
    [
        ([U22, DESKTOP, CPU, OLD], "mliab-u22-241101"),
        ([DESKTOP, CPU, OLD], "prod-u22-gpu-241021"),
        ([U22, template("mliab-u22-250301", "Ubuntu 22.04"), DESKTOP], "mliab-u22-250301"),
        ([U22, template("mliab-u24-260501", "Ubuntu 24.04")], "mliab-u24-260501"),
        ([U22, template("prod-u24-gpu-260501", "Ubuntu 24.04 Desktop")], "prod-u24-gpu-260501"),
        (
            [U22, template("mliab-u23-260501", "Ubuntu 23.04"), template("mliab-u2410", "Ubuntu 24.10")],
            "mliab-u22-241101",
        ),
        ([DESKTOP, template("mliab-u22-260501-1x-h100", "Ubuntu 22.04")], "prod-u22-gpu-241021"),  # says another type
        ([DESKTOP, template("mliab-u22-260501", "Ubuntu 22.04", types("A100"))], "prod-u22-gpu-241021"),
        (
            [DESKTOP, template("mliab-u22-260501", "Ubuntu 22.04", types("A4000", available=False))],
            "prod-u22-gpu-241021",
        ),
    ],
)
def test_the_template_is_the_newest_lts_that_has_a_driver(
    api: FakeApi, paperspace: Paperspace, templates: list[dict[str, object]], expected: str
) -> None:
    api.templates, api.page_size = templates, 1
    assert paperspace("create", "--yes").returncode == 0
    assert api.sent(POST)[0].body["templateId"] == f"t-{expected}"


@pytest.mark.parametrize(
    ("templates", "there"),
    [
        ([CPU], "prod-u24-cpu-261101 (no driver)"),
        ([OLD], "mliab-u20-241101 (Ubuntu 20.04)"),
        (
            [template("prod-u20-cpu-241101", "Ubuntu 20.04 Server")],
            "prod-u20-cpu-241101 (Ubuntu 20.04 Server, no driver)",
        ),
        ([template("prod-win10-240606", "Windows 10")], "prod-win10-240606 (Windows 10, no driver)"),
        ([template("mliab-u22-241101", "Ubuntu 22.04", types("A4000", available=False))], "none"),
        ([template("mliab-u22-260501-1x-h100", "Ubuntu 22.04")], "none"),
    ],
)
def test_where_only_others_are_there_it_says_what_is_missing(
    api: FakeApi, paperspace: Paperspace, templates: list[dict[str, object]], there: str
) -> None:
    api.templates = templates
    result = paperspace("create", "--yes")
    assert result.returncode == 1 and not api.sent(POST)
    assert "No template with Ubuntu LTS, 22.04 or newer, and a driver is there" in result.stderr
    assert f"it has: {there};" in result.stderr


def test_a_template_that_is_named_is_taken_as_it_is(api: FakeApi, paperspace: Paperspace) -> None:
    name = "prod-u22-cpu-241018"
    assert paperspace("create", "--type", "C5", "--template", name, "--yes").returncode == 0
    assert api.sent(POST)[0].body["templateId"] == f"t-{name}"
    result = paperspace("create", "--name", "other", "--template", "mliab-u22", "--yes")
    assert result.returncode == 1 and "No template mliab-u22 (PAPERSPACE_TEMPLATE" in result.stderr


def test_a_machine_type_that_does_not_exist_is_named_with_those_that_do(paperspace: Paperspace) -> None:
    result = paperspace("create", "--type", "A4001", "--yes")
    assert result.returncode == 1
    known = "A100, A100-80G, A4000, C5, H100, H100x8, P4000"
    assert (
        f"'A4001' (PAPERSPACE_MACHINE_TYPE, --type); it has: none; types that have templates: {known}." in result.stderr
    )


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
