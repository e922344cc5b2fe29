"""What a process said last of an error."""

from pathlib import Path

from sheeprl_dnp.study.process import last_error


def test_the_reason_of_a_failure_is_of_its_own_attempt(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    log.write_text("ValueError: first\n")
    said_before = log.stat().st_size
    assert last_error(log, said_before) == "no message"
    log.write_text("ValueError: first\nKeyError: second\nends\n")
    assert last_error(log, said_before) == "KeyError: second"
    hint = "Set the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace."
    log.write_text(f"ValueError: first\nCould not override 'x'.\n    object_type=dict\n\n{hint}\n")
    assert last_error(log, said_before) == "Could not override 'x'."
