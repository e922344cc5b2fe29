"""`sheeprl-eval checkpoint_path=...`: plays a trained agent, and writes what it did beside its checkpoint."""

import re
from itertools import count
from typing import Any

from hydra.core.hydra_config import HydraConfig
from lightning.fabric import Fabric
from sheeprl.utils.logger import get_log_dir, get_logger
from sheeprl.utils.registry import register_evaluation
from sheeprl.utils.utils import dotdict

from sheeprl_dnp.arguments import one_sentence
from sheeprl_dnp.dreamer_v3_ponder.config import check_ponder_config
from sheeprl_dnp.envs.worlds import check_training_seed
from sheeprl_dnp.evaluation import Record, Settings
from sheeprl_dnp.evaluation import evaluate as evaluate_policy
from sheeprl_dnp.runs import ConfigError, load_run_config, write_results

# What SheepRL and we read of an evaluation's own configuration; the rest of it is that of the training
EFFECTIVE = (
    "checkpoint_path",
    "eval_episodes",
    "seed",
    "fabric.accelerator",
    "env.capture_video",
    "log_root",
    "num_threads",
    "disable_grads",
    "float32_matmul_precision",
    "distribution.validate_args",
)
OTHER_SECTIONS = ("metric", "hydra")  # of which any key is read


@register_evaluation(algorithms="dreamer_v3_ponder")
def evaluate(fabric: Fabric, cfg: dotdict, state: dict[str, Any]) -> None:
    """Plays `eval_episodes` episodes (as many as `algo.ponder.eval_episodes` of the training, if it isn't given), and
    writes what `evaluation.evaluate` gives beside the checkpoint, under a name of its own: see `Settings.file`.
    """
    with one_sentence():
        check_overrides(HydraConfig.get().overrides.task if HydraConfig.initialized() else [])
        check_ponder_config(cfg.algo)
        check_training_seed(load_run_config(cfg.checkpoint_path, "checkpoint_path"))
        episodes = check_episodes(cfg.get("eval_episodes", cfg.algo.ponder.eval_episodes))
    logger = get_logger(fabric, cfg)
    if logger and fabric.is_global_zero:
        fabric._loggers = [logger]
    log_dir = get_log_dir(fabric, cfg.root_dir, cfg.run_name, log_root=cfg.log_root)
    number = count(1)

    def print_episode(record: Record) -> None:
        told = f"return {record['return']:.2f}, {record['length']} steps, {record['ponder_steps']:.2f} ponder steps"
        fabric.print(f"Episode {next(number)}/{episodes}: {told}")

    settings = Settings(
        checkpoint=cfg.checkpoint_path, episodes=episodes, num_envs=1, seed=cfg.seed, command="sheeprl-eval"
    )
    results = evaluate_policy(fabric, cfg, state, settings, log_dir=log_dir, on_episode=print_episode)
    path = settings.file(fabric.device.type)
    write_results(path, results)
    fabric.print(
        f"Mean return {results['mean_return']:.2f}, length {results['mean_length']:.0f}, "
        f"ponder steps {results['mean_ponder_steps']:.2f}; written to {path}"
    )
    if fabric.loggers:
        fabric.logger.log_metrics({"Test/cumulative_reward": results["mean_return"]}, 0)


def check_overrides(overrides: list[str]) -> None:
    """
    Args:
        overrides: of Hydra, as the user gave them.

    Raises:
        ConfigError: one can't take effect, since SheepRL takes that part of the configuration from the training.
    """
    for override in overrides:
        key = re.split("[=@]", override.lstrip("+~"))[0]
        if key not in EFFECTIVE and re.split("[./]", key)[0] not in OTHER_SECTIONS:
            raise ConfigError(
                f"`{override}` has no effect on an evaluation, which is configured as its training was: it may set "
                f"{', '.join(EFFECTIVE)}, and more is in the hands of `scripts/evaluate`."
            )


def check_episodes(episodes: Any) -> int:
    """
    Raises:
        ConfigError: it isn't a number of episodes.
    """
    if type(episodes) is not int or episodes < 1:
        raise ConfigError(f"`eval_episodes={episodes}` is not allowed: it must be a whole number from 1.")
    return episodes
