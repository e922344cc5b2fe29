"""The latency of the player: of DreamerV3, and of ours where it halts after a forced number of steps, or by itself."""

from collections.abc import Callable, Sequence

import pandas as pd
import torch
from sheeprl.algos.dreamer_v3.agent import PlayerDV3

from sheeprl_dnp.benchmark.agents import Agent, Settings, variants
from sheeprl_dnp.benchmark.timing import Call, compare

ENVIRONMENTS = (1, 16)
FORCED = (1, 2, 4, 8)  # ponder steps
TURN = 0.1  # seconds, at least


def measure_player(
    settings: Settings, max_halts: Sequence[int], rounds: int, on_progress: Callable[[str], None]
) -> pd.DataFrame:
    """By number of environments, then by step and rule (`dreamer_v3`, `halt_1`, `dream_sample`): ratios, and seconds.

    The agents are those of the greatest number of ponder steps up to 8.
    """
    baseline, rows = Agent(settings), []
    most = max((n for n in max_halts if n <= FORCED[-1]), default=min(max_halts))
    rules: list[str | int] = [*(n for n in FORCED if n <= most), "sample"]
    ours = variants([most], baseline.actions, ("dream", "all"))
    # That of the default step has the plain name
    agents = {("dream" if "dream" in name else "halt"): Agent(settings, ponder) for name, ponder in ours.items()}
    for environments in ENVIRONMENTS:
        on_progress(f"player: {environments} environments")
        reference = acting(baseline, environments)
        calls = {
            f"{step}_{rule}": acting(agent, environments, rule) for step, agent in agents.items() for rule in rules
        }
        for name, call in {"dreamer_v3": reference, **calls}.items():
            timing = compare(reference, call, rounds=3 * rounds, turn=TURN, device=baseline.device)
            rows.append({"environments": environments, "agent": name, **timing})
    return pd.DataFrame(rows)


def acting(agent: Agent, environments: int, rule: str | int | None = None) -> Call:
    """A call that makes the player act once in each of its environments, on what a random batch has seen."""
    player: PlayerDV3 = agent.learner.player
    first = {key: agent.batch[key][:1, :1] for key in agent.learner.observation_space.spaces}
    observation = {key: value.repeat(1, environments, *[1] * (value.dim() - 2)) for key, value in first.items()}

    @torch.no_grad()
    def act() -> None:
        if rule is not None:
            player.actor.module.halting = rule
        player.get_actions(observation)

    player.num_envs = environments
    player.init_states()
    return act
