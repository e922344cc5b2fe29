"""`scripts/study FOLDER`: arms x seeds, trained and evaluated; safe to stop and to start again at any point."""

import argparse
import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from sheeprl.utils.env import make_env
from sheeprl.utils.utils import dotdict

from sheeprl_dnp.crafter_score import count_argument
from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED, check_ponder_config
from sheeprl_dnp.hydra_callback import causes
from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.study.evaluate import ALGORITHMS
from sheeprl_dnp.study.job import QUIET, folder_argument
from sheeprl_dnp.study.layout import Evaluations, StudyConfig, load_config, runs, save_config
from sheeprl_dnp.study.plan import check_metrics
from sheeprl_dnp.study.pool import run_all

ARMS = ("dnp_crafter_small_baseline", "dnp_crafter_small", "dnp_crafter_small_fixed")
OWN_KEYS = ("exp", "seed", "log_root", "root_dir", "run_name", "checkpoint.resume_from")  # as in `execution.command`
EPILOG = """
examples:
  scripts/study studies/first                               the three small arms, seeds 1 to 3, one after another
  scripts/study studies/first --processes 2                 go on with it, two runs at a time
  scripts/study studies/gpu --arms dnp_crafter_baseline,dnp_crafter --seeds 1,2,3 --overrides algo.total_steps=100000
  scripts/study studies/gpu --launcher submitit_slurm hydra.launcher.partition=gpu hydra.launcher.gpus_per_node=1

Killed or stopped, the same command goes on: finished runs are kept, others go on from their last checkpoint.
With more arms or seeds than the study has, it gets these too.
Then: scripts/report FOLDER
"""


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/study",
        description="Trains and evaluates each arm with each seed, and keeps everything in one folder.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    new = parser.add_argument_group("of a new study (kept in FOLDER/study.yaml)")
    how = parser.add_argument_group("how it runs")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="of the study; made if it doesn't exist")
    new.add_argument("--arms", type=names, help=f"experiments, the first one the baseline (default: {','.join(ARMS)})")
    new.add_argument("--seeds", type=numbers, help="default: 1,2,3")
    new.add_argument("--overrides", nargs="+", metavar="KEY=VALUE", help="of Hydra, for all the runs")
    new.add_argument("--episodes", type=count_argument, help="that evaluate each run (default: 100)")
    new.add_argument(
        "--forced-steps",
        type=forced_steps,
        help="numbers of ponder steps to also evaluate with, and `shuffled` (see scripts/evaluate --help), e.g. "
        "1,2,4,8,shuffled",
    )
    new.add_argument("--forced-episodes", type=count_argument, help="for each of them (default: 50)")
    how.add_argument("--processes", type=count_argument, default=1, help="runs at the same time (default: 1)")
    how.add_argument("--threads", type=count_argument, help="of PyTorch, for each run (default: cores / processes)")
    how.add_argument(
        "--launcher", help="a launcher of Hydra: joblib, submitit_slurm, ... (extras `joblib`, `submitit`)"
    )
    how.add_argument("launcher_overrides", nargs="*", metavar="hydra.launcher.KEY=VALUE", help="of the launcher")
    return parser.parse_intermixed_args(arguments)


def names(value: str) -> tuple[str, ...]:
    return tuple(name for name in value.split(",") if name)


def numbers(value: str) -> tuple[int, ...]:
    if not re.fullmatch(r"\d+(,\d+)*", value):
        raise argparse.ArgumentTypeError(f"{value!r} is not a list of whole numbers, as in 1,2,3")
    return tuple(map(int, value.split(",")))


def forced_steps(value: str) -> tuple[int | str, ...]:
    listed = value.split(",")
    if not all(steps.isdecimal() or steps == SHUFFLED for steps in listed):
        raise argparse.ArgumentTypeError(
            f"{value!r} is not a list of whole numbers and `{SHUFFLED}`, as in 1,2,{SHUFFLED}"
        )
    return tuple(steps if steps == SHUFFLED else int(steps) for steps in listed)


def study_config(options: argparse.Namespace) -> StudyConfig:
    """The configuration in the folder, with the arms and seeds that are asked for in addition, or that of a new study.

    Raises:
        ConfigError: the folder has a study, and other values are asked for.
    """
    asked = {key: getattr(options, key) for key in ("arms", "seeds") if getattr(options, key) is not None}
    if options.overrides is not None:
        asked["overrides"] = tuple(options.overrides)
    keys = ("episodes", "forced_steps", "forced_episodes")
    evaluations = {key: getattr(options, key) for key in keys if getattr(options, key) is not None}
    if not (options.folder / "study.yaml").exists():
        return StudyConfig(**{"arms": ARMS, "seeds": (1, 2, 3), **asked}, evaluations=Evaluations(**evaluations))
    config = load_config(options.folder)
    for owner, wanted in ((config, asked), (config.evaluations, evaluations)):
        for key, value in wanted.items():
            current = getattr(owner, key)
            more = key in ("arms", "seeds") and set(current) < set(value)
            if current != value and not more:
                raise ConfigError(
                    f"`--{key.replace('_', '-')}={value}` is not that of the study in `{options.folder}`, {current}: "
                    "leave it out, or name another folder (or name more arms or seeds than it has)."
                )
    return replace(config, **asked)


def check_folder(folder: Path) -> None:
    """Checks that Hydra runs in a folder, of whose path it makes a part of its configuration.

    Raises:
        ConfigError: it doesn't.
    """
    try:
        OmegaConf.create({"cwd": str(folder.absolute())})
    except OmegaConfBaseException as error:
        raise ConfigError(
            f"`FOLDER={folder}` can't be: Hydra runs in no folder whose path has an unfinished `${{…}}` in it."
        ) from error


def compose_arm(arm: str, config: StudyConfig) -> DictConfig:
    """The configuration of the runs of an arm.

    Raises:
        ConfigError: there is no such experiment, an override is wrong, or it can't be a part of a study.
    """
    try:
        with initialize_config_module("sheeprl.configs", version_base="1.3"):
            cfg = compose("config", [f"exp={arm}", *config.overrides])
        OmegaConf.to_container(cfg, resolve=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # Hydra raises ValueError, too
        raise _unusable(arm, config, error) from error
    if cfg.algo.name not in ALGORITHMS:
        raise ConfigError(f"`--arms={arm}` trains `{cfg.algo.name}`: it must be one of {', '.join(ALGORITHMS)}.")
    if "ponder" in cfg.algo:
        check_ponder_config(cfg.algo)
    try:
        make_env(dotdict(OmegaConf.to_container(cfg, resolve=True)), 0, 0)().close()
    except Exception as error:  # whatever an environment may raise
        reason = next((cause for cause in causes(error) if isinstance(cause, ConfigError)), error)
        raise _unusable(arm, config, reason) from error
    check_length(cfg)
    check_metrics(cfg)
    return cfg


def _unusable(arm: str, config: StudyConfig, reason: Exception) -> ConfigError:
    overrides = f" with `--overrides={' '.join(config.overrides)}`" if config.overrides else ""
    return ConfigError(f"`--arms={arm}`{overrides}: {' '.join(str(reason).split())}")


def check_length(cfg: DictConfig) -> None:
    """Checks that a run ends with a checkpoint of its last step, by which a study knows that it has ended.

    Raises:
        ConfigError: it doesn't.
    """
    steps, devices = cfg.algo.total_steps, cfg.fabric.devices
    if not isinstance(cfg.env.num_envs, int) or cfg.env.num_envs < 1:
        raise ConfigError(f"`env.num_envs={cfg.env.num_envs}` must be a whole number from 1.")
    played_at_once = cfg.env.num_envs * (devices if isinstance(devices, int) and devices > 0 else 1)
    if isinstance(steps, str) or steps < played_at_once or steps % played_at_once:
        raise ConfigError(
            f"`algo.total_steps={steps}` must be a multiple of the {played_at_once} steps that the environments of a "
            "run play at once (`env.num_envs` of each of `fabric.devices`), and not 0."
        )
    if not cfg.checkpoint.save_last:
        raise ConfigError(
            f"`checkpoint.save_last={cfg.checkpoint.save_last}` must be True: a run of a study ends with a checkpoint."
        )
    if cfg.dry_run:
        raise ConfigError(f"`dry_run={cfg.dry_run}` must be False: a run of a study plays all its steps.")


def compose_arms(config: StudyConfig) -> dict[str, DictConfig]:
    """The configuration of each arm.

    Raises:
        ConfigError: one of them can't run as a part of a study.
    """
    for override in config.overrides:
        key = re.split("[=@]", override.lstrip("+~"))[0]
        if key in OWN_KEYS or re.match("hydra[./]", key):
            keys = ", ".join(f"`{key}`" for key in OWN_KEYS)
            raise ConfigError(f"`--overrides={override}` can't be: a study sets {keys} and `hydra` for each run.")
    return {arm: compose_arm(arm, config) for arm in config.arms}


def launch(folder: Path, config: StudyConfig, options: argparse.Namespace) -> int:
    """Leaves the runs to a launcher of Hydra: one job for each."""
    sweep = [f"arm={','.join(config.arms)}", f"seed={','.join(map(str, config.seeds))}"]
    where = [folder_argument(folder), f"threads={options.threads or 1}", "hydra.sweep.dir=jobs", *QUIET]
    launcher = [f"hydra/launcher={options.launcher}", *options.launcher_overrides]
    command = [sys.executable, "-m", "sheeprl_dnp.study.job", "--multirun", *sweep, *where, *launcher]
    return subprocess.run(command, cwd=folder).returncode


def main(arguments: Sequence[str] | None = None) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = parse_arguments(arguments)
    try:
        check_folder(options.folder)
        config = study_config(options)
        arms = compose_arms(config)
        if options.launcher_overrides and not options.launcher:
            raise ConfigError(f"`{options.launcher_overrides[0]}` is for a launcher: name one with `--launcher`.")
        try:
            save_config(options.folder, config, arms)
        except OSError as error:
            raise ConfigError(f"`FOLDER={options.folder}` must be a folder to write in: {error.strerror}.") from error
        if options.launcher:
            return launch(options.folder, config, options)
        threads = options.threads or max(1, (os.cpu_count() or 1) // options.processes)
        total_steps = {arm: cfg.algo.total_steps for arm, cfg in arms.items()}
        return run_all(runs(options.folder, config), total_steps, options.processes, threads)
    except ConfigError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
