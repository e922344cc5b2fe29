"""The latency of the player: of DreamerV3, and of ours where it halts after a forced number of steps, or by itself."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from sheeprl.algos.dreamer_v3.agent import PlayerDV3

from sheeprl_dnp.benchmark.agents import Agent
from sheeprl_dnp.benchmark.timing import Call, alternate, spread

ENVIRONMENTS = (1, 16)


def measure_player(
    baseline: Agent,
    pondering: dict[str, Agent],
    *,
    halting: Sequence[str | int],
    rounds: int,
    turn: float,
    device: torch.device,
    on_progress: Callable[[str], None],
) -> dict[str, Any]:
    """By number of environments, then by step and rule (`dreamer_v3`, `refine_1`, ...): seconds per call, and ratios.

    Args:
        pondering: by what a ponder step does.
        halting: the rules that are measured, of those of `algo.ponder.halting`.
        turn: the seconds that a turn takes at least.
    """
    measured = {}
    for environments in ENVIRONMENTS:
        on_progress(f"player: {environments} environments")
        reference = acting(baseline, environments)
        calls: dict[str, Call] = {
            f"{step}_{rule}": acting(agent, environments, rule) for step, agent in pondering.items() for rule in halting
        }
        *_, timings = alternate(reference, calls, rounds=rounds, turn=turn, device=device)
        measured[str(environments)] = {
            {"reference": "dreamer_v3"}.get(name, name): {
                "seconds": spread(timing.seconds)._asdict(),
                "ratio": spread(timing.ratios or [1.0])._asdict(),
            }
            for name, timing in timings.items()
        }
    return measured


def acting(agent: Agent, environments: int, rule: str | int | None = None) -> Call:
    """A call that makes the player act once in each of its environments, on what a random batch has seen."""
    player: PlayerDV3 = agent.learner.player
    keys = agent.learner.observation_space.spaces
    observation = {
        key: value[:1].repeat(1, environments, *[1] * (value.dim() - 2))[:, :environments]
        for key, value in agent.batch.items()
        if key in keys
    }

    player.num_envs = environments
    player.init_states()

    @torch.no_grad()
    def act() -> None:
        if rule is not None:
            player.actor.module.halting = rule
        player.get_actions(observation)

    return act
