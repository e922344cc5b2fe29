"""What a process said last of an error."""

from pathlib import Path
from unittest.mock import Mock

from sheeprl_dnp.study.process import LoggedProcess


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
