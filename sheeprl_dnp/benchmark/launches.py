"""How many operations a gradient step and an action launch, and how often they wait: counted, the same on any machine.

On a GPU each operation is a kernel, and reading a tensor waits for all of them. Both are counted on the CPU, of agents
that compute what they would on a GPU (`PonderNet.static`). What this misses, `sheeprl_dnp.benchmark.gpu` finds there.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sheeprl_dnp.benchmark.agents import Agent, Settings, variants
from sheeprl_dnp.benchmark.player import acting
from sheeprl_dnp.benchmark.timing import Call

KINDS = ("all", "marginal", "dream", "dream_all")  # each step with each estimator
WAITS = {"_local_scalar_dense", "_unique2", "bincount", "equal", "is_nonzero", "masked_select", "nonzero"}
INDEXED = {"_index_put_impl_", "index", "index_put", "index_put_"}  # they wait where they are given a mask
NO_KERNELS = {"_unsafe_view", "promote_types", "result_type"}


class Launches(TorchDispatchMode):
    """Counts the operations, without views, and those of them that wait for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.operations = self.waits = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = function.overloadpacket.__name__
        self.operations += not function.is_view and name not in NO_KERNELS
        masked = name in INDEXED and any(part is not None and part.dtype == torch.bool for part in args[1])
        self.waits += name in WAITS or masked
        return function(*args, **(kwargs or {}))


def count(call: Call) -> tuple[int, int]:
    """Its operations and its waits, the second time that it is called."""
    call()
    with Launches() as launches:
        call()
    return launches.operations, launches.waits


def measure_launches(settings: Settings, max_halts: Sequence[int], on_progress: Callable[[str], None]) -> pd.DataFrame:
    """By agent: the operations of a gradient step and of an action, their ratios to DreamerV3's, the waits beyond its.

    The operations don't depend on the size of a batch: it has one sequence.
    """
    one = replace(settings, overrides=(*settings.overrides, "algo.per_rank_batch_size=1"))
    baseline = Agent(one)
    rows = [("dreamer_v3", *count(baseline.step), *count(acting(baseline, 1)))]
    for name, ponder in variants(max_halts, baseline.actions, KINDS).items():
        on_progress(f"launches: {name}")
        agent = Agent(one, ponder, static=True)
        rows.append((name, *count(agent.step), *count(acting(agent, 1, "sample"))))
    counted = pd.DataFrame(rows, columns=["agent", "operations", "waits", "action_operations", "action_waits"])
    ratios, beyond = counted.iloc[:, 1:] / counted.iloc[0, 1:], counted.iloc[:, 1:] - counted.iloc[0, 1:]
    return counted.assign(
        ratio=ratios["operations"].astype(float),
        action_ratio=ratios["action_operations"].astype(float),
        waits_of_ours=beyond["waits"].clip(lower=0).astype(int),
        action_waits_of_ours=beyond["action_waits"].clip(lower=0).astype(int),
    )
