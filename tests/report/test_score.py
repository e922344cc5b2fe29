"""The official score of Crafter: as published for the official records, and as computed by hand for small ones."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import refusal

from sheeprl_dnp.envs.crafter_score import ACHIEVEMENTS
from sheeprl_dnp.report.score import main, score_files

HUMAN = Path(__file__).parents[1] / "data" / "crafter_human.json"


def episode(*unlocked: str, length: int = 100, reward: float = 0.1, **extra: int) -> dict:
    assert set(unlocked) <= set(ACHIEVEMENTS)
    counts = {f"achievement_{name}": 3 * (name in unlocked) for name in ACHIEVEMENTS}
    return {"length": length, "reward": reward} | counts | extra


def write(path: Path, *episodes: dict) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in episodes))
    return path


def test_the_official_human_record_has_the_published_score() -> None:
    result = score_files([HUMAN], budget=1_000_000)
    assert len(result["files"]) == 5
    assert f"{result['mean']['score']:.1f} ± {result['std']['score']:.1f}" == "50.5 ± 6.8"
    assert f"{result['mean']['reward']:.2f}" == "12.96"
    assert result["mean"]["episodes"] == 20
    assert result["mean"]["success_rates"]["collect_diamond"] == pytest.approx(12.0)


def test_the_score_of_a_small_record_is_the_one_computed_by_hand(tmp_path: Path) -> None:
    record = write(
        tmp_path / "episodes.jsonl",
        episode("wake_up", length=50, reward=1.1),
        episode("wake_up", "collect_wood", length=150, reward=2.1),
        episode(reward=-0.9),
        episode(reward=0.1),
    )
    (result,) = score_files([record], budget=1_000_000)["files"].values()
    # Two achievements in 50 % and 25 % of the episodes, twenty in none
    assert result["score"] == pytest.approx(math.exp((math.log(51) + math.log(26)) / 22) - 1)
    assert result["success_rates"] == {name: 0.0 for name in ACHIEVEMENTS} | {"wake_up": 50.0, "collect_wood": 25.0}
    assert result["reward"] == pytest.approx((1.1 + 2.1 - 0.9 + 0.1) / 4)
    assert (result["episodes"], result["length"]) == (4, 100)


def test_without_step_an_episode_ends_at_the_sum_of_the_lengths(tmp_path: Path) -> None:
    record = write(tmp_path / "stats.jsonl", episode(length=100), episode(length=200), episode(length=10))
    for budget, episodes in ((99_999, 3), (310, 3), (309, 2), (300, 2), (299, 1), (100, 1)):
        assert score_files([record], budget)["mean"]["episodes"] == episodes, budget


def test_with_step_an_episode_ends_there(tmp_path: Path) -> None:
    record = write(tmp_path / "episodes.jsonl", episode(step=400), episode(step=800), episode(step=801))
    assert score_files([record], budget=800)["mean"]["episodes"] == 2
    assert score_files([record], budget=799)["mean"]["episodes"] == 1


def test_an_episode_that_crosses_the_budget_is_dropped_from_official_results(tmp_path: Path) -> None:
    result = score_files([HUMAN], budget=3249)  # of the first seed, the sixth episode ends right there
    assert next(seed["episodes"] for seed in result["files"].values()) == 6


def test_each_file_is_a_seed_and_the_deviation_is_of_the_population(tmp_path: Path) -> None:
    files = [write(tmp_path / f"{n}.jsonl", episode(reward=float(n), length=n)) for n in (1, 2, 6)]
    result = score_files(files, budget=100)
    assert list(result["files"]) == [str(path) for path in files]
    assert (result["mean"]["reward"], result["mean"]["length"]) == (3, 3)
    assert result["std"]["reward"] == pytest.approx(math.sqrt((4 + 1 + 9) / 3))


def version(folder: Path, steps: Sequence[int], resumed: str = "null") -> Path:
    """A version of a run, with episodes that ended at these steps."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(f"checkpoint: {{resume_from: {resumed}}}")
    return write(folder / "episodes.jsonl", *(episode(step=step) for step in steps))


def test_a_resumed_run_is_scored_as_one(tmp_path: Path) -> None:
    version(tmp_path / "version_0", (100, 200, 300))
    version(tmp_path / "version_1", (250, 350), "x/version_0/checkpoint/ckpt_200_0.ckpt")
    assert score_files([tmp_path], budget=1000)["mean"]["episodes"] == 4


@pytest.fixture
def resumed(tmp_path: Path) -> list[Path]:
    """Runs in two arms, of the same seed, of which the second of one arm goes on from the first in another folder."""
    version(tmp_path / "logs/arm/seed_1/version_0", (100, 200, 300))
    version(tmp_path / "logs/other/seed_1/version_0", (100,))
    # As a path of another machine
    version(
        tmp_path / "more/run/version_0", (250, 350), "/home/me/logs/arm/seed_1/version_0/checkpoint/ckpt_200_0.ckpt"
    )
    (tmp_path / "more/run/version_1").mkdir()  # stopped before its first step
    return [tmp_path / "logs/arm/seed_1", tmp_path / "more/run", tmp_path / "logs/other/seed_1"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_run_that_goes_on_in_another_folder_is_one_seed_whole(resumed: list[Path], order: Sequence[int]) -> None:
    result = score_files([*(resumed[index] for index in order), resumed[2]], budget=1000)
    assert {name: seed["episodes"] for name, seed in result["files"].items()} == {
        f"{resumed[0]} + {resumed[1]}": 4,
        str(resumed[2]): 1,
    }


def test_the_files_of_episodes_of_its_parts_are_one_seed_too(resumed: list[Path]) -> None:
    files = [run / "version_0/episodes.jsonl" for run in resumed[:2]]
    (name, seed), *others = score_files(files, budget=1000)["files"].items()
    assert (name, seed["episodes"], others) == (f"{files[0]} + {files[1]}", 4, [])


def test_of_a_part_alone_it_is_said_where_it_begins(resumed: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert score_files([resumed[1]], budget=1000)["mean"]["episodes"] == 2
    said = f"`{resumed[1]}` begins at step 200, from `/home/me/logs/arm/seed_1/version_0/checkpoint/ckpt_200_0.ckpt`"
    assert said in capsys.readouterr().err
    score_files(resumed, budget=1000)
    assert capsys.readouterr().err == ""


def test_two_runs_that_go_on_from_the_same_one_are_not_two_seeds(resumed: list[Path], tmp_path: Path) -> None:
    checkpoint = resumed[0] / "version_0/checkpoint/ckpt_100_0.ckpt"
    checkpoint.parent.mkdir()
    checkpoint.touch()
    version(tmp_path / "branch/version_0", (150,), str(checkpoint))
    message = refusal(main, *map(str, [*resumed[:2], tmp_path / "branch"]))
    assert f"`{resumed[1]}` and `{tmp_path / 'branch'}` both go on from `{resumed[0]}`" in message
    # Each of them alone with it is one seed
    assert score_files([resumed[0], tmp_path / "branch"], budget=1000)["mean"]["episodes"] == 2


DAMAGED = {
    "cut": ('{"length": 3', "line 2 is damaged: it is not JSON"),
    "list": ("[1, 2]", "line 2 is damaged: it is not a JSON object"),
    "other": ('{"return": 3}', "line 2 is not the record of an episode on Crafter: `length` is missing"),
    "text": (json.dumps(episode() | {"length": "long"}), "`length=long` must be a number from 1"),
    "true": (json.dumps(episode() | {"length": True}), "`length=True` must be a number from 1"),
    "nan": (json.dumps(episode() | {"reward": math.nan}), "`reward=nan` must be a finite number"),
    "negative": (
        json.dumps(episode() | {"achievement_wake_up": -1}),
        "`achievement_wake_up=-1` must be a number from 0",
    ),
    "step": (json.dumps(episode(step=-1)), "`step=-1` must be a number from 0"),
    "part": (
        json.dumps({k: v for k, v in episode().items() if k != "achievement_eat_cow"}),
        "`achievement_eat_cow` is missing",
    ),
}


@pytest.mark.parametrize("line, message", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "episodes.jsonl"
    path.write_text(json.dumps(episode()) + "\n" + line + "\n")
    assert message in refusal(main, str(path))


def test_bad_files_end_with_one_sentence(tmp_path: Path) -> None:
    assert "missing.jsonl` can't be read: No such file" in refusal(main, str(tmp_path / "missing.jsonl"))
    record = write(tmp_path / "episodes.jsonl", episode(length=100))
    assert "no episode that ended within the budget of 99 steps" in refusal(main, str(record), "--budget", "99")
    (tmp_path / "binary.jsonl").write_bytes(bytes(range(256)))
    assert "is not text" in refusal(main, str(tmp_path / "binary.jsonl"))
    (tmp_path / "empty.jsonl").touch()
    assert "no episode" in refusal(main, str(tmp_path / "empty.jsonl"))
    (tmp_path / "other.json").write_text('{"loss": [1]}')
    assert "not a result of Crafter" in refusal(main, str(tmp_path / "other.json"))
    (tmp_path / "cut.json").write_text(HUMAN.read_text()[:1000])
    assert "cut.json` is damaged" in refusal(main, str(tmp_path / "cut.json"))
    seeds = json.loads(HUMAN.read_text())
    (tmp_path / "short.json").write_text(json.dumps([seeds[0] | {"length": [1]}]))
    assert "seed 0 is damaged: its lists differ in length" in refusal(main, str(tmp_path / "short.json"))


@pytest.mark.parametrize("budget", ["0", "-5", "1e6", "many"])
def test_a_bad_budget_is_refused(budget: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([str(HUMAN), f"--budget={budget}"])
    assert "is not a whole number from 1" in capsys.readouterr().err


def test_the_command_prints_json_and_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    main([str(HUMAN)])
    assert json.loads(capsys.readouterr().out) == score_files([HUMAN], 1_000_000)
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    usage = capsys.readouterr().out
    assert "scripts/score" in usage and "--budget STEPS" in usage and "1000000" in usage
