"""The latency of the player: of DreamerV3, and of ours where it halts after a forced number of steps, or by itself."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
import torch
from sheeprl.algos.dreamer_v3.agent import PlayerDV3

from sheeprl_dnp.benchmark.agents import Agent
from sheeprl_dnp.benchmark.timing import Call, alternate, summary

ENVIRONMENTS = (1, 16)


def measure_player(
    baseline: Agent,
    pondering: dict[str, Agent],
    *,
    halting: Sequence[str | int],
    on_progress: Callable[[str], None],
    **turns: Any,
) -> pd.DataFrame:
    """By number of environments, then by step and rule (`dreamer_v3`, `refine_1`, ...): ratios, and seconds per call.

    Args:
        pondering: by what a ponder step does.
        halting: the rules that are measured, of those of `algo.ponder.halting`.
        turns: as for `alternate`.
    """
    measured = {}
    for environments in ENVIRONMENTS:
        on_progress(f"player: {environments} environments")
        calls: dict[str, Call] = {
            f"{step}_{rule}": acting(agent, environments, rule) for step, agent in pondering.items() for rule in halting
        }
        *_, timings = alternate(acting(baseline, environments), calls, **turns)
        measured[environments] = summary(timings)
    return pd.concat(measured, names=["environments", "agent"]).reset_index()


def acting(agent: Agent, environments: int, rule: str | int | None = None) -> Call:
    """A call that makes the player act once in each of its environments, on what a random batch has seen."""
    player: PlayerDV3 = agent.learner.player
    first = {key: agent.batch[key][:1, :1] for key in agent.learner.observation_space.spaces}
    observation = {key: value.repeat(1, environments, *[1] * (value.dim() - 2)) for key, value in first.items()}
    player.num_envs = environments
    player.init_states()

    @torch.no_grad()
    def act() -> None:
        if rule is not None:
            player.actor.module.halting = rule
        player.get_actions(observation)

    return act
