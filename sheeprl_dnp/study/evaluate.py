"""`scripts/evaluate CKPT...`: frozen policies of either algorithm, in the same worlds, in which no training begins."""

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import pandas as pd
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from sheeprl_dnp.arguments import command_parser, count, one_sentence
from sheeprl_dnp.checkpoints import Opened, open_checkpoint, seed_argument, steps_argument
from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED
from sheeprl_dnp.envs.worlds import EVALUATION_WORLDS, KEPT_SEEDS
from sheeprl_dnp.evaluation import Record, Settings, evaluate
from sheeprl_dnp.report.statistics import spearman, spearman_of_means
from sheeprl_dnp.runs import ConfigError, write_results

MEANS = {  # by name in the results, the key of an episode's record
    "mean_return": "return",
    "success_rate": "success",
    "mean_ponder_steps": "ponder_steps",
    "mean_first_ponder_steps": "first_ponder_steps",
}
COLUMNS = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())


def evaluate_checkpoint(
    settings: Settings, opened: Opened | None = None, on_episode: Callable[[Record], None] = lambda record: None
) -> Record:
    """Plays the policy of a checkpoint, each episode with a seed that no training begins with, the same for all.

    Args:
        opened: the checkpoint, where it is open; without it, the device is that of the training, or the CPU where this
            computer hasn't it.
        on_episode: called with each episode as it ends.

    Returns:
        What `evaluation.evaluate` gives, with the means by difficulty.

    Raises:
        ConfigError: the checkpoint can't be evaluated so.
    """
    steps, at_once = settings.steps, min(settings.num_envs, settings.episodes)
    fabric, cfg, state = opened or open_checkpoint(settings.checkpoint, steps, overrides=settings.overrides)
    if steps == SHUFFLED and at_once < 2:
        raise ConfigError(
            f"`--steps={steps}` is for 2 environments or more: `--envs={settings.num_envs}` and "
            f"`--episodes={settings.episodes}` must be whole numbers from 2."
        )
    fabric.seed_everything(settings.seed, verbose=False)
    folder = settings.checkpoint.removesuffix(".ckpt")
    settings = replace(settings, num_envs=at_once)
    played = evaluate(fabric, cfg, state, settings, log_dir=folder, on_episode=on_episode)
    return played | by_difficulty(played["episodes"])


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


FIRST_KEPT_SEED = KEPT_SEEDS["evaluation"][0]
EPILOG = f"""examples:
  scripts/evaluate CKPT                                            100 episodes, by the agent's own rule
  scripts/evaluate CKPT --episodes 500 --steps 1                   always at the first ponder step
  scripts/evaluate CKPT --dream 4                                  the best of its 4 most probable actions
  scripts/evaluate CKPT --override 'env.wrapper.difficulty=[5,8]'  harder boards than in the training
  scripts/evaluate CKPT1 CKPT2 --worlds validation                 to choose a setting by

Each episode has a seed of its own, the same for all policies, with which no training episode begins: Crafter, Lights
Out and Sokoban keep worlds for it; of any other environment the seeds from {FIRST_KEPT_SEED} on are kept, and a policy
that was trained with these is refused. Writes <CKPT>.episodes_100_seed_0_envs_8_cpu.eval.json, a few KB, where the
name says how it was played, so that no evaluation replaces another: returns, lengths, success rates, score, ponder
steps, latency, and the means by difficulty where the environment records one. The same command on the same computer
gives the same episodes. 100 episodes take seconds on Lights Out, about five minutes on Crafter, on one CPU core.
"""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = command_parser("evaluate", "Plays trained policies of DreamerV3 and Dream-&-Ponder, frozen.", EPILOG)
    add = parser.add_argument
    add("checkpoints", nargs="+", metavar="CKPT", help="a .ckpt file of a run, or its URL (file://...)")
    add("--episodes", type=count, default=100, help="for each checkpoint (default: 100)")
    _add_rules(parser)
    envs = "environments played at once (default: 8)"
    add("--envs", type=count, default=8, metavar="ENVS", dest="num_envs", help=envs)
    add("--seed", type=seed_argument, default=0, help="of the sampled actions, not of the worlds (default: 0)")
    worlds = "those to choose settings on, or those that results are told of (default: evaluation)"
    add("--worlds", choices=EVALUATION_WORLDS, default="evaluation", help=worlds)
    accelerators = "cpu, cuda, mps, auto, ... (default: that of the training, or the CPU where there is none)"
    add("--accelerator", help=f"of Lightning: {accelerators}")
    add("--video", action="store_true", help="also record one environment, in <CKPT>/evaluation_videos")
    return parser.parse_args(arguments)


def _add_rules(parser: argparse.ArgumentParser) -> None:
    """Adds what says by what rule the agent acts, and where."""
    parser.add_argument(
        "--steps",
        type=steps_argument,
        metavar="sample|threshold|1..N|shuffled",
        help="how the agent halts: as sampled, at the threshold of its configuration, always at that ponder step "
        "(also beyond those it was trained with), or at the steps that were sampled in other environments, so as often "
        "but not where it chose to, given many more episodes than environments (default: as in its training)",
    )
    parser.add_argument(
        "--dream",
        type=count,
        metavar="N",
        help="in place of a sample of its policy the agent, of either algorithm, takes the best of its N most "
        "probable actions, by the outcomes that its own world model imagines and the values of its critic; 1: the most "
        "probable action (one head of discrete actions)",
    )
    parser.add_argument(
        "--override",
        action="append",
        default=[],
        dest="overrides",
        metavar="env.KEY=VALUE",
        help="of the environment, to play another one than in the training, e.g. env.wrapper.difficulty=[5,8]; may "
        "be given several times",
    )


@one_sentence()
def main(arguments: list[str] | None = None) -> None:
    asked = vars(parse_arguments(arguments))
    checkpoints, video, accelerator = (asked.pop(key) for key in ("checkpoints", "video", "accelerator"))
    if asked["dream"] is not None and asked["steps"] is not None:
        raise ConfigError(f"`--dream={asked['dream']}` can't be with `--steps={asked['steps']}`: leave one out.")
    how = (asked["steps"], video, asked["overrides"], accelerator)
    opened = [open_checkpoint(checkpoint, *how) for checkpoint in checkpoints]  # before any work starts
    for checkpoint, ready in zip(checkpoints, opened, strict=True):
        play_and_write(Settings(checkpoint=checkpoint, **asked), ready)


def play_and_write(settings: Settings, opened: Opened) -> None:
    with Progress(*COLUMNS, TimeRemainingColumn()) as progress:
        task = progress.add_task(escape(settings.checkpoint), total=settings.episodes)
        results = evaluate_checkpoint(settings, opened, lambda _: progress.advance(task))
    path = replace(settings, num_envs=results["num_envs"]).file(results["device"])
    write_results(path, results)
    print(summary(results, path))


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
