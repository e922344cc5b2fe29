"""The live line about a training, as a terminal shows it."""

import os
import pty
import re
import subprocess
from pathlib import Path

import pytest
from conftest import BIN, TINY_LIGHTS_OUT, clean_environment


def run_in_terminal(command: list[str], folder: Path) -> str:
    """What `command` writes to a terminal of 160 columns."""
    primary, secondary = pty.openpty()
    environment = clean_environment() | {"COLUMNS": "160", "LINES": "40", "TERM": "xterm"}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=secondary, stderr=secondary) as process:
        os.close(secondary)
        output = b""
        while True:
            try:
                chunk = os.read(primary, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            output += chunk
    os.close(primary)
    assert process.returncode == 0, output[-3000:].decode()
    return output.decode()


@pytest.mark.parametrize("redirection", ["> log", pytest.param("| tee log", marks=pytest.mark.slow)])
def test_a_terminal_shows_how_a_training_goes_and_standard_output_stays_where_it_is(
    tmp_path: Path, redirection: str
) -> None:
    command = " ".join([str(BIN / "sheeprl"), "exp=dnp_lights_out", *TINY_LIGHTS_OUT, redirection])
    screen, log = run_in_terminal(["sh", "-c", command], tmp_path), (tmp_path / "log").read_text()
    assert "Log dir: logs/runs/" in log and log.count("Rank-0: policy_step=") > 5
    assert "steps/s" not in log and "\x1b[?25l" not in log
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen)
    assert re.search(r"96/96 steps.* \d+\.\d steps/s .*return -?\d+\.\d\d · [1-4]\.\d\d ponder steps", plain)
    assert re.search(r"\d:\d\d:\d\d", plain)
    assert ("Rank-0: policy_step=" in screen) == ("tee" in redirection)
