"""The commands of the documents can be pasted as they are, into zsh too, and are understood as they are written."""

import re
import shlex
import subprocess
from importlib import import_module
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from test_help import MODULES

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "TROUBLESHOOTING.md", "CONTRIBUTING.md")),
    *(ROOT / "results").glob("*.md"),
    *(ROOT / "infra").glob("*.md"),
    *(ROOT / "sheeprl_dnp").rglob("*.md"),
]
of_each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def shell_lines(text: str) -> list[str]:
    """Of the code blocks of a shell, and of the inline code that runs a program."""
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", text, re.DOTALL)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    inline = re.findall(r"`((?:[A-Z_]+=\S+ )*(?:sheeprl|scripts/\w+|pip|python) [^`]*)`", prose)
    return [line for block in blocks for line in block.splitlines()] + inline


@of_each_document
def test_no_word_means_something_else_to_another_shell(document: Path) -> None:
    for line in shell_lines(document.read_text()):
        unquoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", line)
        # Patterns of files, which zsh wants to match; redirections; and comments, which zsh takes for arguments
        assert not re.search(r"[\[\]*?(){}<>]|\s#", unquoted), f"quote it: {line}"


def test_the_check_finds_such_words() -> None:
    assert shell_lines("a `sheeprl x=[1]` b\n```bash\nls *\n```\n") == ["ls *", "sheeprl x=[1]"]


def program(line: str) -> list[str]:
    """The words of a command, without the variables that are set for it."""
    words = shlex.split(line)
    return words[next((i for i, word in enumerate(words) if not re.match(r"[A-Z_]+=", word)), 0) :]


@pytest.fixture
def own_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that the README writes, where it says, found as it says."""
    (tmp_path / "configs/env").mkdir(parents=True)
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    (tmp_path / "configs/env/mine.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHEEPRL_SEARCH_PATH", "file://configs")


@of_each_document
def test_what_the_stock_command_is_told_is_a_configuration(document: Path, own_environment: None) -> None:
    for name, *arguments in map(program, shell_lines(document.read_text())):
        if name == "sheeprl":
            overrides = [argument for argument in arguments if argument != "-m"]
            if "-m" in arguments:  # the first run of the sweep
                overrides = [re.sub(r"^([\w./]+=[^\[,]+),.*", r"\1", override) for override in overrides]
            with initialize_config_module("sheeprl.configs", version_base="1.3"):
                assert "dreamer_v3" in compose("config", overrides).algo.name


@of_each_document
def test_what_the_scripts_are_told_is_understood(document: Path) -> None:
    for name, *arguments in map(program, shell_lines(document.read_text())):
        script = name.removeprefix("scripts/")
        assert script == name or (ROOT / name).exists()
        if script in MODULES:
            import_module(MODULES[script]).parse_arguments(arguments)  # ends the test where it isn't
        elif script == "paperspace" and re.match("[a-z]", " ".join(arguments)):
            assert subprocess.run([ROOT / name, arguments[0], "--help"], capture_output=True).returncode == 0


@of_each_document
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
        assert (document.parent / target).exists(), target
