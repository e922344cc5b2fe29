"""The plan of a study: where it comes from, and the configurations that its arms train with.

    plan = find_plan("crafter_small")          # configs/study/crafter_small.yaml; or the path of such a file
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
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sheeprl_dnp.checkpoints import check_environment_key, spaces
from sheeprl_dnp.dreamer_v3_ponder.config import ALGORITHMS, check_dream, check_ponder_config
from sheeprl_dnp.dreamer_v3_ponder.utils import action_sizes
from sheeprl_dnp.runs import ConfigError, replace_file
from sheeprl_dnp.studies import Arm, Plan, read_plan, write_file

OWN_KEYS = ("exp", "seed", "log_root", "root_dir", "run_name", "checkpoint.resume_from")  # as in `execution.command`


def named_plans() -> dict[str, Path]:
    """The plans that come with this package (`configs/study`), by name."""
    return named_files("study")


def named_files(kind: str) -> dict[str, Path]:
    folder = Path(str(files("sheeprl_dnp.configs"))) / kind
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_plan(name: str) -> Plan | None:
    """The plan that is named by a file's path (`….yaml`) or by a name of `named_plans`; None if `name` is neither.

    Raises:
        ConfigError: the file can't be read, or isn't a plan.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else named_plans().get(name)
    return read_plan(path) if path else None


def hydra_overrides(arm: Arm, overrides: Sequence[str] = ()) -> list[str]:
    """What the configuration of an arm is composed of; its own overrides come after those of all the arms."""
    return [f"exp={arm.exp}", *overrides, *arm.overrides]


def compose_arm(arm: Arm, overrides: Sequence[str] = ()) -> DictConfig:
    """The configuration that the runs of an arm train with.

    Raises:
        ConfigError: there is no such experiment, an override is wrong, or it can't be a part of a study.
    """
    check_overrides(hydra_overrides(arm, overrides)[1:])
    try:
        with initialize_config_module("sheeprl.configs", version_base="1.3"):
            cfg = compose("config", hydra_overrides(arm, overrides))
        OmegaConf.to_container(cfg, resolve=True)
    except (HydraException, OmegaConfBaseException, ValueError) as error:  # Hydra raises ValueError, too
        raise _unusable(arm, overrides, error) from error
    if cfg.algo.name not in ALGORITHMS:
        raise ConfigError(f"`exp={arm.exp}` trains `{cfg.algo.name}`: it must be one of {', '.join(ALGORITHMS)}.")
    if "ponder" in cfg.algo:
        check_ponder_config(cfg.algo)
    try:
        spaces(cfg)
    except Exception as error:  # whatever an environment may raise
        raise _unusable(arm, overrides, error) from error
    check_length(cfg)
    check_metrics(cfg)
    return cfg


def compose_arms(plan: Plan) -> dict[str, DictConfig]:
    """The configuration of each arm, by its label.

    Raises:
        ConfigError: one of them can't run as a part of a study.
    """
    arms = {arm.label: compose_arm(arm, plan.overrides) for arm in plan.arms}
    worlds = plan.evaluations.worlds
    for label, cfg in arms.items():
        if worlds != "evaluation" and "worlds" not in cfg.env.wrapper:
            raise ConfigError(
                f"`evaluations.worlds={worlds}` can't be: the environment of `{label}` keeps none for it."
            )
    for arm in plan.arms:
        _check_evaluations(plan, arm, arms[arm.label])
    return arms


def _check_evaluations(plan: Plan, arm: Arm, cfg: DictConfig) -> None:
    """Checks that the arm can be evaluated as is planned: by looking ahead, and in other environments.

    Raises:
        ConfigError: it can't.
    """
    if not (plan.evaluations.dream or plan.evaluations.environments):
        return
    trained = spaces(cfg)
    for count in plan.evaluations.dream:
        check_dream(count, cfg.algo, action_sizes(trained[1]), isinstance(trained[1], Box), "evaluations.dream")
    for name, overrides in plan.evaluations.environments.items():
        for override in overrides:
            check_environment_key(override.split("=")[0], f"evaluations.environments.{name}={override}")
        there = arm.model_copy(update={"overrides": (*arm.overrides, *overrides)})
        if spaces(compose_arm(there, plan.overrides)) != trained:
            raise ConfigError(
                f"`evaluations.environments.{name}={','.join(overrides)}` must leave the observations and actions of "
                f"`{arm.label}` as they are."
            )


def save_plan(study: Path, plan: Plan, configs: Mapping[str, DictConfig]) -> None:
    """Writes the plan of a study into its folder, and the configuration that the runs of each arm are started with."""
    (study / "arms").mkdir(parents=True, exist_ok=True)
    for arm in plan.arms:
        replace_file(study / "arms" / f"{arm.folder}.yaml", OmegaConf.to_yaml(configs[arm.label]))
    write_file(study / "study.yaml", plan)


def load_arm(study: Path, arm: Arm) -> DictConfig:
    return DictConfig(OmegaConf.load(study / "arms" / f"{arm.folder}.yaml"))


def check_overrides(overrides: Sequence[str]) -> None:
    """
    Raises:
        ConfigError: one sets what a study sets for each run.
    """
    for override in overrides:
        key = re.split("[=@]", override.lstrip("+~"))[0]
        if key in OWN_KEYS or re.match("hydra[./]", key):
            keys = ", ".join(f"`{key}`" for key in OWN_KEYS)
            raise ConfigError(f"`overrides={override}` can't be: a study sets {keys} and `hydra` for each run.")


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


def check_metrics(cfg: DictConfig) -> None:
    """Checks that a run logs its metrics, and where a study reads them.

    Raises:
        ConfigError: it doesn't.
    """
    level, logger = (OmegaConf.select(cfg, f"metric.{key}") for key in ("log_level", "logger._target_"))
    if not isinstance(level, int) or level < 1:
        raise ConfigError(f"`metric.log_level={level}` must be 1: a report needs the metrics of its runs.")
    if "tensorboard" not in str(logger).lower():  # as SheepRL tells it
        raise ConfigError(
            f"`metric.logger._target_={logger}` must be a logger of TensorBoard, from whose files a study takes the "
            "metrics of its runs: leave `metric/logger` out."
        )


def _unusable(arm: Arm, overrides: Sequence[str], reason: Exception) -> ConfigError:
    return ConfigError(f"`{' '.join(hydra_overrides(arm, overrides))}`: {' '.join(str(reason).split())}")
