"""Configuration: the environment before the file before the default; misuse is told and exits 2; no secret gets out."""

import shutil
import subprocess
import uuid
from pathlib import Path

import pytest

from .conftest import API_KEY, REPO, Paperspace
from .fake_api import FakeApi

COMMANDS = "create up down status ip destroy doctor bootstrap ssh code run tensorboard pull sync".split()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration file of the user's alone."""
    path = tmp_path / "own.conf"
    path.touch(mode=0o600)
    return path


def test_help_names_every_command_and_each_has_its_own(paperspace: Paperspace) -> None:
    result = paperspace("--help", PAPERSPACE_API_KEY=None)
    assert result.returncode == 0
    assert [command for command in COMMANDS if f"\n  {command} " not in result.stdout] == []
    for command in COMMANDS:
        result = paperspace(command, "--help", PAPERSPACE_CONFIG=None, PAPERSPACE_API_KEY=None)
        assert result.returncode == 0 and f"Usage: scripts/paperspace {command}" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["upp"],
        ["up", "now"],
        ["up", "--retry"],
        ["up", "--retry", "soon"],
        ["up", "--retry", "-1"],
        ["down", "--now"],
        ["status", "--yaml"],
        ["ip"],
        ["ip", "buy"],
        ["ip", "assign", "1", "2"],
        ["ip", "claim", "--no"],
        ["create", "--colour", "red"],
        ["create", "--name"],
        ["create", "--disk", "big"],
        ["create", "--address", "none"],
    ],
    ids=" ".join,
)
def test_misuse_exits_2_before_anything_is_asked(api: FakeApi, paperspace: Paperspace, arguments: list[str]) -> None:
    result = paperspace(*arguments)
    assert result.returncode == 2, result.stderr
    assert result.stderr
    assert not [r for r in api.requests if not r.operation.startswith("GET")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PAPERSPACE_SSH_PORT", "ssh"),
        ("PAPERSPACE_SSH_PORT", "70000"),
        ("PAPERSPACE_POLL_SECONDS", "0"),
        ("PAPERSPACE_POLL_SECONDS", "-1"),
        ("PAPERSPACE_POLL_SECONDS", "5s"),
        ("PAPERSPACE_UP_TIMEOUT", "1.5"),
        ("PAPERSPACE_DOWN_TIMEOUT", "0"),
        ("PAPERSPACE_DISK_GB", "100GB"),
        ("PAPERSPACE_AUTO_SHUTDOWN_HOURS", "never"),
        ("PAPERSPACE_API_URL", "http://api.paperspace.com/v1"),
        ("PAPERSPACE_API_URL", "http://127.0.0.1.example.org/v1"),
    ],
)
def test_a_value_that_is_not_allowed_is_named(paperspace: Paperspace, name: str, value: str) -> None:
    result = paperspace("status", **{name: value})
    assert result.returncode == 2
    assert f"{name} is '{value}'; it must be " in result.stderr


def test_the_file_is_read_and_the_environment_comes_before_it(
    api: FakeApi, paperspace: Paperspace, config: Path
) -> None:
    lines = ["# mine", "", f"PAPERSPACE_API_KEY = '{API_KEY}'\r", 'PAPERSPACE_MACHINE="dnp"', "  PAPERSPACE_REGION=ca1"]
    config.write_text("\n".join(lines))
    unset = {"PAPERSPACE_API_KEY": None, "PAPERSPACE_MACHINE": None}
    assert paperspace("status", PAPERSPACE_CONFIG=config, **unset).returncode == 0
    result = paperspace("status", PAPERSPACE_CONFIG=config, PAPERSPACE_API_KEY=None, PAPERSPACE_MACHINE="other")
    assert "No machine has the name or the id 'other'" in result.stderr
    assert paperspace("status", PAPERSPACE_CONFIG=config, **unset | {"PAPERSPACE_MACHINE": ""}).returncode == 0


def test_the_file_is_never_executed(paperspace: Paperspace, config: Path, tmp_path: Path) -> None:
    config.write_text(f"PAPERSPACE_MACHINE=$(touch {tmp_path}/run)`touch {tmp_path}/run`\n")
    result = paperspace("status", PAPERSPACE_CONFIG=config, PAPERSPACE_MACHINE=None)
    assert f"'$(touch {tmp_path}/run)`touch {tmp_path}/run`'" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("PAPERSPACE_MACHNE=dnp", "line 1: PAPERSPACE_MACHNE is not known; known are: PAPERSPACE_API_KEY "),
        ("\nexport PAPERSPACE_MACHINE=dnp", "line 2, is not KEY=VALUE"),
        ("PATH=/nowhere", "PATH is not known"),
    ],
)
def test_a_line_that_is_wrong_is_named(paperspace: Paperspace, config: Path, text: str, message: str) -> None:
    config.write_text(text)
    result = paperspace("status", PAPERSPACE_CONFIG=config)
    assert result.returncode == 1
    assert f"{config}, {message}" in result.stderr or f"{config}, line 1: {message}" in result.stderr


def test_a_configuration_that_is_not_there(paperspace: Paperspace, tmp_path: Path) -> None:
    assert f"PAPERSPACE_CONFIG names {tmp_path}/no" in paperspace("up", PAPERSPACE_CONFIG=tmp_path / "no").stderr


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o620])
def test_a_key_in_a_file_that_others_may_read_is_refused(
    api: FakeApi, paperspace: Paperspace, config: Path, mode: int
) -> None:
    config.write_text(f"PAPERSPACE_API_KEY={API_KEY}\n")
    config.chmod(mode)
    result = paperspace("status", PAPERSPACE_CONFIG=config, PAPERSPACE_API_KEY=None)
    assert result.returncode == 1
    assert f"chmod 600 '{config}'" in result.stderr
    assert not api.requests
    config.write_text("PAPERSPACE_MACHINE=dnp\n")  # without a key, anyone may read it
    assert paperspace("status", PAPERSPACE_CONFIG=config).returncode == 0


def test_a_key_in_a_file_that_git_tracks_is_refused(paperspace: Paperspace, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    subprocess.run(["git", "init", "-q", str(repository)], check=True)
    config = repository / "paperspace.conf"
    config.write_text(f"PAPERSPACE_API_KEY={API_KEY}\n")
    config.chmod(0o600)
    subprocess.run(["git", "-C", str(repository), "add", "paperspace.conf"], check=True)
    result = paperspace("status", PAPERSPACE_CONFIG=config, PAPERSPACE_API_KEY=None)
    assert result.returncode == 1 and "git tracks it" in result.stderr


def test_the_example_is_a_configuration_that_works_but_for_the_key(paperspace: Paperspace, config: Path) -> None:
    shutil.copy(REPO / "infra" / "paperspace.conf.example", config)
    config.write_text(config.read_text().replace("\n#PAPERSPACE_", "\nPAPERSPACE_"))
    result = paperspace("status", PAPERSPACE_CONFIG=config, PAPERSPACE_API_KEY=None)
    assert "PAPERSPACE_API_KEY is not set" in result.stderr
    assert paperspace("status", PAPERSPACE_CONFIG=config).returncode == 0


def test_git_ignores_the_configuration() -> None:
    if not (REPO / ".git").exists():
        pytest.skip("this is not a git repository")
    result = subprocess.run(["git", "-C", str(REPO), "check-ignore", "-q", "infra/paperspace.conf"])
    assert result.returncode == 0


def processes() -> str:
    """What a process listing shows, with the environments of the programs that the scripts started."""
    texts = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            argv = (folder / "cmdline").read_bytes()
            texts.append(argv.decode(errors="replace"))
            if b"scripts/paperspace" not in argv:  # which was given the key by the test
                texts.append((folder / "environ").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(texts)


@pytest.mark.usefixtures("ssh_answers")
@pytest.mark.parametrize("where", ["environment", "file"])
def test_the_key_is_in_no_argument_environment_log_or_file(
    api: FakeApi, paperspace: Paperspace, config: Path, ssh_key: Path, record: Path, tmp_path: Path, where: str
) -> None:
    api.key = key = f"sk-{uuid.uuid4().hex}"
    listings = []
    if Path("/proc/self/environ").exists():
        api.on_request = lambda operation: listings.append(processes())
    variables = {"PAPERSPACE_API_KEY": key} if where == "environment" else {}
    if where == "file":
        config.write_text(f"PAPERSPACE_API_KEY={key}\n")
        variables = {"PAPERSPACE_API_KEY": None, "PAPERSPACE_CONFIG": config}
    api.fault("GET /machines/{id}", 500, {"code": "X", "message": f"bad header: Bearer {key}"}, times=2)
    commands = [["up"], ["ip", "claim", "--yes"], ["create", "--name", "b", "--yes"], ["down"]]
    results = [paperspace(*command, SHELLOPTS="xtrace", **variables) for command in commands]
    assert [result.returncode for result in results] == [0] * len(commands), results
    config.write_text("")
    assert listings or not Path("/proc/self/environ").exists()
    written = [path.read_text(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    argv = (record / "argv").read_text()
    assert "curl" in argv and "ssh" in argv and "jq" in argv
    for text in [*listings, *written, *(result.stdout + result.stderr for result in results)]:
        assert key not in text


def test_what_the_tests_run_reaches_loopback_only(environment: dict[str, str], record: Path) -> None:
    assert subprocess.run(["curl", "-s", "https://api.paperspace.com/v1"], env=environment).returncode == 97
    assert "curl https://api.paperspace.com/v1" in (record / "strangers").read_text()
    (record / "strangers").unlink()  # which would fail this test, as any other


@pytest.mark.parametrize("words", [["192.0.2.1"], ["-o", "HostName=192.0.2.1", "localhost", "true"]])
def test_what_ssh_reaches_in_the_tests_is_loopback_only(
    environment: dict[str, str], record: Path, words: list[str]
) -> None:
    assert subprocess.run(["ssh", *words], env=environment).returncode == 97
    assert (record / "strangers").read_text() == "ssh 192.0.2.1\n"
    (record / "strangers").unlink()
