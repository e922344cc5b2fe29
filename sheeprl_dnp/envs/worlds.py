"""Which worlds the episodes of an environment are played in: those of a run's training, or those of all evaluations."""

import numpy as np

from sheeprl_dnp.runs import ConfigError

WORLDS = ("training", "evaluation")


class WorldSeeds:
    """The seeds of the worlds of an environment, episode after episode: a list for each seed of the environment.

    Args:
        worlds: `training` (each run and environment has its own) or `evaluation` (they depend on the environment's seed
            alone).
        rank: the index of the environment, over all processes.
        start_step: the step of the run when the environment was built, so that a run that goes on from a checkpoint,
            and an environment that is rebuilt after a crash, go on with new worlds.

    Raises:
        ConfigError: `worlds` is none of these.
    """

    def __init__(self, worlds: str, rank: int, start_step: int) -> None:
        if worlds not in WORLDS:
            allowed = ", ".join(f"`{choice}`" for choice in WORLDS)
            raise ConfigError(f"`env.wrapper.worlds={worlds}` must be one of {allowed}.")
        self._key = {"worlds": worlds, "rank": rank, "start_step": start_step}
        self.restart()

    def restart(self) -> None:
        self._episode = -1

    def next(self, seed: int) -> int:
        """The seed of the next world in the list of the environment's `seed`."""
        self._episode += 1
        return world_seed(seed=seed, episode=self._episode, **self._key)


def world_seed(*, worlds: str, seed: int, rank: int, start_step: int, episode: int) -> int:
    """The seed of the world of an episode, in [0, 2**31): even for training, odd for evaluation.

    Args:
        seed: the run's seed + rank.
        rank: the index of the environment; unused for evaluation.
        start_step: the step that the run starts from; unused for evaluation.
        episode: its number, from 0.
    """
    own = (rank, start_step) if worlds == "training" else (0, 0)
    bits = np.random.SeedSequence((seed, episode, *own)).generate_state(1)[0]
    return 2 * (int(bits) >> 2) + WORLDS.index(worlds)
