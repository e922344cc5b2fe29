"""A login that is refused is explained at once, with its mend: a real sshd, real keys and a real agent."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .fake_api import FakeApi
from .project import Command
from .sshd import USER, Sshd

FOREVER = "1000"  # seconds that nobody should wait


def make_key(path: Path, passphrase: str = "") -> Path:
    """A new pair of keys; the path of the private one."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    words = ["-q", "-t", "ed25519", "-N", passphrase, "-C", "test", "-f", str(path)]
    subprocess.run(["ssh-keygen", *words], check=True)
    return path


@pytest.fixture
def agent(environment: dict[str, str], tmp_path: Path) -> Iterator[None]:
    """An SSH agent of the user's, that has no keys yet."""
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(tmp_path / "agent")], stdout=subprocess.DEVNULL)
    environment["SSH_AUTH_SOCK"] = str(tmp_path / "agent")
    while not (tmp_path / "agent").exists():
        assert process.poll() is None
    yield
    process.terminate()
    process.wait()


def add(environment: dict[str, str], key: Path, passphrase: str = "") -> None:
    """The agent gets the key."""
    answer = key.with_name("askpass")
    answer.write_text(f"#!/bin/sh\necho '{passphrase}'\n")
    answer.chmod(0o700)
    words = {"SSH_ASKPASS": str(answer), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": "none"}
    subprocess.run(["ssh-add", "-q", str(key)], env=environment | words, check=True)


def explained(command: Command, *words: str, **variables: str) -> None:
    """`up` gives up with these words, after so many tries to log in."""
    result = command("up", **variables, PAPERSPACE_UP_TIMEOUT=FOREVER)
    assert result.returncode == 1, result.stderr
    for word in words:
        assert word in result.stderr, result.stderr
    assert "may be billed ($0.76/h)" in result.stderr


def logins(machine: Sshd) -> int:
    """How often somebody tried to log in; the first who knocked only looked whether it listens."""
    return machine.log.read_text().count("Connection from") - 1


def test_an_agent_with_too_many_keys(
    api: FakeApi, sshd: Sshd, command: Command, agent: None, environment: dict[str, str], tmp_path: Path
) -> None:
    for number in range(7):
        add(environment, make_key(tmp_path / "keys" / str(number)))
    explained(command, "Too many authentication failures", "PAPERSPACE_SSH_KEY=FILE", PAPERSPACE_SSH_KEY="")
    assert logins(sshd) == 1
    assert command("up").returncode == 0, "with the key named, the others are not offered"


@pytest.fixture
def locked(sshd: Sshd, tmp_path: Path) -> Path:
    """A key with a passphrase, which the machine knows."""
    key = make_key(tmp_path / "keys" / "locked", "open sesame")
    known = sshd.folder / "user_key.pub"
    known.write_text(known.read_text() + key.with_suffix(".pub").read_text())
    return key


def test_a_key_with_a_passphrase_and_no_agent(api: FakeApi, sshd: Sshd, command: Command, locked: Path) -> None:
    explained(command, f"the key {locked} has a passphrase", f"ssh-add '{locked}'", PAPERSPACE_SSH_KEY=str(locked))
    assert logins(sshd) == 2


@pytest.mark.slow
def test_the_same_key_in_an_agent_lets_in(
    api: FakeApi, sshd: Sshd, command: Command, locked: Path, agent: None, environment: dict[str, str]
) -> None:
    explained(command, f"ssh-add '{locked}'", PAPERSPACE_SSH_KEY=str(locked))
    add(environment, locked, "open sesame")
    result = command("up", PAPERSPACE_SSH_KEY=str(locked))
    assert result.returncode == 0, result.stderr


def test_a_key_that_others_may_read(api: FakeApi, sshd: Sshd, command: Command) -> None:
    key = sshd.folder / "user_key"
    key.chmod(0o644)
    explained(command, f"chmod 600 '{key}'")
    assert logins(sshd) == 2


def test_a_key_that_is_not_offered(api: FakeApi, sshd: Sshd, command: Command, tmp_path: Path) -> None:
    """ssh looks for the usual names of keys in the home of the system's user: here the configuration rules them out."""
    config = tmp_path / "home" / ".ssh" / "config"
    config.parent.mkdir(mode=0o700)
    config.write_text(f"Host *\n  IdentityFile {tmp_path}/no-such-key\n")
    explained(command, "ssh has no key to offer", "PAPERSPACE_SSH_KEY=FILE", "ssh-keygen", PAPERSPACE_SSH_KEY="")
    assert logins(sshd) == 2


@pytest.mark.slow
def test_keys_that_the_machine_does_not_know(api: FakeApi, sshd: Sshd, command: Command, tmp_path: Path) -> None:
    other = make_key(tmp_path / "keys" / "other")
    explained(command, f"accepts none of your SSH keys for {USER} (ssh offers {other})", PAPERSPACE_SSH_KEY=str(other))
    assert 10 <= logins(sshd) <= 12, "it may get its keys a moment after it starts"


@pytest.mark.slow
@pytest.mark.parametrize("word", ["run x", "pull", "sync", "bootstrap"])
def test_every_command_explains_it(machine: Sshd, command: Command, home: Path, locked: Path, word: str) -> None:
    entry = home / ".ssh" / "paperspace.d" / "paperspace.conf"
    entry.write_text(entry.read_text().replace(str(machine.folder / "user_key"), str(locked)))
    result = command(*word.split())
    assert result.returncode == 1
    assert f"does not let you in: the key {locked} has a passphrase" in result.stderr


def test_a_key_that_is_not_there_is_told_before_anything_starts(api: FakeApi, command: Command, tmp_path: Path) -> None:
    result = command("up", PAPERSPACE_SSH_KEY=str(tmp_path / "none"))
    assert result.returncode == 1
    assert f"PAPERSPACE_SSH_KEY names {tmp_path}/none, which is not a file" in result.stderr
    assert api.machine.state == "off" and not api.requests


def test_a_configuration_that_ssh_cannot_read_is_told_before_anything_starts(
    api: FakeApi, sshd: Sshd, command: Command, home: Path
) -> None:
    (home / ".ssh").mkdir(mode=0o700)
    (home / ".ssh" / "config").write_text("Host *\n  NoSuchOption yes\n")
    result = command("up")
    assert result.returncode == 1
    assert "ssh cannot read its own configuration" in result.stderr and "Bad configuration option" in result.stderr
    assert api.machine.state == "off" and not api.requests
