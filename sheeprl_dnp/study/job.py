"""One run of a study as a job of Hydra: `python -m sheeprl_dnp.study.job study=... arm=... seed=...`.

The training is the stock `sheeprl` command in a process of its own, which finds the algorithm on any machine where this
package is installed.
"""

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from sheeprl_dnp.studies import Arm, Run, read_study
from sheeprl_dnp.study.execution import execute
from sheeprl_dnp.study.plan import load_arm

# Hydra writes its own files where they are asked for, and no log: all is said on standard output
QUIET = ("hydra.output_subdir=null", "hydra/job_logging=stdout")


@dataclass
class Job:
    study: str = MISSING  # the folder, as `folder_argument` writes it
    arm: str = MISSING  # the name of its folder
    seed: int = MISSING
    threads: int = 1


ConfigStore.instance().store("job", Job)


def folder_argument(study: Path) -> str:
    """The argument `study=`: percent-encoded, since a name may have what means something to Hydra's grammar."""
    return "study=" + quote(os.fsencode(study.absolute()), safe="/").replace("~", "%7E")


def arm_argument(*arms: Arm) -> str:
    """The argument `arm=`, or the sweep over several."""
    return "arm=" + ",".join(f"'{arm.folder}'" for arm in arms)


@hydra.main(version_base="1.3", config_path=None, config_name="job")
def main(job: Job) -> None:
    study = Path(os.fsdecode(unquote_to_bytes(job.study)))
    plan = read_study(study)
    arm = next(arm for arm in plan.arms if arm.folder == job.arm)
    execute(Run(study, arm, job.seed), plan, load_arm(study, arm).algo.total_steps, job.threads)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
