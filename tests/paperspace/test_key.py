"""The machine that `create` makes lets the user's SSH key in, or nothing is bought."""

import subprocess
from pathlib import Path

import pytest

from .conftest import Paperspace
from .fake_api import FakeApi
from .project import Command
from .sshd import USER, Sshd

POST, SCRIPTS = "POST /machines", "POST /startup-scripts"


@pytest.fixture(autouse=True)
def empty(api: FakeApi) -> None:
    """An account without machines."""
    api.machines.clear()


def public(key: Path) -> str:
    """The public half, without its comment."""
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


def test_it_is_brought_along_once(api: FakeApi, paperspace: Paperspace, ssh_key: Path) -> None:
    for name in ("one", "two"):
        assert paperspace("create", "--name", name, "--yes").returncode == 0
    assert [request.body["startupScriptId"] for request in api.sent(POST)] == ["ss0", "ss0"]
    (script,) = api.script_texts.values()
    assert public(ssh_key) in script and "ada" not in script
    assert api.scripts[0]["name"].startswith("scripts/paperspace: SSH key SHA256:")


def run_at_start(machine: Sshd, script: str) -> None:
    """What the provider does with a startup script, on a machine whose user has another home."""
    machine.program("getent", f"#!/bin/sh\necho '{USER}:x:0:0::{machine.home}:/bin/bash'\n")
    environment = {"PATH": f"{machine.programs}:/usr/bin:/bin"}
    subprocess.run(["bash", "-c", script], env=environment, check=True)


@pytest.mark.slow
def test_it_logs_in_after_the_first_start(api: FakeApi, sshd: Sshd, command: Command) -> None:
    config = sshd.folder / "config"
    known = sshd.home / ".ssh" / "authorized_keys"
    config.write_text(config.read_text().replace(f"{sshd.folder}/user_key.pub", str(known)))
    sshd.stop()
    sshd.start()
    assert command("create", "--yes", PAPERSPACE_SSH_USER=USER).returncode == 0
    assert command("up", PAPERSPACE_SSH_USER=USER).returncode == 1, "the account has no key"
    known.parent.mkdir(mode=0o700)
    known.write_text("ssh-ed25519 AAAA someone's, without an end of line")
    for _ in range(2):
        run_at_start(sshd, api.script_texts["ss0"])
    result = command("up", PAPERSPACE_SSH_USER=USER)
    assert result.returncode == 0, result.stderr
    assert known.read_text().count("ssh-ed25519 ") == 2 and known.stat().st_mode & 0o777 == 0o600
    known.write_text("")
    run_at_start(sshd, api.script_texts["ss0"])
    assert known.read_text() == "", "a key that the user takes away stays away"


def test_without_a_key_nothing_is_bought(api: FakeApi, paperspace: Paperspace) -> None:
    result = paperspace("create", "--yes")
    assert result.returncode == 1
    assert "You have no SSH key" in result.stderr and "ssh-keygen -t ed25519" in result.stderr
    assert not api.sent(POST) and not api.sent(SCRIPTS)


def test_the_keys_of_the_account_may_do(api: FakeApi, paperspace: Paperspace) -> None:
    result = paperspace("create", "--yes", "--key", "none")
    assert result.returncode == 0, result.stderr
    assert "those that the account has" in result.stderr
    assert "startupScriptId" not in api.sent(POST)[0].body and not api.sent(SCRIPTS)


def test_a_script_that_is_refused_says_what_to_do_before_it_buys(
    api: FakeApi, paperspace: Paperspace, ssh_key: Path
) -> None:
    api.fault(SCRIPTS, 403, {"code": "NO", "message": "Startup scripts are not for you"})
    result = paperspace("create", "--yes")
    assert result.returncode == 1
    assert "nothing was bought: Paperspace answers HTTP 403: Startup scripts are not for you" in result.stderr
    assert "create --key none" in result.stderr
    assert not api.sent(POST)


def test_the_configured_key_comes_first(api: FakeApi, paperspace: Paperspace, ssh_key: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    subprocess.run(["ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", str(mine)], check=True)
    assert paperspace("create", "--yes", PAPERSPACE_SSH_KEY=mine).returncode == 0
    assert public(mine) in api.script_texts["ss0"]
    mine.with_suffix(".pub").unlink()
    assert paperspace("create", "--yes", "--name", "b", PAPERSPACE_SSH_KEY=mine).returncode == 0
    assert [request.body["startupScriptId"] for request in api.sent(POST)] == ["ss0", "ss0"]


def test_a_file_that_is_no_key(api: FakeApi, paperspace: Paperspace, tmp_path: Path) -> None:
    (tmp_path / "x.pub").write_text("'; rm -rf /\n")
    for key in (tmp_path / "x.pub", tmp_path / "none.pub"):
        result = paperspace("create", "--yes", "--key", str(key))
        assert result.returncode == 1 and f"--key names {key}, which is no SSH key" in result.stderr
    assert not api.sent(POST)
