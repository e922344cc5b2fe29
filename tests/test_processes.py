"""Two processes train one agent: the same weights in both, from the joint batch."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY_CRAFTER, Command, clean_environment, differences, load

from sheeprl_dnp.episodes import read_episodes

DDP = ["fabric.devices=2", "fabric.strategy=ddp", "fabric.accelerator=cpu"]

# Run by each of two processes: prints what rank 0 knows of both
JOINT = """
import torch
from lightning.fabric import Fabric
from sheeprl.utils.fabric import update
from sheeprl_dnp.dreamer_v3_ponder.loss import halting_weighted_mean
from sheeprl_dnp.dreamer_v3_ponder.utils import WeightedMoments, weighted_quantiles

def main(fabric):
    torch.manual_seed(0)
    values, logits = torch.randn(2, 3, 20, 1), torch.randn(2, 4, 5)  # [rank, H, N*M, 1], [rank, N, M]
    weights = logits.softmax(1)
    rank = fabric.global_rank
    moments = WeightedMoments(decay=0.0, max_=1.0)
    offset, scale = moments(values[rank], fabric, weights[rank])
    spread = weights.reshape(2, 1, 20, 1).expand_as(values)
    low, high = weighted_quantiles(values, spread, (0.05, 0.95))
    torch.testing.assert_close((offset, scale), (low, torch.clamp(high - low, min=1.0)))

    parameter = torch.nn.Parameter(torch.ones(()))
    optimizer = fabric.setup_optimizers(torch.optim.SGD([parameter], lr=1.0))
    update(fabric, halting_weighted_mean((parameter * values[rank]).squeeze(-1), weights[rank]), optimizer)
    joint_values = torch.cat([v.view(3, 4, 5) for v in values], -1).flatten(1)
    joint = halting_weighted_mean(joint_values, torch.cat(list(weights), -1))
    torch.testing.assert_close(1.0 - parameter.detach(), joint)
    print(f"rank {rank} agrees")

fabric = Fabric(accelerator="cpu", devices=2, strategy="ddp")
fabric.launch(main)
"""


def test_the_percentiles_and_the_loss_are_those_of_the_joint_batch(tmp_path: Path) -> None:
    (tmp_path / "joint.py").write_text(JOINT)
    result = subprocess.run(
        [sys.executable, "joint.py"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert result.returncode == 0, result.stderr
    assert "rank 0 agrees" in result.stdout and "rank 1 agrees" in result.stdout


# A callback that keeps what each process would save
KEEPER = """
import torch

class Keeper:
    def on_checkpoint_coupled(self, fabric, ckpt_path, state, replay_buffer):
        torch.save(state, f"rank_{fabric.global_rank}.pt")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("experiment", "max_halts"),
    [("dnp_crafter_small", 1), ("dnp_crafter_small", 4), ("dnp_crafter_small_dream", 4)],
)
def test_two_processes_keep_equal_weights(train: Command, tmp_path: Path, experiment: str, max_halts: int) -> None:
    (tmp_path / "keeper.py").write_text(KEEPER)
    overrides = [*TINY_CRAFTER, *DDP, f"algo.ponder.max_halts={max_halts}"]
    overrides += ["env.num_envs=1", "algo.total_steps=800", "algo.replay_ratio=0.03"]
    environment = clean_environment() | {"PYTHONPATH": str(tmp_path)}
    train(f"exp={experiment}", *overrides, "fabric.callbacks=[{_target_:keeper.Keeper}]", env=environment)
    first, second = (load(tmp_path / f"rank_{rank}.pt") for rank in (0, 1))
    assert first["per_rank_gradient_steps"] >= 10
    assert differences(first, second) == []
    assert {episode["env"] for episode in read_episodes(next(tmp_path.rglob("version_0")).parent)} == {0, 1}
