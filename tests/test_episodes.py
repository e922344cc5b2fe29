"""What is read of a run that was stopped, at whatever point: each episode once, or a sentence about what is damaged."""

import json
import threading
from pathlib import Path

import pytest

from sheeprl_dnp.episodes import read_episodes, resumed_from
from sheeprl_dnp.report.score import score_files
from sheeprl_dnp.runs import ConfigError, replace_file


def make_version(run: Path, number: int, steps: list[int], resumed: int | None = None, last: str = "") -> Path:
    """A version of a run with episodes that ended at `steps`, and a last line that isn't whole."""
    folder = run / f"version_{number}"
    folder.mkdir()
    checkpoint = f"x/ckpt_{resumed}_0.ckpt" if resumed else None
    (folder / "config.yaml").write_text(json.dumps({"checkpoint": {"resume_from": checkpoint}}))
    lines = [json.dumps({"step": step, "version": number}) + "\n" for step in steps]
    (folder / "episodes.jsonl").write_text("".join(lines) + last)
    return folder


def read(run: Path) -> list[tuple[int, int]]:
    return [(episode["step"], episode["version"]) for episode in read_episodes(run)]


def test_what_was_played_again_counts_once(tmp_path: Path) -> None:
    make_version(tmp_path, 0, [10, 20, 30])
    make_version(tmp_path, 1, [25, 35], resumed=20)
    assert read(tmp_path) == [(10, 0), (20, 0), (25, 1), (35, 1)]


@pytest.mark.parametrize("content", ["", "checkpoint:\n", "checkpoint: {resume_f", None])
def test_a_run_stopped_while_its_configuration_was_written_goes_on(tmp_path: Path, content: str | None) -> None:
    make_version(tmp_path, 0, [10, 20, 30])
    (tmp_path / "version_1").mkdir()
    if content is not None:
        (tmp_path / "version_1" / "config.yaml").write_text(content)
    assert resumed_from(tmp_path / "version_1") > 30
    make_version(tmp_path, 2, [25], resumed=20)
    assert read(tmp_path) == [(10, 0), (20, 0), (25, 2)]


def test_a_version_with_episodes_and_without_its_configuration_is_damaged(tmp_path: Path) -> None:
    (make_version(tmp_path, 0, [10]) / "config.yaml").write_text("")
    with pytest.raises(ValueError, match=r"config.yaml` is missing or damaged"):
        read_episodes(tmp_path)
    with pytest.raises(ConfigError, match=r"has a damaged record of its episodes: .*config.yaml"):
        score_files([tmp_path], 100)


def test_a_torn_last_line_does_no_harm_if_it_was_played_again(tmp_path: Path) -> None:
    make_version(tmp_path, 0, [10, 20, 30], last='{"step": 4')
    with pytest.raises(ValueError, match="its last line"):
        read_episodes(tmp_path)
    make_version(tmp_path, 1, [25], resumed=20)
    assert read(tmp_path) == [(10, 0), (20, 0), (25, 1)]


def test_a_torn_last_line_from_before_the_checkpoint_is_missed(tmp_path: Path) -> None:
    make_version(tmp_path, 0, [10], last='{"step": 15, "len')
    make_version(tmp_path, 1, [25], resumed=20)
    with pytest.raises(ValueError, match="its last line"):
        read_episodes(tmp_path)


def test_a_file_has_the_whole_content_of_one_of_its_writers(tmp_path: Path) -> None:
    path, contents = tmp_path / "file", {letter * 100_000 for letter in "abcd"}
    path.write_text("a" * 100_000)

    def write(content: str) -> None:
        for _ in range(50):
            replace_file(path, content)

    writers = [threading.Thread(target=write, args=[content]) for content in contents]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert path.read_text() in contents
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
