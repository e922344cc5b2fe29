"""`scripts/watch CKPT`: a page that shows what a trained agent sees, dreams and decides, decision by decision."""

import argparse
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium as gym
from lightning.fabric import Fabric
from rich.progress import Progress
from sheeprl.utils.utils import dotdict

from sheeprl_dnp.arguments import command_parser, count, one_sentence
from sheeprl_dnp.checkpoints import Agent, build_agent, open_checkpoint, seed_argument, steps_argument
from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED, choices, halting_rule, ponders
from sheeprl_dnp.envs.worlds import EVALUATION_WORLDS
from sheeprl_dnp.evaluation import PlayerSteps, Record, make_environments, play
from sheeprl_dnp.pictures import Artist
from sheeprl_dnp.runs import ConfigError, replace_file
from sheeprl_dnp.watch.actions import Actions
from sheeprl_dnp.watch.mind import Mind
from sheeprl_dnp.watch.page import write_page
from sheeprl_dnp.watch.witness import Episode, Witness

SHOWN = range(1, 201)  # decisions of an episode
EPILOG = """examples:
  scripts/watch CKPT                               three episodes, in watch.html
  scripts/watch CKPT --steps 1 --output one.html   what it does where it must act at its first ponder step
  scripts/watch CKPT --decisions 201-400           the next decisions of long episodes

Decision by decision: what the agent sees and believes, where it halts, how its policy changes from ponder step to
ponder step, what it dreams of, and what really happened. The episodes are those that scripts/evaluate CKPT --envs 1
plays. The page is one file, which loads nothing else. A decision takes a tenth of a second on a CPU core, 10 to 90 KB.
"""


def watch(
    checkpoint: str,
    *,
    episodes: int = 3,
    decisions: range = SHOWN,
    steps: str | int | None = None,
    seed: int = 0,
    worlds: str = "evaluation",
    accelerator: str | None = None,
    on_episode: Callable[[Record], None] = lambda record: None,
) -> tuple[str, list[Episode], int]:
    """Plays the episodes that `scripts/evaluate --envs 1` plays with the same arguments, and shows them.

    Args:
        decisions: the numbers of those of each episode that are looked at, from 1.
        steps, seed, worlds: see `evaluation.Settings`.
        accelerator: see `accelerators.evaluation_fabric`.
        on_episode: called with each episode as it ends.

    Returns:
        The page, the episodes, and how many decisions of each are shown.

    Raises:
        ConfigError: the checkpoint can't be played so, or no episode has so many decisions.
    """
    fabric, cfg, state = open_checkpoint(checkpoint, steps, accelerator=accelerator)
    fabric.seed_everything(seed, verbose=False)
    taken = PlayerSteps(1)
    with closing(make_environments(cfg, episodes, 1, checkpoint.removesuffix(".ckpt"), worlds)) as envs:
        agent = build_agent(fabric, cfg, envs, state, taken)
        witness = call_witness(fabric, cfg, agent, envs.envs[0], taken, decisions)
        for episode, record in enumerate(play(agent.player, taken, envs, fabric, cfg, episodes, [])):
            witness.episodes[episode].record = record
            on_episode(record)
    shown = [episode for episode in witness.episodes if episode.decisions]
    if not shown:
        longest = max(episode.length for episode in witness.episodes)
        raise ConfigError(f"`--decisions={decisions[0]}-{decisions[-1]}`: the longest episode has {longest} decisions.")
    page, count = write_page(witness.mind.actions, shown, worlds=worlds, seed=seed, **about(cfg, checkpoint))
    return page, shown, count


def call_witness(
    fabric: Fabric, cfg: dotdict, agent: Agent, episodes: gym.Wrapper, taken: PlayerSteps, decisions: range
) -> Witness:
    """Puts a witness between a list of episodes and the environment in which they are played."""
    steps = 1
    if ponders(cfg.algo):
        rule = cfg.algo.ponder.halting
        steps = max(cfg.algo.ponder.max_halts, rule if isinstance(rule, int) else 1)
    mind = Mind(fabric, cfg, agent, Actions(episodes), Artist(cfg, episodes.observation_space, episodes), steps)
    episodes.env = Witness(episodes.env, mind, taken, decisions)
    return episodes.env


def about(cfg: dotdict, checkpoint: str) -> dict[str, Any]:
    """What the page says of an agent and of its environment."""
    name, algo = cfg.env.id, cfg.algo
    title = name.replace("_", " ").title() if name.islower() else name
    of = {"title": title, "checkpoint": "/".join(Path(checkpoint).parts[-4:])}
    if not ponders(algo):
        agent = "Dream-&-Ponder with one ponder step" if "ponder" in algo else "DreamerV3"
        return of | {"agent": agent, "kind": None, "rule": None}
    limit = "up to" if choices(algo.ponder) > 1 else "always"
    agent = f"Dream-&-Ponder, {limit} {algo.ponder.max_halts} ponder steps that {algo.ponder.step}"
    return of | {"agent": agent, "kind": algo.ponder.step, "rule": halting_rule(algo.ponder)}


def decisions_argument(value: str) -> range:
    match = re.fullmatch(r"(\d+)(?:-(\d+))?", value)
    first, last = (1, int(match[1])) if match and match[2] is None else map(int, match.groups()) if match else (0, 0)
    if not 1 <= first <= last:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number from 1, or a first and a last one, as in 51-150")
    return range(first, last + 1)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    description = "A page that shows how a trained agent of DreamerV3 or Dream-&-Ponder plays a few episodes."
    parser = command_parser("watch", description, EPILOG)
    parser.add_argument("checkpoint", metavar="CKPT", help="a .ckpt file of a run, or its URL (file://...)")
    parser.add_argument("--episodes", type=count, default=3, help="default: 3")
    parser.add_argument(
        "--decisions",
        type=decisions_argument,
        default=SHOWN,
        metavar="[FIRST-]LAST",
        help="those of each episode that are shown (default: the first 200), as far as the page stays below 10 MB",
    )
    parser.add_argument(
        "--steps",
        type=steps_argument,
        metavar="sample|threshold|1..N",
        help="how the agent halts: as sampled, at the threshold of its configuration, or always at that ponder step "
        "(default: as in its training)",
    )
    parser.add_argument(
        "--seed", type=seed_argument, default=0, help="of the sampled actions, not of the worlds (default: 0)"
    )
    parser.add_argument(
        "--worlds", choices=EVALUATION_WORLDS, default="evaluation", help="see scripts/evaluate (default: evaluation)"
    )
    parser.add_argument("--accelerator", help="of Lightning (default: that of the training, or the CPU)")
    parser.add_argument("--output", type=Path, default=Path("watch.html"), help="default: watch.html")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = vars(parse_arguments(arguments))
    output: Path = options.pop("output")
    with one_sentence():
        if options["steps"] == SHUFFLED:
            raise ConfigError(f"`--steps={SHUFFLED}` is for several environments at once, and watching has one.")
        if output.is_dir() or not output.absolute().parent.is_dir():
            raise ConfigError(f"`--output={output}` must be a file, in a folder that exists.")
        with Progress(transient=True) as progress:
            task = progress.add_task("episodes", total=options["episodes"])
            page, episodes, shown = watch(**options, on_episode=lambda record: progress.advance(task))
    replace_file(output, page)
    if shown < max(len(episode.decisions) for episode in episodes):
        first = options["decisions"][shown]
        print(f"{shown} decisions of each episode are 10 MB: --decisions={first}-{first + shown - 1} has the next ones")
    print(f"Written to {output} ({len(page) / 1e6:.1f} MB): open it in a browser")


if __name__ == "__main__":
    main()
