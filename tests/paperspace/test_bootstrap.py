"""`bootstrap` over a real sshd; what would change the system is recorded, or lands in a folder (DESTDIR)."""

import re
import stat
from pathlib import Path

import pytest

from .project import DRIVER, NO_GPU, Command, commit, git
from .sshd import Sshd

RECORDER = """#!/bin/sh
echo "{name} $*" >> '{record}'
"""
# As dpkg-query does: knows what apt-get "installed"
DPKG_QUERY = """#!/bin/sh
for package; do :; done
grep -qw "^apt-get .* install .* $package" '{record}' 2> /dev/null && printf installed
"""
SUDO = """#!/bin/sh
[ "$1" != -n ] || shift
exec "$@"
"""


@pytest.fixture
def fresh(entry, sshd: Sshd) -> Sshd:
    """A machine as the provider makes it: nothing of ours on it, and a source of packages that is broken."""
    record = sshd.root / "record"
    for name in ("apt-get", "systemctl", "loginctl", "mount"):
        sshd.program(name, RECORDER.format(name=name, record=record))
    sshd.program("dpkg-query", DPKG_QUERY.format(record=record))
    sshd.program("sudo", SUDO)
    source = sshd.root / "etc/apt/sources.list.d/paperspace.list"
    source.parent.mkdir(parents=True)
    source.write_text("deb https://broken.example.org stable main\n")
    return sshd


def calls(machine: Sshd) -> list[str]:
    """The commands that would have changed the system."""
    record = machine.root / "record"
    return record.read_text().splitlines() if record.exists() else []


def files(machine: Sshd) -> dict[str, bytes]:
    """Everything on the machine that should stay as it is, but for what git and set-up write each time."""
    skipped = (".git/", ".venv-log", "/record", "known_hosts")
    paths = [path for folder in (machine.home, machine.root) for path in folder.rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in paths if not any(word in str(path) for word in skipped)}


def test_a_fresh_machine_is_set_up_and_again_changes_nothing(fresh: Sshd, command: Command, checkout: Path) -> None:
    result = command("bootstrap")
    assert result.returncode == 0, result.stderr
    sources = fresh.root / "etc/apt/sources.list.d"
    assert [path.name for path in sources.iterdir()] == ["paperspace.list.disabled"]
    updates = [call for call in calls(fresh) if call.startswith("apt-get")]
    assert "update" in updates[0] and "install" in updates[1]
    assert {"git", "tmux", "jq", "rsync", "python3-venv"} <= set(updates[1].split())
    assert git(fresh.project, "rev-parse", "HEAD") == git(checkout, "rev-parse", "HEAD")
    assert git(fresh.project, "status", "--porcelain") == ""
    assert git(fresh.project, "config", "receive.denyCurrentBranch") == "updateInstead"
    who = [git(fresh.project, "config", "--local", f"user.{key}") for key in ("name", "email")]
    assert who == ["Ada", "ada@example.org"]
    assert (fresh.project / ".venv/bin/sheeprl").exists()
    key = fresh.home / ".ssh/id_ed25519"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.with_suffix(".pub").read_text().strip() in result.stderr
    assert "PRIVATE" not in result.stderr + result.stdout

    before = files(fresh)
    again = command("bootstrap")
    assert again.returncode == 0, again.stderr
    assert files(fresh) == before
    assert [call for call in calls(fresh) if call.startswith("apt-get")] == updates
    assert calls(fresh).count("systemctl daemon-reload") == 1
    assert "wrote" not in again.stderr


def test_the_idle_guard_is_installed_and_enabled(fresh: Sshd, command: Command, checkout: Path) -> None:
    assert command("bootstrap").returncode == 0
    guard = fresh.root / "usr/local/sbin/idle-guard"
    assert guard.read_text() == (checkout / "infra/idle-guard").read_text()
    assert stat.S_IMODE(guard.stat().st_mode) == 0o755
    units = fresh.root / "etc/systemd/system"
    assert {path.name for path in units.iterdir()} == {"idle-guard.service", "idle-guard.timer"}
    settings = fresh.root / "etc/idle-guard.conf"
    assert f"IDLE_GUARD_KEEP_AWAKE={fresh.home}/.keep-awake\n" in settings.read_text()
    assert "systemctl enable --now --quiet idle-guard.timer" in calls(fresh)
    # A session of a laptop that was shut ends, so that the guard doesn't wait for it
    assert "ClientAliveInterval" in (fresh.root / "etc/ssh/sshd_config.d/50-drop-dead-sessions.conf").read_text()
    settings.write_text("IDLE_GUARD_CHECKS=12\n")
    (checkout / "infra/idle-guard").write_text("#!/bin/sh\n# a newer one\n")
    git(checkout, "commit", "--quiet", "--all", "--message", "newer guard")
    assert command("bootstrap").returncode == 0
    assert settings.read_text() == "IDLE_GUARD_CHECKS=12\n"
    assert "newer one" in guard.read_text()


def test_it_ends_only_when_torch_has_multiplied_on_the_gpu(fresh: Sshd, command: Command, checkout: Path) -> None:
    result = command("bootstrap")
    assert result.returncode == 0 and "multiplies matrices on the NVIDIA RTX A4000" in result.stderr
    fresh.program("nvidia-smi", DRIVER)
    commit(checkout, "tests/python", NO_GPU)
    result = command("bootstrap")
    assert result.returncode == 1 and "The machine is set up" not in result.stderr
    assert "torch cannot use the GPU: torch 2.13.0 (CUDA 13.0) sees no GPU. Mend it: " in result.stderr
    assert "bootstrap --cpu" in result.stderr
    assert "systemctl enable --now --quiet idle-guard.timer" in calls(
        fresh
    )  # it stops a machine that is left like this
    assert command("bootstrap", "--cpu").returncode == 0


def test_unattended_upgrades_leave_the_driver_and_its_kernel_alone(fresh: Sshd, command: Command) -> None:
    assert command("bootstrap").returncode == 0
    lines = (fresh.root / "etc/apt/apt.conf.d/52-hold-back-gpu-driver").read_text().splitlines()
    assert (lines[0], lines[-1]) == ("Unattended-Upgrade::Package-Blacklist {", "};")
    patterns = [line.strip().strip('";') for line in lines[1:-1]]
    held = lambda package: any(re.match(pattern, package) for pattern in patterns)  # noqa: E731 # as unattended-upgrades
    names = "nvidia-driver-535 nvidia-dkms-535-server nvidia-kernel-common-535 libnvidia-compute-535 cuda-drivers"
    for package in f"{names} linux-modules-nvidia-535-generic linux-image-generic linux-headers-6.8.0-50".split():
        assert held(package), package
    for package in "openssh-server libssl3 python3.10 util-linux libc6 sudo".split():
        assert not held(package), package


def test_after_bootstrap_run_and_sync_and_down_work(fresh: Sshd, command: Command, checkout: Path, api) -> None:
    assert command("bootstrap").returncode == 0
    commit(checkout, "new.py")
    assert command("run", "x", "status=0").returncode == 0
    commit(fresh.project, "there.py")
    assert command("sync").returncode == 0
    assert (checkout / "there.py").exists()
    assert command("pull").returncode == 0
    assert command("down").returncode == 0
    assert api.machine.state == "off"


def test_work_on_the_machine_survives_another_bootstrap(fresh: Sshd, command: Command, checkout: Path) -> None:
    assert command("bootstrap").returncode == 0
    theirs = commit(fresh.project, "there.py")
    (fresh.project / "idea.py").write_text("not committed\n")
    result = command("bootstrap")
    assert result.returncode == 0, result.stderr
    assert "scripts/paperspace sync" in result.stderr
    assert git(fresh.project, "rev-parse", "HEAD") == theirs
    assert (fresh.project / "idea.py").read_text() == "not committed\n"


@pytest.mark.parametrize(
    "url, copied",
    [
        ("https://user:secret@example.org/x.git", "https://example.org/x.git"),
        ("git@example.org:x.git", "git@example.org:x.git"),
        ("/home/me/x.git", ""),
    ],
)
def test_the_origin_goes_along_without_its_credentials(
    fresh: Sshd, command: Command, checkout: Path, url: str, copied: str
) -> None:
    git(checkout, "remote", "add", "origin", url)
    assert command("bootstrap").returncode == 0
    assert ("origin" in git(fresh.project, "remote")) == bool(copied)
    assert not copied or git(fresh.project, "config", "remote.origin.url") == copied


@pytest.mark.parametrize(
    "program, text, why",
    [
        ("getconf", "#!/bin/sh\necho glibc 2.27\n", "the VS Code server needs 2.28"),
        ("python3", '#!/bin/sh\n[ "$1" = --version ] && echo Python 3.8.10\nexit 1\n', "needs Python 3.10"),
        ("apt-get", "#!/bin/sh\necho no network >&2\nexit 100\n", "no network"),
    ],
)
def test_a_machine_that_does_not_do_is_refused(
    fresh: Sshd, command: Command, program: str, text: str, why: str
) -> None:
    fresh.program(program, text)
    result = command("bootstrap")
    assert result.returncode == 1
    assert why in result.stderr and "stopped at its step 'machine'" in result.stderr
    assert not fresh.project.exists()


def test_a_new_glibc_is_not_an_old_one(fresh: Sshd, command: Command) -> None:
    fresh.program("getconf", "#!/bin/sh\necho glibc 2.100\n")
    assert command("bootstrap").returncode == 0


def test_a_shared_drive(fresh: Sshd, command: Command, record: Path) -> None:
    (fresh.root / "etc/fstab").write_text("/dev/vda1 / ext4 defaults 0 1\n")
    words = ["bootstrap", "--drive", "//10.0.0.5/share", "--drive-user", "ada"]
    for password in ("first-pass", "pass word\\1"):
        result = command(*words, stdin=f"{password}\n")
        assert result.returncode == 0, result.stderr
        credentials = fresh.root / "etc/drive.credentials"
        assert credentials.read_text() == f"username=ada\npassword={password}\n"
        assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
        assert password not in (record / "argv").read_text() + result.stdout + result.stderr
        fstab = (fresh.root / "etc/fstab").read_text().splitlines()
        assert fstab[0] == "/dev/vda1 / ext4 defaults 0 1" and len(fstab) == 2
        assert fstab[1].startswith("//10.0.0.5/share /mnt/drive cifs ") and "nofail" in fstab[1]
    assert "mount /mnt/drive" in calls(fresh)


@pytest.mark.parametrize(
    "words", [["x"], ["--drive"], ["--drive", "10.0.0.5", "--drive-user", "a"], ["--drive", "//a/b"]]
)
def test_misuse(entry, command: Command, words: list[str]) -> None:
    assert command("bootstrap", *words).returncode == 2


def test_the_machines_agent_and_keys_stay_out_of_the_configuration(fresh: Sshd, command: Command, home: Path) -> None:
    assert command("bootstrap").returncode == 0
    assert "ForwardAgent" not in (home / ".ssh/paperspace.d/paperspace.conf").read_text()
    assert sorted(path.name for path in (home / ".ssh").iterdir()) == ["config", "paperspace.d"]
