"""`doctor`: each thing that is wrong is named with its mend, and with all right it succeeds."""

from pathlib import Path

import pytest

from .project import DF, Command
from .sshd import Sshd

# What the machine answers when all is well
GPU = "#!/bin/sh\necho 'NVIDIA RTX A4000, 570.1'\n"
PYTHON = "#!/bin/sh\necho torch 2.13.0+cu126 multiplies matrices on the NVIDIA RTX A4000\n"


@pytest.fixture
def healthy(machine: Sshd) -> Sshd:
    machine.program("nvidia-smi", GPU)
    machine.program("systemctl", "#!/bin/sh\nexit 0\n")
    python = machine.project / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    return machine


def test_all_is_well(healthy: Sshd, command: Command) -> None:
    result = command("doctor")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "WRONG" not in result.stdout and result.stdout.endswith("All is well.\n")
    for found in (
        "API key is accepted",
        "no restore point",
        "is static",
        "SSH lets you in",
        "A4000, 570.1",
        "torch 2.13.0+cu126 multiplies",
    ):
        assert found in result.stdout
    assert "mend" not in result.stdout


@pytest.mark.parametrize(
    "program, text, found, mend",
    [
        ("nvidia-smi", "#!/bin/sh\nexit 9\n", "driver does not answer", "ubuntu-drivers install"),
        ("systemctl", "#!/bin/sh\nexit 3\n", "the idle guard is not on", "scripts/paperspace bootstrap"),
        ("df", DF.format(kilobytes=2 * 1024**2), "only 2.0 GB", "then delete what is large there"),
    ],
)
def test_what_is_wrong_on_the_machine(
    healthy: Sshd, command: Command, program: str, text: str, found: str, mend: str
) -> None:
    healthy.program(program, text)
    wrong(command, found, mend)


def wrong(command: Command, found: str, mend: str, **variables: str) -> None:
    result = command("doctor", **variables)
    assert result.returncode == 1
    lines = result.stdout.splitlines()
    at = next(i for i, line in enumerate(lines) if "WRONG" in line and found in line)
    assert "mend:" in lines[at + 1] and mend in lines[at + 1]
    assert "1 of these things" in result.stderr


def test_no_driver_at_all(healthy: Sshd, command: Command) -> None:
    (healthy.programs / "nvidia-smi").unlink()
    healthy.hide("nvidia-smi")
    wrong(command, "has no driver", "ubuntu-drivers install")


@pytest.mark.parametrize(
    "text, found",
    [
        ("echo 'torch 2.13.0 (CUDA 13.0) sees no GPU'; exit 1", "torch 2.13.0 (CUDA 13.0) sees no GPU"),
        ("echo \"No module named 'torch'\"; exit 1", "no .venv with torch"),
    ],
)
def test_torch(healthy: Sshd, command: Command, text: str, found: str) -> None:
    (healthy.project / ".venv/bin/python").write_text(f"#!/bin/sh\n{text}\n")
    wrong(command, found, "scripts/paperspace bootstrap")


def test_a_driver_that_was_upgraded_under_a_running_machine(healthy: Sshd, command: Command) -> None:
    healthy.program(
        "nvidia-smi", "#!/bin/sh\necho 'Failed to initialize NVML: Driver/library version mismatch'\nexit 18\n"
    )
    (healthy.project / ".venv/bin/python").write_text(
        "#!/bin/sh\necho 'torch 2.13.0 (CUDA 13.0) sees no GPU'\nexit 1\n"
    )
    wrong(command, "the driver was upgraded, and the old one still runs", "scripts/paperspace down, then up")


@pytest.mark.parametrize(
    "setting, value, found, mend",
    [
        ("restorePointEnabled", True, "restore point", "turn it off"),
        ("autoShutdownEnabled", False, "no auto-shutdown", "turn it on"),
    ],
)
def test_settings_of_the_machine(
    healthy: Sshd, command: Command, api, setting: str, value: bool, found: str, mend: str
) -> None:
    api.machine.data[setting] = value
    wrong(command, found, mend)


def test_a_machine_that_is_off_is_checked_as_far_as_it_can_be(entry, command: Command, api) -> None:
    api.machine.set("off")
    result = command("doctor")
    assert result.returncode == 0
    assert "scripts/paperspace up, then doctor again" in result.stdout


def test_the_account(entry, command: Command) -> None:
    wrong(command, "not accepted", "set PAPERSPACE_API_KEY", PAPERSPACE_API_KEY="sk-wrong")


def test_no_such_machine(entry, command: Command) -> None:
    wrong(command, "No machine", "scripts/paperspace create", PAPERSPACE_MACHINE="other")


def test_the_ssh_key(healthy: Sshd, command: Command, tmp_path: Path) -> None:
    (healthy.folder / "user_key").chmod(0o644)
    result = command("doctor")
    assert result.returncode == 1
    assert f"chmod 600 '{healthy.folder}/user_key'" in result.stdout
    result = command("doctor", PAPERSPACE_SSH_KEY=str(tmp_path / "none"))
    assert "ssh-keygen -t ed25519" in result.stdout


def test_an_ssh_that_is_dead(healthy: Sshd, command: Command) -> None:
    healthy.stop()
    wrong(command, "Connection refused", "sshd starts late")


def test_a_changed_host_key(healthy: Sshd, command: Command) -> None:
    assert command("ssh", "true").returncode == 0
    healthy.stop()
    healthy.make_key("host_key")
    healthy.start()
    wrong(command, "SSH", "paperspace.known_hosts")


def test_an_entry_of_the_user_that_comes_first(healthy: Sshd, command: Command, home: Path) -> None:
    config = home / ".ssh/config"
    config.write_text(f"Host paperspace\n  HostName 127.0.0.2\n\n{config.read_text()}")
    result = command("doctor")
    assert result.returncode == 1
    assert "an earlier entry there has the alias" in result.stdout
