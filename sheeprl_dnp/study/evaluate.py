"""`scripts/evaluate CKPT...`: frozen policies of either algorithm, in the same worlds, in which no training begins."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from lightning.fabric import Fabric
from omegaconf import OmegaConf
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from sheeprl.utils.utils import dotdict
from torch.distributions import Distribution

from sheeprl_dnp.crafter_score import count_argument
from sheeprl_dnp.dreamer_v3_ponder.config import HALTING_RULES, SHUFFLED, ponders, samples_halting
from sheeprl_dnp.envs.worlds import EVALUATION_WORLDS
from sheeprl_dnp.evaluation import Record, evaluate
from sheeprl_dnp.runs import MAX_SEED, ConfigError, load_checkpoint, load_run_config, write_json
from sheeprl_dnp.study.statistics import spearman, spearman_of_means

ALGORITHMS = ("dreamer_v3", "dreamer_v3_ponder")
COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


def load_config(checkpoint: Path, steps: str | int | None, video: bool, worlds: str = "evaluation") -> dict[str, Any]:
    """The configuration of the run of a checkpoint, for its evaluation.

    Raises:
        ConfigError: there is none, it is of another algorithm, or `steps` is asked of an agent that doesn't ponder,
            `shuffled` of one that doesn't sample its ponder steps, or `worlds` of an environment that keeps none.
    """
    cfg = dotdict(OmegaConf.to_container(load_run_config(str(checkpoint), "CKPT"), resolve=True))
    if cfg.algo.name not in ALGORITHMS:
        raise ConfigError(
            f"`CKPT={checkpoint}` is of the algorithm `{cfg.algo.name}`: it must be of one of {', '.join(ALGORITHMS)}."
        )
    if steps is not None:
        if not ponders(cfg.algo):
            kind = "max_halts=1" if "ponder" in cfg.algo else "dreamer_v3"
            raise ConfigError(f"`--steps={steps}` is for agents that ponder: `CKPT={checkpoint}` is of `{kind}`.")
        if steps == SHUFFLED and not samples_halting(cfg.algo):
            kind = f"halting={cfg.algo.ponder.halting}" if cfg.algo.ponder.learn_halting else "learn_halting=False"
            raise ConfigError(
                f"`--steps={steps}` is for agents that sample their ponder steps: `CKPT={checkpoint}` is of `{kind}`."
            )
        cfg.algo.ponder.halting = steps
    if worlds != "evaluation" and "worlds" not in cfg.env.wrapper:
        raise ConfigError(
            f"`--worlds={worlds}` is for environments that keep worlds for it: `CKPT={checkpoint}` is of "
            f"`env.id={cfg.env.id}`."
        )
    cfg.env.capture_video = video
    return cfg


def evaluate_checkpoint(
    checkpoint: Path,
    *,
    episodes: int = 100,
    steps: str | int | None = None,
    num_envs: int = 8,
    seed: int = 0,
    video: bool = False,
    worlds: str = "evaluation",
    on_episode: Callable[[Record], None] = lambda record: None,
) -> Record:
    """Plays the policy of a checkpoint in the worlds of the seeds 0 to `episodes` - 1, on the device of its training.

    Args:
        steps: `sample`, `threshold`, a number of ponder steps, or `shuffled` (see `PlayerActor`); `None`: the rule that
            the agent was trained with.
        seed: of the sampled actions.
        video: also records one environment, in `<checkpoint>_videos`.
        worlds: those of our environments, of which some are kept for `validation` and others for `evaluation`.
        on_episode: called with each episode as it ends.

    Returns:
        How it was played, and what `evaluation.results` has.

    Raises:
        ConfigError: the checkpoint can't be evaluated so.
    """
    cfg = load_config(checkpoint, steps, video, worlds)
    if steps == SHUFFLED and min(num_envs, episodes) < 2:
        raise ConfigError(
            f"`--steps={steps}` is for 2 environments or more: `--envs={num_envs}` and `--episodes={episodes}` must be "
            "whole numbers from 2."
        )
    state = load_checkpoint(str(checkpoint), "CKPT")
    num_envs = min(num_envs, episodes)
    Distribution.set_default_validate_args(cfg.distribution.validate_args)
    fabric = Fabric(accelerator=cfg.fabric.accelerator, devices=1, precision=cfg.fabric.precision)
    fabric.seed_everything(seed, verbose=False)
    played = evaluate(
        fabric,
        cfg,
        state,
        episodes=episodes,
        num_envs=num_envs,
        log_dir=str(checkpoint.with_suffix("")),
        on_episode=on_episode,
        worlds=worlds,
    )
    return {
        "checkpoint": str(checkpoint),
        "algorithm": cfg.algo.name,
        "steps": _rule(cfg.algo, steps),
        "seed": seed,
        "worlds": worlds,
        "num_envs": num_envs,
        **played,
        **by_difficulty(played["episodes"]),
    }


def _rule(algo: Any, asked: str | int | None) -> str | int:
    """How the ponder steps of an action are chosen."""
    if not ponders(algo):
        return 1
    return algo.ponder.halting if asked is not None or algo.ponder.learn_halting else algo.ponder.max_halts


def by_difficulty(episodes: Sequence[Record]) -> Record:
    """The means of the episodes of each difficulty; nothing for an environment whose episodes have none.

    Returns:
        `by_difficulty`, and Spearman's rank correlations, `None` where one of the two doesn't vary: of the difficulty
        and the ponder steps of an episode (`spearman_ponder_steps`), and of the difficulties and their mean ponder
        steps (`spearman_mean_ponder_steps`; `spearman_mean_first_ponder_steps`: of the first action, whose state is as
        hard as the episode, where later ones may be easier).
    """
    if not all("difficulty" in episode for episode in episodes):
        return {}
    levels = sorted({episode["difficulty"] for episode in episodes})
    groups = {level: [episode for episode in episodes if episode["difficulty"] == level] for level in levels}
    means = {
        "mean_return": "return",
        "success_rate": "success",
        "mean_ponder_steps": "ponder_steps",
        "mean_first_ponder_steps": "first_ponder_steps",
    }
    difficulties, pondered, first = (
        [episode[key] for episode in episodes] for key in ("difficulty", "ponder_steps", "first_ponder_steps")
    )
    return {
        "by_difficulty": [
            {
                "difficulty": level,
                "episodes": len(group),
                **{name: fmean(episode[key] for episode in group) for name, key in means.items() if key in group[0]},
            }
            for level, group in groups.items()
        ],
        "spearman_ponder_steps": spearman(pondered, difficulties),
        "spearman_mean_ponder_steps": spearman_of_means(pondered, difficulties),
        "spearman_mean_first_ponder_steps": spearman_of_means(first, difficulties),
    }


def steps_argument(value: str) -> str | int:
    rules = (*HALTING_RULES, SHUFFLED)
    if value in rules:
        return value
    try:
        return count_argument(value)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, nor one of {', '.join(rules)}") from error


def seed_argument(value: str) -> int:
    if not value.isdecimal() or int(value) > MAX_SEED:
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number from 0 to {MAX_SEED}")
    return int(value)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/evaluate",
        description="Plays trained policies of DreamerV3 and Dream-&-Ponder, frozen, in the same worlds, in which "
        "no training episode begins. Writes <CKPT>.eval.json (with --steps: <CKPT>.eval_<STEPS>.json; with --worlds "
        "validation: <CKPT>.eval_validation.json, or <CKPT>.eval_validation_<STEPS>.json): returns, "
        "lengths, success rates, score, ponder steps, latency, and the means by difficulty where the environment "
        "records one. The same command gives the same episodes.",
    )
    parser.add_argument("checkpoints", nargs="+", type=Path, metavar="CKPT", help="a .ckpt file of a run")
    parser.add_argument("--episodes", type=count_argument, default=100, help="for each checkpoint (default: 100)")
    parser.add_argument(
        "--steps",
        type=steps_argument,
        metavar="sample|threshold|1..N|shuffled",
        help="how the agent halts: as sampled, at the threshold of its configuration, always at that ponder step (also "
        "beyond those it was trained with), or at the steps that were sampled in other environments, so as often but "
        "not where it chose to, given many more episodes than environments (default: as in its training)",
    )
    parser.add_argument("--envs", type=count_argument, default=8, help="environments played at once (default: 8)")
    parser.add_argument(
        "--seed", type=seed_argument, default=0, help="of the sampled actions, not of the worlds (default: 0)"
    )
    parser.add_argument(
        "--worlds",
        choices=EVALUATION_WORLDS,
        default="evaluation",
        help="those to choose settings on, or those that results are told of (default: evaluation)",
    )
    parser.add_argument("--video", action="store_true", help="also record one environment, in <CKPT>/evaluation_videos")
    return parser.parse_args(arguments)


def output_path(checkpoint: Path, steps: str | int | None, worlds: str) -> Path:
    parts = ["eval", *([worlds] if worlds != "evaluation" else []), *([str(steps)] if steps is not None else [])]
    return checkpoint.with_suffix(f".{'_'.join(parts)}.json")


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    try:
        for checkpoint in options.checkpoints:  # before any work starts
            load_config(checkpoint, options.steps, options.video, options.worlds)
            load_checkpoint(str(checkpoint), "CKPT")
        for checkpoint in options.checkpoints:
            path = output_path(checkpoint, options.steps, options.worlds)
            with Progress(*COLUMNS, TimeRemainingColumn()) as progress:
                task = progress.add_task(str(checkpoint), total=options.episodes)
                results = evaluate_checkpoint(
                    checkpoint,
                    episodes=options.episodes,
                    steps=options.steps,
                    num_envs=options.envs,
                    seed=options.seed,
                    video=options.video,
                    worlds=options.worlds,
                    on_episode=lambda record, task=task, progress=progress: progress.advance(task),
                )
            write_json(path, results)
            print(summary(results, path))
    except ConfigError as error:
        raise SystemExit(f"Error: {error}") from error


def summary(results: Record, path: Path) -> str:
    score = "" if results["score"] is None else f", score {results['score']:.2f} %"
    levels = [
        f"difficulty {level['difficulty']}: mean return {level['mean_return']:.2f}, "
        f"ponder steps {level['mean_ponder_steps']:.2f}, {level['episodes']} episodes\n"
        for level in results.get("by_difficulty", [])
    ]
    return "".join(levels) + (
        f"{len(results['episodes'])} episodes: mean return {results['mean_return']:.2f}{score}, "
        f"length {results['mean_length']:.0f}, ponder steps {results['mean_ponder_steps']:.2f}; written to {path}"
    )


if __name__ == "__main__":
    main()
