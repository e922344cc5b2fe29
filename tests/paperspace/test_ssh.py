"""`ssh`, `code` and the SSH entry, with a real sshd."""

import stat
from pathlib import Path

import pytest

from .conftest import API_KEY
from .project import Command, wait_until_shown
from .sshd import Sshd


def test_up_waits_for_an_sshd_that_comes_late(api, dead_machine: Sshd, following) -> None:
    process = following("up")
    printed = wait_until_shown(process, "waiting for SSH")
    dead_machine.start()
    printed += process.communicate(timeout=60)[0]
    assert process.returncode == 0, printed
    assert "waiting for SSH: " in printed and "Connection refused" in printed


def test_up_gives_up_on_an_sshd_that_never_comes(api, dead_machine: Sshd, command: Command) -> None:
    api.machine.set("ready")
    result = command("up", PAPERSPACE_UP_TIMEOUT="2")
    assert result.returncode == 1
    assert "does not answer" in result.stderr


def test_up_soon_says_which_key_is_not_known(api, sshd: Sshd, command: Command, tmp_path: Path) -> None:
    sshd.make_key("other_key")
    result = command("up", PAPERSPACE_SSH_KEY=str(sshd.folder / "other_key"), PAPERSPACE_UP_TIMEOUT="1000")
    assert result.returncode == 1
    assert "accepts none of your SSH keys" in result.stderr and "other_key" in result.stderr


def test_a_command_gets_its_words_and_gives_its_status(entry, command: Command) -> None:
    result = command("ssh", "echo out; echo err >&2; cat; exit 7", stdin="in")
    assert (result.returncode, result.stdout) == (7, "out\nin")
    assert result.stderr.endswith("err\n")


def test_a_shell_without_a_command(entry, command: Command, sshd: Sshd) -> None:
    result = command("ssh", stdin="pwd\nexit 3\n")
    assert (result.returncode, result.stdout.strip()) == (3, str(sshd.home))


def test_without_a_machine_ssh_says_how_to_get_one(entry, command: Command, sshd: Sshd) -> None:
    sshd.stop()
    result = command("ssh", "true")
    assert result.returncode == 255
    assert "scripts/paperspace up" in result.stderr


def test_the_entry_is_written_once_into_the_users_configuration(api, sshd: Sshd, command: Command, home: Path) -> None:
    config = home / ".ssh" / "config"
    config.parent.mkdir(mode=0o755)
    config.write_text("Host elsewhere\n  User someone\n")
    for _ in range(2):
        assert command("up").returncode == 0
    folder = home / ".ssh" / "paperspace.d"
    assert config.read_text() == f'Include "{folder}/*.conf"\n\nHost elsewhere\n  User someone\n'
    assert stat.S_IMODE(config.parent.stat().st_mode) == 0o700
    assert "HostKeyAlias paperspace-psmachine\n" in (folder / "paperspace.conf").read_text()


def test_a_configuration_that_is_a_link_stays_one(api, sshd: Sshd, command: Command, home: Path) -> None:
    (home / ".ssh").mkdir()
    (home / "dotfiles").write_text("Host elsewhere\n")
    (home / ".ssh" / "config").symlink_to(home / "dotfiles")
    assert command("up").returncode == 0
    assert (home / ".ssh" / "config").is_symlink()
    assert (home / "dotfiles").read_text().startswith("Include ")


def test_the_same_machine_at_another_address_is_no_stranger(
    api, entry, command: Command, sshd: Sshd, home: Path
) -> None:
    known = home / ".ssh" / "paperspace.d" / "paperspace.known_hosts"
    assert command("ssh", "true").returncode == 0
    before = known.read_text()
    sshd.stop()
    config = sshd.folder / "config"
    config.write_text(config.read_text().replace("ListenAddress 127.0.0.1", "ListenAddress 0.0.0.0"))
    sshd.start()
    api.machine.data["publicIp"] = "127.0.0.9"
    assert command("up").returncode == 0
    result = command("ssh", "echo", "$SSH_CONNECTION")
    assert result.stdout.split()[2] == "127.0.0.9" and result.stderr == ""
    assert known.read_text() == before


def test_a_changed_host_key_is_refused_with_the_mend(api, entry, command: Command, sshd: Sshd, home: Path) -> None:
    assert command("ssh", "true").returncode == 0
    sshd.stop()
    sshd.make_key("host_key")
    sshd.start()
    result = command("up")
    assert result.returncode == 1
    assert "another host key than before" in result.stderr
    known = home / ".ssh" / "paperspace.d" / "paperspace.known_hosts"
    assert f"rm '{known}'" in result.stderr
    known.unlink()
    assert command("up").returncode == 0


def test_another_machine_may_have_another_host_key(api, entry, command: Command, sshd: Sshd) -> None:
    assert command("ssh", "true").returncode == 0
    sshd.stop()
    sshd.make_key("host_key")
    sshd.start()
    api.machine.data["id"] = "psother"
    assert command("up").returncode == 0


@pytest.mark.parametrize("key, value", [("PAPERSPACE_SSH_ALIAS", "a b"), ("PAPERSPACE_SSH_USER", "-oProxyCommand=x")])
def test_names_that_ssh_would_misread_are_refused(api, sshd: Sshd, command: Command, key: str, value: str) -> None:
    result = command("up", **{key: value})
    assert result.returncode == 2
    assert f"{key} is '{value}'; it must be" in result.stderr


def test_code_opens_the_project_on_the_machine(machine: Sshd, command: Command, tmp_path: Path) -> None:
    code = tmp_path / "front" / "code"
    code.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/opened\n')
    code.chmod(0o755)
    assert command("code").returncode == 0
    assert (tmp_path / "opened").read_text().splitlines() == ["--remote", "ssh-remote+paperspace", str(machine.project)]


def test_code_needs_the_project_there(entry, command: Command, tmp_path: Path) -> None:
    (tmp_path / "front" / "code").symlink_to("/bin/true")
    result = command("code")
    assert result.returncode == 1
    assert "scripts/paperspace bootstrap" in result.stderr


def test_the_key_of_the_api_stays_here(machine: Sshd, command: Command, tmp_path: Path, record: Path) -> None:
    assert "PAPERSPACE_API_KEY" not in command("ssh", "env").stdout
    assert command("run", "x").returncode == 0
    assert API_KEY not in (tmp_path / "front" / "environment").read_text()
    assert API_KEY not in (record / "argv").read_text()
    assert not any(API_KEY.encode() in path.read_bytes() for path in machine.home.rglob("*") if path.is_file())


def test_a_session_that_was_cut_off_says_so(entry, sshd: Sshd, following) -> None:
    process = following("ssh", "echo there; sleep 60")
    wait_until_shown(process, "there")
    sshd.cut()
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 255
    assert "broke off" in output
