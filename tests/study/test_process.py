"""What a process said last of an error, and the time that it took."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from sheeprl_dnp.study import process
from sheeprl_dnp.study.process import LoggedProcess

SPIN = """
import subprocess, sys, time

def spin(seconds):
    while time.process_time() < seconds:
        pass

if sys.argv[1:] == ["child"]:
    spin(1.5)
else:
    subprocess.run([sys.executable, __file__, "child"])
    spin(0.5)
"""


def test_the_reason_of_a_failure_is_of_its_own_attempt(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    log.write_text("ValueError: first\n")
    attempt = LoggedProcess(Mock(), log, said_before=log.stat().st_size)
    assert attempt.error() == "no message"
    log.write_text("ValueError: first\nKeyError: second\nends\n")
    assert attempt.error() == "KeyError: second"
    hint = "Set the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace."
    log.write_text(f"ValueError: first\nCould not override 'x'.\n    object_type=dict\n\n{hint}\n")
    assert attempt.error() == "Could not override 'x'."


def test_its_time_is_known_while_it_runs_with_that_of_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "HEARTBEAT", 0.2)
    (tmp_path / "spin.py").write_text(SPIN)
    notes: list[dict[str, Any]] = []
    with subprocess.Popen([sys.executable, tmp_path / "spin.py"]) as spinning:
        start = time.monotonic()
        assert LoggedProcess(spinning, tmp_path / "output.log", said_before=0).wait(notes.append) == 0
        wall_s = time.monotonic() - start
    *before, last = notes
    assert last["exit"] == 0 and 2 <= last["cpu_s"] < 2.5 and last["wall_s"] == pytest.approx(wall_s, abs=0.2)
    assert before[0]["cpu_s"] < 0.2 and any(0.5 < note["cpu_s"] < 1.5 for note in before)  # the child still ran
    taken = [note["cpu_s"] for note in notes]
    assert taken == sorted(taken)
