"""On WSL, VS Code is Windows' program: which SSH configuration it reads is told, and written when asked."""

import subprocess
from pathlib import Path

import pytest

from .project import Command
from .sshd import Sshd

WSLPATH = """#!/bin/sh
case "$1" in
  -u) printf '%s\\n' "$2" | sed 's|\\\\|/|g; s|^C:|{drive}|' ;;
  -m) printf '%s\\n' "$2" | sed 's|^{drive}|C:|' ;;
  -w) printf '%s\\n' "$2" | sed 's|^{drive}|C:|; s|/|\\\\|g' ;;
esac
"""


@pytest.fixture
def windows(machine: Sshd, environment: dict[str, str], tmp_path: Path) -> Path:
    """The home of Windows' user, as WSL sees it; its programs answer as theirs do."""
    home = tmp_path / "c" / "Users" / "ada"
    home.mkdir(parents=True)
    programs = {
        "cmd.exe": "#!/bin/sh\nprintf 'C:\\\\Users\\\\ada\\r\\n'\n",
        "wslpath": WSLPATH.format(drive=tmp_path / "c"),
        "code": f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/opened\n',
    }
    for name, text in programs.items():
        (tmp_path / "front" / name).write_text(text)
        (tmp_path / "front" / name).chmod(0o755)
    environment["WSL_DISTRO_NAME"] = "Ubuntu"
    return home


def as_windows_reads_it(windows: Path, tmp_path: Path) -> Path:
    """A copy of Windows' configuration in which a real ssh finds the files."""
    for path in [windows / ".ssh/config", *(windows / ".ssh/paperspace.d").glob("*.conf")]:
        path.write_text(path.read_text().replace("C:/", f"{tmp_path}/c/"))
    return windows / ".ssh/config"


def test_the_configuration_that_windows_reads_is_told(windows: Path, command: Command, tmp_path: Path) -> None:
    result = command("code")
    assert result.returncode == 0, result.stderr
    assert (
        "reads C:\\Users\\ada\\.ssh\\config" in result.stderr and "scripts/paperspace code --windows" in result.stderr
    )
    assert (tmp_path / "opened").exists() and not (windows / ".ssh").exists()


def test_the_entry_is_written_there_when_asked_and_logs_in(
    windows: Path, command: Command, machine: Sshd, tmp_path: Path
) -> None:
    (windows / ".ssh").mkdir()
    (windows / ".ssh/config").write_text("Host elsewhere\n")
    result = command("code", "--windows")
    assert result.returncode == 0, result.stderr
    key = windows / ".ssh/user_key"
    assert f"cp '{machine.folder}/user_key' '{key}'" in result.stderr and not key.exists()
    key.write_bytes((machine.folder / "user_key").read_bytes())
    key.chmod(0o600)
    for words in (["code", "--windows"], ["code"]):
        assert "Windows" not in command(*words).stderr
    text = (windows / ".ssh/config").read_text()
    assert text == 'Include "C:/Users/ada/.ssh/paperspace.d/paperspace.conf"\n\nHost elsewhere\n'
    words = ["/usr/bin/ssh", "-F", as_windows_reads_it(windows, tmp_path), "-o", "BatchMode=yes", "paperspace", "pwd"]
    answer = subprocess.run(words, capture_output=True, text=True)
    assert answer.stdout.strip() == str(machine.home), answer.stderr
    assert (windows / ".ssh/paperspace.d/paperspace.known_hosts").exists()


@pytest.mark.slow
def test_up_keeps_it_current(windows: Path, command: Command, machine: Sshd, api) -> None:
    assert command("code", "--windows").returncode == 0
    entry = windows / ".ssh/paperspace.d/paperspace.conf"
    entry.write_text(entry.read_text().replace("HostName 127.0.0.1", "HostName 127.0.0.8"))
    assert command("up").returncode == 0
    assert "HostName 127.0.0.1" in entry.read_text()


def test_without_windows_nothing_is_said(
    windows: Path, command: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    del environment["WSL_DISTRO_NAME"]
    assert command("code").stderr == ""
    assert command("code", "--windows").returncode == 2


@pytest.mark.slow
def test_a_windows_that_does_not_answer(windows: Path, command: Command, tmp_path: Path) -> None:
    (tmp_path / "front" / "cmd.exe").write_text("#!/bin/sh\nexit 1\n")
    result = command("code")
    assert result.returncode == 1 and "is WSL's interoperability switched off?" in result.stderr
