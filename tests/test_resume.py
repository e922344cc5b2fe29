"""A training that was killed goes on from its last checkpoint."""

import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import (
    BIN,
    TINY_CRAFTER,
    Command,
    clean_environment,
    differences,
    last_checkpoint,
    load,
    same,
    steps_of,
    wait_for_checkpoint,
)
from omegaconf import OmegaConf

from sheeprl_dnp import resume
from sheeprl_dnp.episodes import read_episodes

RUN = ["exp=dnp_crafter_small", *TINY_CRAFTER, "checkpoint.every=40", "checkpoint.keep_last=2"]


def kill_in_the_middle(folder: Path) -> None:
    """Starts a training, and kills it some steps after its third checkpoint."""
    command = [str(BIN / "sheeprl"), *RUN, "algo.total_steps=100000", "run_name=killed"]
    with subprocess.Popen(
        command, cwd=folder, env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        wait_for_checkpoint(process, folder, steps=160)
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


def buffer_rows(state: dict, steps: int) -> np.ndarray:
    return np.stack([buffer["rgb"][:steps] for buffer in state["rb"][0].buffer])


def test_a_killed_training_goes_on_as_it_was_saved_and_to_more_steps(train: Command, tmp_path: Path) -> None:
    kill_in_the_middle(tmp_path)
    checkpoint = last_checkpoint(tmp_path / "logs")
    saved = load(checkpoint)
    steps = steps_of(checkpoint)
    saved_rows = buffer_rows(saved, steps // 2)
    total = steps + 80
    train(*RUN, f"algo.total_steps={total}", f"checkpoint.resume_from={checkpoint}", "run_name=resumed")
    folder = next(tmp_path.rglob("resumed"))
    state = load(last_checkpoint(folder))
    assert last_checkpoint(folder).stem == f"ckpt_{total}_0"
    assert state["iter_num"] == total // 2
    assert state["per_rank_gradient_steps"] == saved["per_rank_gradient_steps"] + 80 * 0.25
    # The optimizers count their own steps: one for each gradient step since the very first
    for name in ("world_optimizer", "actor_optimizer", "critic_optimizer"):
        counts = {int(moment["step"]) for moment in state[name]["state"].values()}
        assert counts == {state["per_rank_gradient_steps"]}
    assert np.array_equal(buffer_rows(state, steps // 2), saved_rows)
    assert state["rb"][0].buffer[0]._pos == total // 2 + len(ended_episodes(tmp_path, env=0, upto=total))
    assert not same(state["moments"]["high"], saved["moments"]["high"])


def ended_episodes(folder: Path, env: int, upto: int) -> list[dict]:
    """The finished episodes of an environment, each of which adds a row to its replay buffer."""
    episodes = [episode for run in folder.rglob("version_0") for episode in read_episodes(run.parent)]
    return [episode for episode in episodes if episode["env"] == env and episode["step"] <= upto]


@pytest.mark.slow
def test_a_resumed_training_starts_from_the_saved_state_exactly(train: Command, tmp_path: Path) -> None:
    """With nothing left to learn from, what it saves at once is what it loaded."""
    train(*RUN, "algo.total_steps=120", "run_name=first")
    checkpoint = last_checkpoint(tmp_path)
    train(*RUN, "algo.total_steps=122", f"checkpoint.resume_from={checkpoint}", "run_name=second")
    saved, state = load(checkpoint), load(last_checkpoint(next(tmp_path.rglob("second"))))
    assert state["per_rank_gradient_steps"] == saved["per_rank_gradient_steps"]
    changed = {"/iter_num", "/last_checkpoint", "/last_log", "/ratio/_prev"}
    assert set(differences(saved, state)) <= changed
    assert torch.equal(saved["actor"]["ponder.halting_module.bias"], state["actor"]["ponder.halting_module.bias"])


def test_what_a_choice_for_a_package_leaves_is_named_key_by_key(monkeypatch: pytest.MonkeyPatch) -> None:
    task, choices = ["logger@metric.logger=mlflow"], {"logger@metric.logger": "mlflow"}
    hydra = {"overrides": {"task": task}, "runtime": {"choices": choices}}
    command, run = ({"metric": {"logger": {"run_name": name, "run_id": None}}} for name in ("second", "first"))
    monkeypatch.setattr(resume, "resumed_config", lambda config: OmegaConf.create(run))
    [line] = resume.overrides_not_taken(OmegaConf.create(command | {"hydra": hydra}))
    assert line.endswith("`logger@metric.logger=mlflow` (metric.logger.run_name stays first).")
