"""Which worlds the episodes of an environment are played in: no world is of more than one of three kinds.

`training`: each run and environment has its own. `validation`: what is chosen (settings, say) is chosen on these, the
same for all. `evaluation`: results are told of these, the same for all; nothing is chosen on them.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sheeprl_dnp.runs import ConfigError

EVALUATION_WORLDS = ("validation", "evaluation")
WORLDS = ("training", *EVALUATION_WORLDS)
# Of environments that keep no worlds of their own: seeds of `reset` that no training may begin with. They fit in an
# int32, as some environments want it, and random seeds and times since 1970 are hardly ever there
KEPT_SEEDS = {"validation": range(2**31 - 2**25, 2**31 - 2**24), "evaluation": range(2**31 - 2**24, 2**31)}
MOST_ENVIRONMENTS = 2**16  # of a run, each with a seed of its own


class WorldSeeds:
    """The seeds of the worlds of an environment, episode after episode: a list for each seed of the environment.

    An environment has them as its attribute `world_seeds`: there a training that goes on says from which step.

    Args:
        worlds: `training` (each run and environment has its own), `validation` or `evaluation` (they depend on the
            environment's seed alone).
        rank: the index of the environment, over all processes.

    Raises:
        ConfigError: `worlds` is none of these.
    """

    def __init__(self, worlds: str, rank: int) -> None:
        if worlds not in WORLDS:
            allowed = ", ".join(f"`{choice}`" for choice in WORLDS)
            raise ConfigError(f"`env.wrapper.worlds={worlds}` must be one of {allowed}.")
        self._key: dict[str, Any] = {"worlds": worlds, "rank": rank, "start_step": 0}
        self._episode = -1

    def start_at(self, step: int) -> None:
        """For a run that goes on from a checkpoint of `step` steps, whose worlds must be new ones."""
        self._key["start_step"] = step

    def go_on_after(self, crashed: "WorldSeeds") -> None:
        """For an environment that is built again after a crash: the list goes on where the crashed one's was."""
        self._key, self._episode = crashed._key, crashed._episode

    def restart(self) -> None:
        self._episode = -1

    def next(self, seed: int) -> int:
        """The seed of the next world in the list of the environment's `seed`."""
        self._episode += 1
        return world_seed(seed=seed, episode=self._episode, **self._key)


def world_seed(*, worlds: str, seed: int, rank: int, start_step: int, episode: int) -> int:
    """The seed of the world of an episode, below 2**32, and of one kind of worlds alone.

    Args:
        seed: the run's seed + rank.
        rank: the index of the environment; for training alone.
        start_step: the step that the run starts from; for training alone.
        episode: its number, from 0.

    Returns:
        Below 2**31 an even number for training and an odd one for evaluation; from there on, one for validation.
    """
    own = (rank, start_step) if worlds == "training" else (0, 0)
    bits = int(np.random.SeedSequence((seed, episode, *own)).generate_state(1)[0])
    if worlds == "validation":
        return 2**31 + bits // 2
    return bits // 4 * 2 + (worlds == "evaluation")


def kind_of_start(*start: int) -> str:
    """The kind of worlds that has what an episode begins with (a board, say, as numbers from 0).

    Drawn once and for ever: a quarter of all starts is for evaluation, an eighth for validation, the rest for training.
    """
    draw = int(np.random.SeedSequence(start).generate_state(1)[0])
    return {0: "evaluation", 4: "evaluation", 5: "validation"}.get(draw % 8, "training")


def check_training_seed(cfg: Mapping[str, Any]) -> None:
    """Raises a ConfigError where a training would begin with a seed that is kept for evaluations."""
    if "worlds" in cfg["env"]["wrapper"]:
        return  # any seed has training worlds of its own
    first, last = KEPT_SEEDS["validation"][0], KEPT_SEEDS["evaluation"][-1]
    if first - MOST_ENVIRONMENTS < cfg["seed"] <= last:
        raise ConfigError(
            f"`seed={cfg['seed']}` is not allowed: the seeds from {first} to {last} are kept for evaluations, and the "
            f"environments of a run begin with the seeds from its own on: it must be up to {first - MOST_ENVIRONMENTS},"
            f" or from {last + 1}."
        )
