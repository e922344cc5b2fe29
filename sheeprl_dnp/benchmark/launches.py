"""How many operations a gradient step and an action launch, and how often they wait: counted, the same on any machine.

On a GPU each operation is a kernel, and reading a tensor waits for all of them. Both are counted on the CPU, of agents
that compute what they would on a GPU (`PonderNet.static`). What this misses, `sheeprl_dnp.benchmark.gpu` finds there.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sheeprl_dnp.benchmark.agents import ESTIMATED, Settings, build_agent, variants
from sheeprl_dnp.benchmark.player import acting
from sheeprl_dnp.benchmark.timing import Call

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
    one = Settings(settings.size, (*settings.overrides, "algo.per_rank_batch_size=1"))
    baseline = build_agent(one, None)
    rows = {"dreamer_v3": (*count(baseline.step), *count(acting(baseline, 1)))}
    for variant in variants(max_halts, baseline.actions, ESTIMATED):
        on_progress(f"launches: {variant.name}")
        agent = build_agent(one, variant.max_halts, variant.step, static=True)
        rows[variant.name] = (*count(partial(agent.step, variant)), *count(acting(agent, 1, "sample")))
    columns = ["operations", "waits", "action_operations", "action_waits"]
    frame = pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("agent")
    of_dreamer_v3 = frame.loc["dreamer_v3"]
    for name, ratio in (("operations", "ratio"), ("action_operations", "action_ratio")):
        frame[ratio] = frame[name] / of_dreamer_v3[name]
    for name in ("waits", "action_waits"):
        frame[f"{name}_of_ours"] = (frame[name] - of_dreamer_v3[name]).clip(lower=0)
    return frame.reset_index()
