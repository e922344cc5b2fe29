"""`scripts/study --launcher submitit_slurm` on a real Slurm of one node."""

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import TINY_CRAFTER, clean_environment
from slurm import slurm


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_is_finished_by_slurm(tmp_path: Path) -> None:
    study = tmp_path / "a study (1)"
    overrides = [*TINY_CRAFTER, "algo.total_steps=80", "algo.replay_ratio=0.05"]
    arguments = ["--arms", "dnp_lights_out", "--seeds", "1,2", "--episodes", "2", "--overrides", *overrides]
    launcher = ["--launcher", "submitit_slurm", "hydra.launcher.timeout_min=30", "hydra.launcher.cpus_per_task=1"]
    command = [sys.executable, "-m", "sheeprl_dnp.study.study", str(study), *launcher, *arguments]
    with slurm(tmp_path / "slurm") as variables:
        result = subprocess.run(command, env=clean_environment() | variables, capture_output=True, text=True)
    logs = "".join(path.read_text()[-3000:] for path in study.rglob("*.err"))
    assert result.returncode == 0, result.stderr[-3000:] + logs
    finished = list(study.glob("runs/*/seed_*/finished.json"))
    assert sorted(path.parent.name for path in finished) == ["seed_1", "seed_2"]
    assert list((study / "jobs").rglob("*_submitted.pkl"))  # by Slurm, not by this process
