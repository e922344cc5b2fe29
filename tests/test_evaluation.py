"""Trained agents play in worlds never trained in, and what they did is written beside their checkpoints."""

import json
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import BIN, TINY_CRAFTER, clean_environment, last_checkpoint

from sheeprl_dnp import evaluation
from sheeprl_dnp.envs.crafter_score import ACHIEVEMENTS
from sheeprl_dnp.envs.worlds import world_seed
from sheeprl_dnp.evaluation import achievement_results
from sheeprl_dnp.report import score
from sheeprl_dnp.report.summary import summarise
from sheeprl_dnp.study.evaluate import main

LIMIT = 40


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where a training has run whose episodes a limit cuts."""
    folder = tmp_path_factory.mktemp("evaluated")
    overrides = ["algo.total_steps=200", "algo.learning_starts=160", "algo.ponder.eval_episodes=3", "run_name=run"]
    overrides.append(f"env.max_episode_steps={LIMIT}")
    command = [str(BIN / "sheeprl"), "exp=dnp_crafter_small", *TINY_CRAFTER, *overrides]
    subprocess.run(command, cwd=folder, env=clean_environment(), check=True, capture_output=True)
    return folder


def written(said: str) -> list[dict]:
    """What a command has written, from the lines by which it ends each evaluation."""
    # On no terminal, rich breaks no line of `print`; what it writes goes before
    paths = re.findall(r"; written to (.*\.eval\.json)$", said, re.MULTILINE)
    assert paths, said
    return [json.loads(Path(path.removeprefix("file://")).read_text()) for path in paths]


@pytest.fixture(scope="module")
def evaluated(run: Path) -> list[dict]:
    """What `sheeprl-eval` writes with the same seed, twice."""
    before = next(run.rglob("episodes.jsonl")).read_text()
    found = []
    for _ in range(2):
        command = [str(BIN / "sheeprl-eval"), f"checkpoint_path={last_checkpoint(run)}", "seed=1"]
        result = subprocess.run(command, cwd=run, env=clean_environment(), capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        found += written(result.stdout)
    assert next(run.rglob("episodes.jsonl")).read_text() == before
    return found


def test_an_evaluation_plays_the_evaluation_worlds_and_writes_json(evaluated: list[dict]) -> None:
    results = evaluated[0]
    episodes = results["episodes"]
    worlds = [world_seed(worlds="evaluation", seed=number, rank=0, start_step=0, episode=0) for number in range(3)]
    assert [episode["world_seed"] for episode in episodes] == worlds
    assert results["mean_return"] == pytest.approx(fmean(episode["return"] for episode in episodes))
    assert results["mean_ponder_steps"] == pytest.approx(fmean(episode["ponder_steps"] for episode in episodes))
    for episode in episodes:
        # Crafter's reward: 1 for each achievement unlocked, and a tenth for each point of health, of which 9 are lost
        unlocked = sum(count > 0 for count in episode["achievements"].values())
        assert len(episode["achievements"]) == 22
        assert unlocked - 0.9 - 1e-6 <= episode["return"] <= unlocked + 1e-6
        assert 1 < episode["ponder_steps"] < 4 and episode["length"] == LIMIT
        assert episode["first_ponder_steps"] in (1, 2, 3, 4)


class TwoEnvironments:
    """A stand-in of a vector environment: episodes of 2 and of 3 steps, side by side."""

    num_envs, lengths = 2, np.array([2, 3])

    def reset(self) -> tuple[dict, dict]:
        self.step_number = np.zeros(2, int)
        return {}, {}

    def step(self, actions: np.ndarray) -> tuple:
        self.step_number += 1
        ended = self.step_number == self.lengths
        self.step_number[ended] = 0
        return {}, None, None, None, {"_ended": ended, "ended": [json.dumps({"env": index}) for index in range(2)]}


def test_the_ponder_steps_of_an_episode_and_of_its_first_action(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = iter(torch.tensor([[1, 5], [2, 6], [3, 7], [4, 8], [1, 9], [1, 9]]))
    steps = SimpleNamespace(halts=None)

    def decide(*_: object) -> np.ndarray:
        steps.halts = next(chosen)
        return np.zeros(2)

    monkeypatch.setattr(evaluation, "decide", decide)
    player = SimpleNamespace(init_states=lambda *_: None)
    episodes = list(evaluation.play(player, steps, TwoEnvironments(), None, None, 4, []))
    found = [(episode["env"], episode["ponder_steps"], episode["first_ponder_steps"]) for episode in episodes]
    assert found == [(0, 1.5, 1), (1, 6.0, 5), (0, 3.5, 3), (0, 1.0, 1), (1, pytest.approx(26 / 3), 8)]


def test_episodes_that_a_limit_cuts_are_scored(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score.main([str(next(run.rglob("run")))])
    assert json.loads(capsys.readouterr().out)["mean"]["length"] == LIMIT


def test_the_same_seed_evaluates_the_same(evaluated: list[dict]) -> None:
    first, second = (results["episodes"] for results in evaluated)
    assert first == second


def test_the_summary_says_what_was_trained_and_where_it_is(run: Path) -> None:
    lines = summarise(next(run.rglob("run")))
    assert lines[0].startswith(f"Training: {len(next(run.rglob('episodes.jsonl')).read_text().splitlines())} episodes")
    assert lines[1].startswith(f"Results: {last_checkpoint(run).parents[1]}/")


Play = Callable[..., list[dict]]


@pytest.fixture
def play(capsys: pytest.CaptureFixture[str]) -> Play:
    """`scripts/evaluate` in this process; gives what it has written."""

    def run(*arguments: object) -> list[dict]:
        main([str(argument) for argument in arguments])
        return written(capsys.readouterr().out)

    return run


@pytest.fixture(scope="module")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of DreamerV3."""
    folder = tmp_path_factory.mktemp("baseline")
    overrides = ["algo.total_steps=70", "run_name=run", f"env.max_episode_steps={LIMIT}"]
    command = [str(BIN / "sheeprl"), "exp=dnp_crafter_small_baseline", *TINY_CRAFTER, *overrides]
    subprocess.run(command, cwd=folder, env=clean_environment(), check=True, capture_output=True)
    return last_checkpoint(folder)


def test_dreamer_v3_takes_the_best_of_its_most_probable_actions(play: Play, baseline: Path) -> None:
    greedy, best = (play(baseline, "--episodes", 1, "--envs", 1, "--dream", n)[0] for n in (1, 17))
    assert (greedy["algorithm"], greedy["dream"], best["dream"]) == ("dreamer_v3", 1, 17)
    assert greedy["mean_ponder_steps"] == best["mean_ponder_steps"] == 1


def test_both_algorithms_play_the_same_worlds_and_the_same_command_the_same_episodes(
    play: Play, run: Path, baseline: Path
) -> None:
    ponder = last_checkpoint(run)
    results = play(ponder, baseline, "--episodes", 3, "--envs", 2)
    worlds = [[episode["world_seed"] for episode in result["episodes"]] for result in results]
    assert worlds[0] == worlds[1]
    assert worlds[0] == [
        world_seed(worlds="evaluation", seed=number, rank=0, start_step=0, episode=0) for number in range(3)
    ]
    assert [result["algorithm"] for result in results] == ["dreamer_v3_ponder", "dreamer_v3"]
    assert results[1]["mean_ponder_steps"] == 1 < results[0]["mean_ponder_steps"] < 4
    for result in results:
        unlocked = [count > 0 for e in result["episodes"] for count in e["achievements"].values()]
        assert sum(result["success_rates"].values()) / 100 * 3 == pytest.approx(sum(unlocked))
        rates = list(result["success_rates"].values())
        assert result["score"] == pytest.approx(math.exp(fmean(math.log(1 + rate) for rate in rates)) - 1)
        assert 0 < result["latency_ms_per_action"]["median"] <= result["latency_ms_per_action"]["p95"]
    again = play(ponder, "--episodes", 3, "--envs", 2)
    assert again[0]["episodes"] == results[0]["episodes"]


@pytest.mark.parametrize("steps", [7, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 3))])
def test_a_forced_number_of_ponder_steps_is_what_the_agent_takes(play: Play, run: Path, steps: int) -> None:
    (results,) = play(last_checkpoint(run), "--episodes", 1, "--steps", steps)
    assert results["steps"] == results["mean_ponder_steps"] == steps


def test_shuffled_ponder_steps_are_played(play: Play, run: Path) -> None:
    checkpoint = last_checkpoint(run)
    results = []
    for steps in ("sample", "shuffled"):
        results += play(checkpoint, "--episodes", 4, "--envs", 2, "--steps", steps)
    assert [result["steps"] for result in results] == ["sample", "shuffled"]
    assert results[0]["episodes"] != results[1]["episodes"]
    assert 1 < results[1]["mean_ponder_steps"] < 4


def test_what_is_chosen_is_chosen_in_worlds_that_no_result_is_told_of(play: Play, baseline: Path) -> None:
    (results,) = play(baseline, "--episodes", 2, "--worlds", "validation")
    assert results["worlds"] == "validation"
    assert [episode["world_seed"] for episode in results["episodes"]] == [
        world_seed(worlds="validation", seed=number, rank=0, start_step=0, episode=0) for number in range(2)
    ]


@pytest.mark.slow
def test_a_video_is_recorded(play: Play, run: Path) -> None:
    checkpoint = last_checkpoint(run)
    play(checkpoint, "--episodes", 1, "--video")
    videos = list(checkpoint.with_suffix("").rglob("*.mp4"))
    assert len(videos) == 1 and videos[0].stat().st_size > 1000


def changed(checkpoint: Path, folder: Path, value: str, other: str) -> Path:
    """The checkpoint in a run with another value in its configuration."""
    config = (checkpoint.parents[1] / "config.yaml").read_text()
    assert value in config
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "config.yaml").write_text(config.replace(value, other))
    return Path(shutil.copy(checkpoint, folder / "checkpoint"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}/nothing.ckpt"], "nothing.ckpt` is not a file"),
        (["away.ckpt"], "away.ckpt` has no run around it"),
        (["{baseline}", "--steps", "2"], "`--steps=2` is for agents that ponder"),
        (
            ["{one_step}", "--steps", "2"],
            "`--steps=2` is for agents that ponder: `CKPT={one_step}` is of `max_halts=1`",
        ),
        (
            ["{fixed}", "--steps", "shuffled"],
            "`--steps=shuffled` is for agents that sample their ponder steps: `CKPT={fixed}` is of "
            "`learn_halting=False`",
        ),
        (
            ["{threshold}", "--steps", "shuffled"],
            "`--steps=shuffled` is for agents that sample their ponder steps: `CKPT={threshold}` is of "
            "`halting=threshold`",
        ),
        (
            ["{checkpoint}", "--steps", "shuffled", "--envs", "1"],
            "`--steps=shuffled` is for 2 environments or more: `--envs=1` and `--episodes=100` must be whole numbers",
        ),
        (["{checkpoint}", "--steps", "shuffled", "--episodes", "1"], "`--envs=8` and `--episodes=1` must be"),
        (
            ["{baseline}", "--steps", "never"],
            "'never' is not a whole number from 1, nor one of sample, threshold, shuffled",
        ),
        (["{baseline}", "--worlds", "training"], "invalid choice: 'training' (choose from "),
        (["{baseline}", "--episodes", "0"], "'0' is not a whole number from 1"),
        ([], "CKPT"),
    ],
)
def test_what_cannot_be_evaluated_is_named(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    run: Path,
    baseline: Path,
    tmp_path: Path,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "away.ckpt").write_bytes(baseline.read_bytes())
    checkpoint = last_checkpoint(run)
    names = {
        "run": run,
        "baseline": baseline,
        "checkpoint": checkpoint,
        "one_step": changed(checkpoint, tmp_path / "one_step", "max_halts: 4", "max_halts: 1"),
        "fixed": changed(checkpoint, tmp_path / "fixed", "learn_halting: true", "learn_halting: false"),
        "threshold": changed(checkpoint, tmp_path / "threshold", "halting: sample", "halting: threshold"),
    }
    with pytest.raises(SystemExit) as ended:
        main([argument.format(**names) for argument in arguments])
    assert ended.value.code not in (0, None)
    assert message.format(**names) in f"{ended.value}{capsys.readouterr().err}"


def test_a_damaged_checkpoint_is_named_before_any_is_played(play: Play, run: Path, baseline: Path) -> None:
    before = set(baseline.parent.iterdir())
    cut = last_checkpoint(run).with_name("ckpt_999_0.ckpt")
    cut.write_bytes(last_checkpoint(run).read_bytes()[:1000])
    with pytest.raises(SystemExit, match=r"^Error: ") as ended:
        play(baseline, cut)
    cut.unlink()
    assert f"`CKPT={cut}` can't be read" in str(ended.value)
    assert set(baseline.parent.iterdir()) == before


def test_an_achievement_that_only_some_episodes_name_counts_as_missed_in_the_others() -> None:
    episodes = [{"achievements": {"wood": 1, "rank": "novice"}}, {"achievements": {"wood": 0, "stone": 2}}]
    assert achievement_results(episodes)["success_rates"] == {"wood": 50, "stone": 50}


def test_the_score_of_crafter_is_of_its_own_achievements_alone() -> None:
    every = dict.fromkeys(ACHIEVEMENTS, 1)
    assert achievement_results([{"achievements": every}])["score"] == pytest.approx(100)
    for other in ({"achievements": {"wood": 1}}, {"achievements": every | {"fly": 1}}, {"achievements": 3}, {}):
        assert achievement_results([other])["score"] is None
