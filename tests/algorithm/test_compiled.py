"""`algo.compile`: what we compile is one graph each, compiled once."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from conftest import TINY_AGENT
from torch._dynamo.utils import counters

from sheeprl_dnp.benchmark.agents import Settings, Variant, build_agent
from sheeprl_dnp.dreamer_v3_ponder import dreamer_v3_ponder

SETTINGS = Settings("XS", "cpu", "32-true", False, tuple(TINY_AGENT))


@pytest.mark.parametrize("kind", ["all", "all_commit", "matched", "marginal", "dream"])
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
    variant, graphs = Variant(4, kind), []
    agent = build_agent(SETTINGS, variant.max_halts, variant.step)
    for _ in range(4):
        agent.step(variant)
        graphs.append(counters["stats"]["unique_graphs"])
    assert [function.__name__ for function in compiled] == ["imagine", "actor_loss", "critic_loss"]
    assert graphs == [3, 3, 3, 3]
