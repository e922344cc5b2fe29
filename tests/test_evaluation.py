"""`sheeprl-eval` plays a trained agent in worlds never trained in, and writes what it did beside the checkpoint."""

import json
import subprocess
from pathlib import Path
from statistics import fmean

import pytest
from conftest import BIN, TINY_CRAFTER, Command, clean_environment, last_checkpoint

from sheeprl_dnp.envs.crafter import world_seed
from sheeprl_dnp.summary import summarise


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where a training has run, long enough to end an episode."""
    folder = tmp_path_factory.mktemp("evaluated")
    overrides = ["algo.total_steps=600", "algo.learning_starts=560", "algo.ponder.eval_episodes=3", "run_name=run"]
    command = [str(BIN / "sheeprl"), "exp=dnp_crafter_small", *TINY_CRAFTER, *overrides]
    subprocess.run(command, cwd=folder, env=clean_environment(), check=True, capture_output=True)
    return folder


def evaluate(command: Command, run: Path, *overrides: str) -> dict:
    checkpoint = last_checkpoint(run)
    result = command("sheeprl-eval", f"checkpoint_path={checkpoint}", *overrides, cwd=run)
    assert result.returncode == 0, result.stderr
    assert f"written to {checkpoint.with_suffix('.eval.json')}" in result.stdout
    return json.loads(checkpoint.with_suffix(".eval.json").read_text())


def test_an_evaluation_plays_the_evaluation_worlds_and_writes_json(command: Command, run: Path) -> None:
    results = evaluate(command, run, "seed=1")
    episodes = results["episodes"]
    worlds = [world_seed(worlds="evaluation", seed=0, rank=0, start_step=0, episode=number) for number in range(3)]
    assert [episode["world_seed"] for episode in episodes] == worlds
    assert results["mean_reward"] == pytest.approx(fmean(episode["reward"] for episode in episodes))
    assert results["mean_ponder_steps"] == pytest.approx(fmean(episode["ponder_steps"] for episode in episodes))
    for episode in episodes:
        # Crafter's reward: 1 for each achievement unlocked, and a tenth for each point of health, of which 9 are lost
        unlocked = sum(count > 0 for count in episode["achievements"].values())
        assert len(episode["achievements"]) == 22
        assert unlocked - 0.9 - 1e-6 <= episode["reward"] <= unlocked + 1e-6
        assert 1 < episode["ponder_steps"] < 4 and episode["length"] > 0


def test_the_same_seed_evaluates_the_same_and_is_not_recorded_as_training(command: Command, run: Path) -> None:
    before = next(run.rglob("episodes.jsonl")).read_text()
    first, second, other = (evaluate(command, run, f"seed={seed}")["episodes"] for seed in (1, 1, 2))
    assert first == second != other
    assert next(run.rglob("episodes.jsonl")).read_text() == before


def test_the_summary_says_what_was_trained_evaluated_and_where_it_is(command: Command, run: Path) -> None:
    results = evaluate(command, run, "seed=1")
    folder = next(run.rglob("run"))
    lines = summarise(folder)
    assert lines[0].startswith(f"Training: {len(next(run.rglob('episodes.jsonl')).read_text().splitlines())} episodes")
    assert f"Evaluation: 3 episodes in worlds never trained in; mean return {results['mean_reward']:.2f}" in lines[1]
    assert any(str(last_checkpoint(run).with_suffix(".eval.json")) in line for line in lines)
