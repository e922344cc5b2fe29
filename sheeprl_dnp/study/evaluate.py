"""`scripts/evaluate CKPT...`: frozen policies of either algorithm, in the same worlds, in which no training begins."""

import argparse
import math
from collections.abc import Callable, Sequence

import pandas as pd
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch.distributions import Distribution

from sheeprl_dnp.accelerators import evaluation_fabric
from sheeprl_dnp.arguments import count
from sheeprl_dnp.checkpoints import load_config, seed_argument, steps_argument
from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED
from sheeprl_dnp.envs.worlds import EVALUATION_WORLDS, KEPT_SEEDS
from sheeprl_dnp.evaluation import COMMAND, Record, evaluate, how_it_is_played, results_file
from sheeprl_dnp.report.statistics import spearman, spearman_of_means
from sheeprl_dnp.runs import ConfigError, load_checkpoint, write_results

MEANS = {  # by name in the results, the key of an episode's record
    "mean_return": "return",
    "success_rate": "success",
    "mean_ponder_steps": "ponder_steps",
    "mean_first_ponder_steps": "first_ponder_steps",
}
COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


def evaluate_checkpoint(
    checkpoint: str,
    *,
    episodes: int = 100,
    steps: str | int | None = None,
    num_envs: int = 8,
    seed: int = 0,
    video: bool = False,
    worlds: str = "evaluation",
    accelerator: str | None = None,
    dream: int | None = None,
    overrides: Sequence[str] = (),
    on_episode: Callable[[Record], None] = lambda record: None,
) -> Record:
    """Plays the policy of a checkpoint, each episode with a seed that no training begins with, the same for all.

    Args:
        checkpoint: its path, or its URL on a filesystem that SheepRL logs on.
        steps: `sample`, `threshold`, a number of ponder steps, or `shuffled` (see `PlayerActor`); `None`: the rule that
            the agent was trained with.
        seed: of the sampled actions.
        video: also records one environment, in `<checkpoint>_videos`.
        worlds: `validation` or `evaluation`: see `evaluation.make_environments`.
        accelerator: of Lightning; `None`: that of the training, or the CPU where this computer hasn't it.
        dream: see `evaluation.evaluate`.
        overrides: of the environment, for one that differs from that of the training: see `evaluation.overridden`.
        on_episode: called with each episode as it ends.

    Returns:
        How it was played, and what `evaluation.results` has.

    Raises:
        ConfigError: the checkpoint can't be evaluated so.
    """
    cfg = load_config(checkpoint, steps, video, overrides)
    if steps == SHUFFLED and min(num_envs, episodes) < 2:
        raise ConfigError(
            f"`--steps={steps}` is for 2 environments or more: `--envs={num_envs}` and `--episodes={episodes}` must be "
            "whole numbers from 2."
        )
    state = load_checkpoint(checkpoint, "CKPT")
    num_envs = min(num_envs, episodes)
    Distribution.set_default_validate_args(cfg.distribution.validate_args)
    fabric = evaluation_fabric(cfg.fabric, accelerator)
    fabric.seed_everything(seed, verbose=False)
    played = evaluate(
        fabric,
        cfg,
        state,
        episodes=episodes,
        num_envs=num_envs,
        log_dir=checkpoint.removesuffix(".ckpt"),
        on_episode=on_episode,
        worlds=worlds,
        dream=dream,
    )
    how = how_it_is_played(
        fabric,
        cfg.algo,
        command=COMMAND,
        checkpoint=checkpoint,
        steps=steps,
        seed=seed,
        worlds=worlds,
        num_envs=num_envs,
        episodes=episodes,
        dream=dream,
        overrides=overrides,
    )
    return how | played | by_difficulty(played["episodes"])


def by_difficulty(episodes: Sequence[Record]) -> Record:
    """The means of the episodes of each difficulty; nothing for an environment whose episodes have none.

    Returns:
        `by_difficulty`, and Spearman's rank correlations, `None` where one of the two doesn't vary: of the difficulty
        and the ponder steps of an episode (`spearman_ponder_steps`), and of the difficulties and their mean ponder
        steps (`spearman_mean_ponder_steps`; `spearman_mean_first_ponder_steps`: of the first action, whose state is as
        hard as the episode, where later ones may be easier).
    """
    table = pd.DataFrame(episodes)
    if "difficulty" not in table or table["difficulty"].isna().any():
        return {}
    groups, difficulty = table.groupby("difficulty"), table["difficulty"]
    means = {name: groups[key].mean() for name, key in MEANS.items() if key in table}
    levels = pd.DataFrame({"episodes": groups.size(), **means}).reset_index()
    correlations = {
        "spearman_ponder_steps": spearman(table["ponder_steps"], difficulty),
        "spearman_mean_ponder_steps": spearman_of_means(table["ponder_steps"], difficulty),
        "spearman_mean_first_ponder_steps": spearman_of_means(table["first_ponder_steps"], difficulty),
    }
    known = {name: None if math.isnan(rho) else rho for name, rho in correlations.items()}
    return {"by_difficulty": levels.to_dict("records"), **known}


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/evaluate",
        description="Plays trained policies of DreamerV3 and Dream-&-Ponder, frozen, each episode with a seed of its "
        "own, the same for all, with which no training episode begins: Crafter, Lights Out and Sokoban keep worlds "
        f"for it; of any other environment the seeds from {KEPT_SEEDS['evaluation'][0]} on are kept, and a policy that "
        "was trained with these is refused. Writes <CKPT>.episodes_100_seed_0_envs_8_cpu.eval.json, where the name "
        "says how it was played, so that no evaluation replaces another: returns, lengths, success rates, score, "
        "ponder steps, latency, and the means by difficulty where the environment records one. The same command on "
        "the same computer gives the same episodes.",
    )
    parser.add_argument("checkpoints", nargs="+", metavar="CKPT", help="a .ckpt file of a run, or its URL (file://...)")
    parser.add_argument("--episodes", type=count, default=100, help="for each checkpoint (default: 100)")
    parser.add_argument(
        "--steps",
        type=steps_argument,
        metavar="sample|threshold|1..N|shuffled",
        help="how the agent halts: as sampled, at the threshold of its configuration, always at that ponder step (also "
        "beyond those it was trained with), or at the steps that were sampled in other environments, so as often but "
        "not where it chose to, given many more episodes than environments (default: as in its training)",
    )
    parser.add_argument(
        "--dream",
        type=count,
        metavar="N",
        help="in place of a sample of its policy the agent, of either algorithm, takes the best of its N most probable "
        "actions, by the outcomes that its own world model imagines and the values of its critic; 1: the most probable "
        "action (one head of discrete actions)",
    )
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        metavar="env.KEY=VALUE",
        help="of the environment, to play another one than in the training, e.g. env.wrapper.difficulty=[5,8]; may be "
        "given several times",
    )
    parser.add_argument("--envs", type=count, default=8, help="environments played at once (default: 8)")
    parser.add_argument(
        "--seed", type=seed_argument, default=0, help="of the sampled actions, not of the worlds (default: 0)"
    )
    parser.add_argument(
        "--worlds",
        choices=EVALUATION_WORLDS,
        default="evaluation",
        help="those to choose settings on, or those that results are told of (default: evaluation)",
    )
    parser.add_argument(
        "--accelerator",
        help="of Lightning: cpu, cuda, mps, auto, ... (default: that of the training, or the CPU where there is none)",
    )
    parser.add_argument("--video", action="store_true", help="also record one environment, in <CKPT>/evaluation_videos")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    try:
        if options.dream is not None and options.steps is not None:
            raise ConfigError(f"`--dream={options.dream}` can't be with `--steps={options.steps}`: leave one out.")
        for checkpoint in options.checkpoints:  # before any work starts
            cfg = load_config(checkpoint, options.steps, options.video, options.override)
            evaluation_fabric(cfg.fabric, options.accelerator)
            load_checkpoint(checkpoint, "CKPT")
        for checkpoint in options.checkpoints:
            with Progress(*COLUMNS, TimeRemainingColumn()) as progress:
                task = progress.add_task(escape(checkpoint), total=options.episodes)
                results = evaluate_checkpoint(
                    checkpoint,
                    episodes=options.episodes,
                    steps=options.steps,
                    num_envs=options.envs,
                    seed=options.seed,
                    video=options.video,
                    worlds=options.worlds,
                    accelerator=options.accelerator,
                    dream=options.dream,
                    overrides=options.override,
                    on_episode=lambda record, task=task, progress=progress: progress.advance(task),
                )
            path = results_file(results, steps=options.steps)
            write_results(path, results)
            print(summary(results, path))
    except ConfigError as error:
        raise SystemExit(f"Error: {error}") from error


def summary(results: Record, path: str) -> str:
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
