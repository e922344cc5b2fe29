"""The plan of a study: where it comes from, and the configurations that its arms train with.

    plan = find_plan("crafter_symbolic")             # configs/study/crafter_symbolic.yaml; or the path of such a file
    cfg = compose_arm(plan.arms[0], plan.overrides)  # checked: it can be trained as a part of a study
    hydra_overrides(plan.arms[0], plan.overrides)    # what the command `sheeprl` gets for the same

The models (`Plan`, `Arm`, `Evaluations`) are those of `sheeprl_dnp.studies`: an arm is a label that people read, an
experiment, and overrides on top of it. `arm.model_copy(update={"overrides": ...})` is the same arm with other settings.
"""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

from gymnasium.spaces import Box
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from sheeprl_dnp.checkpoints import overridden, spaces
from sheeprl_dnp.dreamer_v3_ponder.config import ALGORITHMS, check_dream, check_ponder_config, check_steps, ponders
from sheeprl_dnp.dreamer_v3_ponder.utils import action_sizes
from sheeprl_dnp.runs import ConfigError, replace_file
from sheeprl_dnp.studies import Arm, Evaluations, Plan, read_plan, write_file

OWN_KEYS = ("exp", "seed", "log_root", "root_dir", "run_name", "checkpoint.resume_from")  # as in `job.command`


def named_files(kind: str) -> dict[str, Path]:
    folder = Path(str(files("sheeprl_dnp.configs"))) / kind
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


PLANS, TUNINGS = named_files("study"), named_files("tune")  # those that come with this package, by name


def find_file(name: str, named: Mapping[str, Path], folder: Path = Path()) -> Path | None:
    """The file that is named by its path (`….yaml`) from a folder, or by its name; None if it is neither."""
    return folder / name if name.endswith((".yaml", ".yml")) else named.get(name)


def find_plan(name: str, folder: Path = Path()) -> Plan | None:
    """The plan in the file that `find_file` finds; None if it finds none.

    Raises:
        ConfigError: the file can't be read, or isn't a plan.
    """
    path = find_file(name, PLANS, folder)
    return read_plan(path) if path else None


def hydra_overrides(arm: Arm, overrides: Sequence[str] = ()) -> list[str]:
    """What the configuration of an arm is composed of; its own overrides come after those of all the arms."""
    return [f"exp={arm.exp}", *overrides, *arm.overrides]


def compose_arm(arm: Arm, overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration that the runs of an arm train with.

    Raises:
        ConfigError: there is no such experiment, an override is wrong, or it can't be a part of a study.
    """
    composed_of = hydra_overrides(arm, overrides)
    check_overrides(composed_of[1:])
    try:
        with initialize_config_module("sheeprl.configs", version_base="1.3"):
            cfg = compose("config", composed_of)
        OmegaConf.to_container(cfg, resolve=True)
        if cfg.algo.name not in ALGORITHMS:
            raise ConfigError(f"`exp={arm.exp}` trains `{cfg.algo.name}`: it must be one of {', '.join(ALGORITHMS)}.")
        if "ponder" in cfg.algo:
            check_ponder_config(cfg.algo)
        spaces(cfg)
    except ConfigError:
        raise
    except Exception as error:  # Hydra raises others than its own, an environment whatever it may
        raise ConfigError(f"`{' '.join(composed_of)}`: {' '.join(str(error).split())}") from error
    check_end(cfg)
    check_metrics(cfg)
    return cfg


def compose_arms(plan: Plan) -> dict[str, DictConfig]:
    """The configuration of each arm, by its label.

    Raises:
        ConfigError: one of them can't run as a part of a study.
    """
    arms = {arm.label: compose_arm(arm, plan.overrides) for arm in plan.arms}
    for label, cfg in arms.items():
        _check_evaluations(plan.evaluations, label, cfg)
    return arms


def _check_evaluations(evaluations: Evaluations, label: str, cfg: DictConfig) -> None:
    """Raises a ConfigError where an arm can't be evaluated as is planned: by dreams, in other environments."""
    actions = spaces(cfg)[1]
    for number in evaluations.dream:
        check_dream(number, cfg.algo, action_sizes(actions), isinstance(actions, Box), "evaluations.dream")
    for steps in evaluations.forced_steps if ponders(cfg.algo) else ():
        check_steps(steps, cfg.algo, action_sizes(actions), "evaluations.forced_steps")
    for name, overrides in evaluations.environments.items():
        overridden(cfg, overrides, f"evaluations.environments.{name}", f"of `{label}` ")


def arm_file(study: Path, arm: Arm) -> Path:
    return study / "arms" / f"{arm.folder}.yaml"


def save_plan(study: Path, plan: Plan, configs: Mapping[str, DictConfig]) -> None:
    """Writes the plan of a study into its folder, and the configuration that the runs of each arm are started with."""
    (study / "arms").mkdir(parents=True, exist_ok=True)
    for arm in plan.arms:
        replace_file(arm_file(study, arm), OmegaConf.to_yaml(configs[arm.label]))
    write_file(study / "study.yaml", plan)


def load_arm(study: Path, arm: Arm) -> DictConfig:
    return DictConfig(OmegaConf.load(arm_file(study, arm)))


def check_overrides(overrides: Sequence[str], name: str = "overrides=") -> None:
    """Raises a ConfigError where one, a key of `name`, sets what a study sets for each run."""
    for override in overrides:
        key = re.split("[=@]", override.lstrip("+~"))[0]
        if key in OWN_KEYS or re.match("hydra[./]", key):
            keys = ", ".join(f"`{key}`" for key in OWN_KEYS)
            raise ConfigError(f"`{name}{override}` can't be: a study sets {keys} and `hydra` for each run.")


def steps_at_once(cfg: DictConfig) -> int:
    """The steps that the environments of a run play at once."""
    devices = cfg.fabric.devices
    return cfg.env.num_envs * (devices if isinstance(devices, int) and devices > 0 else 1)


def check_end(cfg: DictConfig) -> None:
    """Raises a ConfigError unless a run ends with a checkpoint of its last step, by which a study knows that."""
    if not isinstance(cfg.env.num_envs, int) or cfg.env.num_envs < 1:
        raise ConfigError(f"`env.num_envs={cfg.env.num_envs}` must be a whole number from 1.")
    steps, at_once = cfg.algo.total_steps, steps_at_once(cfg)
    if isinstance(steps, str) or steps < at_once or steps % at_once:
        raise ConfigError(
            f"`algo.total_steps={steps}` must be a multiple of the {at_once} steps that the environments of a "
            "run play at once (`env.num_envs` of each of `fabric.devices`), and not 0."
        )
    if not cfg.checkpoint.save_last:
        raise ConfigError(
            f"`checkpoint.save_last={cfg.checkpoint.save_last}` must be True: a run of a study ends with a checkpoint."
        )
    if cfg.dry_run:
        raise ConfigError(f"`dry_run={cfg.dry_run}` must be False: a run of a study plays all its steps.")


def check_metrics(cfg: DictConfig) -> None:
    """Raises a ConfigError unless a run logs its metrics, where a study reads them."""
    level, logger = (OmegaConf.select(cfg, f"metric.{key}") for key in ("log_level", "logger._target_"))
    if not isinstance(level, int) or level < 1:
        raise ConfigError(f"`metric.log_level={level}` must be 1: a report needs the metrics of its runs.")
    if "tensorboard" not in str(logger).lower():  # as SheepRL tells it
        raise ConfigError(
            f"`metric.logger._target_={logger}` must be a logger of TensorBoard, from whose files a study takes the "
            "metrics of its runs: leave `metric/logger` out."
        )
