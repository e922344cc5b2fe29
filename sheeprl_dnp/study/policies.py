"""Policies to publish with a study: of each arm the last one of its first seed, weights alone.

<published study>/policies/<arm>/config.yaml, checkpoint/ckpt_<step>_0.ckpt    as in the folder of a run

Checkpoints without optimizers and replay buffer: whatever plays checkpoints plays them, no training goes on from one.
"""

from pathlib import Path

import torch
from omegaconf import OmegaConf

from sheeprl_dnp.runs import load_checkpoint, load_run_config
from sheeprl_dnp.studies import Plan, Run

# What `checkpoints.build_agent` takes: with what dreams, and the page of `scripts/watch`, need
KEPT = ("world_model", "actor", "critic", "moments", "iter_num")


def publish_policies(study: Path, plan: Plan, target: Path) -> None:
    """Writes those of the runs that are finished, in place of what `target` has of them."""
    for run in (Run(study, arm, plan.seeds[0]) for arm in plan.arms):
        if run.is_finished:
            save_policy(run.folder / run.load("finished.json")["checkpoint"], target / "policies" / run.arm.folder)


def save_policy(checkpoint: Path, folder: Path) -> None:
    """Writes the policy of a checkpoint, and the configuration of its run.

    Raises:
        ConfigError: the checkpoint is missing or damaged.
    """
    state, path = load_checkpoint(str(checkpoint)), folder / "checkpoint" / checkpoint.name
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob("*.ckpt"):
        old.unlink()
    torch.save({key: state[key] for key in KEPT}, path)
    OmegaConf.save(load_run_config(str(checkpoint)), folder / "config.yaml")
