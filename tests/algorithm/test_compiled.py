"""`algo.compile`: what we compile is one graph each, compiled once; the player as often as DreamerV3's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import TINY_AGENT
from torch._dynamo.utils import counters

from sheeprl_dnp.benchmark.agents import Agent, Settings, variants
from sheeprl_dnp.dreamer_v3_ponder import dreamer_v3_ponder

SETTINGS = Settings("XS", tuple(TINY_AGENT))


@pytest.mark.parametrize("kind", ["all", "all_commit", "marginal", "dream"])
def test_imagination_and_losses_are_one_graph_each_and_compiled_once(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: dict[Callable, Callable] = {}

    def compile_whole(function: Callable, *_: Any) -> Callable:
        # A graph break would be an error
        return compiled.setdefault(function, torch.compile(function, backend="eager", fullgraph=True))

    torch._dynamo.reset()
    counters.clear()
    monkeypatch.setattr(dreamer_v3_ponder, "compiled", compile_whole)
    (ponder,), graphs = variants([4], 17, [kind]).values(), []
    agent = Agent(SETTINGS, ponder)
    for _ in range(4):
        agent.step()
        graphs.append(counters["stats"]["unique_graphs"])
    assert [function.__name__ for function in compiled] == ["imagine", "actor_loss", "critic_loss"]
    assert graphs == [3, 3, 3, 3]


@pytest.mark.parametrize(
    ("step", "rule"), [("refine", "sample"), ("dream", "sample"), pytest.param("dream", 3, marks=pytest.mark.slow)]
)
def test_the_compiled_player_is_one_graph(step: str, rule: str | int) -> None:
    torch._dynamo.reset()
    counters.clear()
    agent, graphs = Agent(SETTINGS, {"max_halts": 4, "step": step}), []
    player, steps = agent.learner.player, agent.learner.player.actor.module.steps
    player.actor.module.halting = rule
    player.num_envs = 1
    player.init_states()
    act = torch.compile(player.get_actions, backend="eager", fullgraph=True)
    observation = {key: agent.batch[key][:1, :1] for key in agent.learner.observation_space.spaces}
    for _ in range(3):
        for _ in range(2):
            with torch.inference_mode():  # as in a training: the first states, made outside it, are other tensors
                act(observation)
            graphs.append(counters["stats"]["unique_graphs"])
        assert 1 <= steps.compute_and_reset() <= 4
    assert graphs == [1, 2, 2, 2, 2, 2]
