"""A published policy is a checkpoint of a run, without what only a training needs."""

from pathlib import Path

import torch
from omegaconf import OmegaConf

from sheeprl_dnp.runs import load_checkpoint, load_run_config
from sheeprl_dnp.study.publish import KEPT, save_policy


def test_a_policy_keeps_its_weights_and_configuration_alone(tmp_path: Path) -> None:
    run = tmp_path / "run" / "version_0"
    weights = {name: {"weight": torch.randn(3)} for name in KEPT if name != "iter_num"}
    buffer = torch.zeros(100_000)
    for step in (8, 16):
        path = run / "checkpoint" / f"ckpt_{step}_0.ckpt"
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({**weights, "iter_num": step, "rb": buffer, "actor_optimizer": {"state": buffer}}, path)
        OmegaConf.save({"seed": 5, "algo": {"name": "dreamer_v3"}, "again": "${seed}"}, run / "config.yaml")
        save_policy(path, tmp_path / "policy")
    (saved,) = (tmp_path / "policy" / "checkpoint").iterdir()
    assert saved.name == "ckpt_16_0.ckpt" and saved.stat().st_size < 10_000
    state = load_checkpoint(str(saved))
    assert tuple(state) == KEPT and state["iter_num"] == 16
    assert all(torch.equal(state[name]["weight"], weights[name]["weight"]) for name in weights)
    assert load_run_config(str(saved)) == OmegaConf.load(run / "config.yaml")
