"""`sheeprl-eval checkpoint_path=...`: plays a trained agent, and writes what it did beside its checkpoint."""

from pathlib import Path
from typing import Any

from lightning.fabric import Fabric
from sheeprl.utils.logger import get_log_dir, get_logger
from sheeprl.utils.registry import register_evaluation

from sheeprl_dnp.dreamer_v3_ponder.config import check_ponder_config
from sheeprl_dnp.evaluation import Record
from sheeprl_dnp.evaluation import evaluate as evaluate_policy
from sheeprl_dnp.runs import write_json


@register_evaluation(algorithms="dreamer_v3_ponder")
def evaluate(fabric: Fabric, cfg: dict[str, Any], state: dict[str, Any]) -> None:
    """Plays `algo.ponder.eval_episodes` episodes, and writes `<checkpoint>.eval.json`."""
    check_ponder_config(cfg.algo)
    logger = get_logger(fabric, cfg)
    if logger and fabric.is_global_zero:
        fabric._loggers = [logger]
    log_dir = get_log_dir(fabric, cfg.root_dir, cfg.run_name, log_root=cfg.log_root)

    def print_episode(record: Record) -> None:
        fabric.print(
            f"Episode {record['seed'] + 1}/{cfg.algo.ponder.eval_episodes}: return {record['return']:.2f}, "
            f"{record['length']} steps, {record['ponder_steps']:.2f} ponder steps"
        )

    results = evaluate_policy(
        fabric,
        cfg,
        state,
        episodes=cfg.algo.ponder.eval_episodes,
        num_envs=1,
        log_dir=log_dir,
        on_episode=print_episode,
    )
    path = Path(cfg.checkpoint_path).with_suffix(".eval.json")
    write_json(path, {"checkpoint": str(cfg.checkpoint_path), "steps": cfg.algo.ponder.halting, **results})
    fabric.print(
        f"Mean return {results['mean_return']:.2f}, length {results['mean_length']:.0f}, "
        f"ponder steps {results['mean_ponder_steps']:.2f}; written to {path}"
    )
    if fabric.loggers:
        fabric.logger.log_metrics({"Test/cumulative_reward": results["mean_return"]}, 0)
