"""One run of a study as a job of Hydra: `python -m sheeprl_dnp.study.job study=... arm=... seed=...`.

The training is the stock `sheeprl` command in a process of its own, which finds the algorithm on any machine where this
package is installed.
"""

import signal
import sys
from dataclasses import dataclass
from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from sheeprl_dnp.study.execution import execute
from sheeprl_dnp.study.layout import Run, load_arm, load_config


@dataclass
class Job:
    study: str = MISSING
    arm: str = MISSING
    seed: int = MISSING
    threads: int = 1


ConfigStore.instance().store("job", Job)


@hydra.main(version_base="1.3", config_path=None, config_name="job")
def main(job: Job) -> None:
    study = Path(job.study)
    total_steps = load_arm(study, job.arm).algo.total_steps
    execute(Run(study, job.arm, job.seed), load_config(study), total_steps, job.threads)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
