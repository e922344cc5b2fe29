"""The commands of the documents can be pasted as they are, into zsh too."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *(ROOT / "sheeprl_dnp").rglob("*.md")]


def shell_lines(text: str) -> list[str]:
    """Of the code blocks of a shell, and of the inline code that runs a program."""
    blocks = re.findall(r"```(?:bash|sh)\n(.*?)```", text, re.DOTALL)
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    inline = re.findall(r"`((?:sheeprl|scripts/|pip |python )[^`]*)`", prose)
    return [line for block in blocks for line in block.splitlines()] + inline


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_word_means_something_else_to_another_shell(document: Path) -> None:
    for line in shell_lines(document.read_text()):
        unquoted = re.sub(r"'[^']*'|\"[^\"]*\"", "", line)
        # Patterns of files, which zsh wants to match; redirections; and comments, which zsh takes for arguments
        assert not re.search(r"[\[\]*?(){}<>]|\s#", unquoted), f"quote it: {line}"


def test_the_check_finds_such_words() -> None:
    assert shell_lines("a `sheeprl x=[1]` b\n```bash\nls *\n```\n") == ["ls *", "sheeprl x=[1]"]
