"""The live line about a training, as a terminal shows it."""

import os
import pty
import re
import subprocess
from pathlib import Path

from conftest import BIN, TINY_CRAFTER, clean_environment


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


def test_a_terminal_shows_steps_speed_time_left_return_and_ponder_steps(tmp_path: Path) -> None:
    overrides = ["algo.total_steps=600", "algo.learning_starts=100", "algo.replay_ratio=0.02"]
    output = run_in_terminal([str(BIN / "sheeprl"), "exp=dnp_crafter_small", *TINY_CRAFTER, *overrides], tmp_path)
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)
    assert re.search(r"600/600 steps.* \d+\.\d steps/s .*return -?\d+\.\d\d · [1-4]\.\d\d ponder steps", plain)
    assert re.search(r"\d:\d\d:\d\d", plain)
