"""The stock command on real Crafter: the same as DreamerV3 with one ponder step, reproducible, and on the record."""

from pathlib import Path

import pytest
from conftest import TINY_CRAFTER, Command, differences, last_checkpoint, load

from sheeprl_dnp.episodes import read_episodes


def records(folder: Path) -> list[dict]:
    """The episodes of the run below a folder, in an order that doesn't depend on which process was first."""
    run = next(folder.rglob("version_0")).parent
    return sorted(read_episodes(run), key=lambda record: (record["step"], record["env"]))


@pytest.mark.slow
def test_one_ponder_step_is_dreamer_v3_bit_for_bit_on_crafter(train: Command, tmp_path: Path) -> None:
    train("exp=dnp_crafter_small", *TINY_CRAFTER, "algo.ponder.max_halts=1", "run_name=ours", "seed=3")
    train("exp=dnp_crafter_small_baseline", *TINY_CRAFTER, "run_name=theirs", "seed=3")
    ours, theirs = (load(last_checkpoint(next(tmp_path.rglob(name)))) for name in ("ours", "theirs"))
    assert ours["per_rank_gradient_steps"] == theirs["per_rank_gradient_steps"] >= 20
    assert differences(ours, theirs) == []


@pytest.mark.slow
def test_the_same_command_twice_gives_the_same_weights_and_the_same_episodes(train: Command, tmp_path: Path) -> None:
    for name in ("first", "second"):
        overrides = ["algo.total_steps=500", "algo.replay_ratio=0.05", "env.sync_env=False", f"run_name={name}"]
        train("exp=dnp_crafter_small", *TINY_CRAFTER, *overrides)
    first, second = (next(tmp_path.rglob(name)) for name in ("first", "second"))
    states = [load(last_checkpoint(folder)) for folder in (first, second)]
    assert states[0]["per_rank_gradient_steps"] >= 20
    assert differences(*states) == []
    assert records(first) == records(second) != []


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["dnp_crafter_small_baseline", "dnp_crafter_small"])
def test_each_training_episode_is_on_record_for_both_algorithms(
    train: Command, tmp_path: Path, experiment: str
) -> None:
    result = train(f"exp={experiment}", *TINY_CRAFTER, "algo.total_steps=500", "algo.learning_starts=500")
    printed = [line.split("policy_step=")[1] for line in result.stdout.splitlines() if "policy_step=" in line]
    ended = {(int(line.split(",")[0]), round(float(line.split("=")[-1]), 1)) for line in printed}
    assert {(record["step"], record["reward"]) for record in records(tmp_path)} == ended != set()
    for record in records(tmp_path):
        assert len([key for key in record if key.startswith("achievement_")]) == 22
        assert record["length"] * 2 <= record["step"] <= 500


@pytest.mark.slow
def test_a_run_prints_its_parameters_and_no_progress_line_where_there_is_no_terminal(train: Command) -> None:
    result = train("exp=dnp_crafter_small", *TINY_CRAFTER, "algo.total_steps=80")
    assert "Parameters of the agent: " in result.stdout
    assert "steps/s" not in result.stdout + result.stderr


@pytest.mark.slow
def test_a_run_named_by_the_time_finds_its_folder_when_hydra_writes_elsewhere(command: Command, tmp_path: Path) -> None:
    elsewhere = ["algo.total_steps=80", "hydra.run.dir=elsewhere"]
    result = command("sheeprl", "exp=dnp_crafter_small_baseline", *TINY_CRAFTER, *elsewhere)
    assert result.returncode == 0, result.stderr[-3000:]
    assert len(list((tmp_path / "logs").rglob("version_0/config.yaml"))) == 1
