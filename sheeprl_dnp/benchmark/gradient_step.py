"""The time and the memory of gradient steps, their phases, and the bounds that their operations set."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile

from sheeprl_dnp.benchmark.agents import Agent, Variant
from sheeprl_dnp.benchmark.timing import Call, alternate, exponent, summary, synchronize
from sheeprl_dnp.learner import Learner

PHASES = ("world model", "imagination", "actor", "critic")


def measure_gradient_steps(
    baseline: Agent,
    agents: dict[tuple[str, int], Agent],
    variants: list[Variant],
    *,
    device: torch.device,
    on_progress: Callable[[str], None],
    **turns: Any,
) -> pd.DataFrame:
    """By agent, `dreamer_v3` and each variant: ratios to DreamerV3's time, FLOPs and memory, and what they are of.

    Args:
        agents: by what a ponder step does, and their number of them.
        turns: as for `alternate`.
    """
    of = {variant.name: (agents[variant.step, variant.max_halts], variant) for variant in variants}
    steps: dict[str, Call] = {name: partial(agent.step, variant) for name, (agent, variant) in of.items()}
    for done, timings in enumerate(alternate(baseline.step, steps, device=device, **turns), start=1):  # noqa: B007
        on_progress(f"gradient steps: round {done} of {turns['rounds']}")
    flops, rows = baseline.flops(), {}
    for name, (agent, variant) in {"dreamer_v3": (baseline, None), **of}.items():
        on_progress(f"phases and memory: {name}")
        step = steps.get(name, baseline.step)
        bound, own = bounds(flops, agent.flops(variant), variant) if variant else (1, 1)
        rows[name] = {
            "bound": bound,
            "flops": own,
            **dict(zip(PHASES, phases(agent.learner, step, device), strict=True)),
            "peak_MB": peak_memory(step, device) / 1e6,
        }
    measured = summary(timings).join(pd.DataFrame.from_dict(rows, orient="index"))
    measured["memory"] = measured["peak_MB"] / measured.loc["dreamer_v3", "peak_MB"]
    return measured.reset_index()


def bounds(dreamer_v3: dict[str, Any], ours: dict[str, Any], variant: Variant) -> tuple[float, float]:
    """What to expect of a variant, from counted operations as ratios to DreamerV3's.

    First the bound: where it imagines N trajectories from each root, if N cost N times what one does; else the same as
    the second, which is of its own operations.
    """
    total = dreamer_v3["per_gradient_step"]
    counted = ours["per_gradient_step"] / total
    if variant.ponder["estimator"] == "marginal":
        return counted, counted
    trajectories = 1 if "matched" in variant.kind else variant.max_halts
    return (dreamer_v3["world_model"] + trajectories * dreamer_v3["behaviour"]) / total, counted


def phases(learner: Learner, step: Call, device: torch.device, steps: int = 2) -> list[float]:
    """The seconds of each phase, a mean over steps: up to its update, or to where the returns are normalised."""
    marks: list[float] = []

    def mark(*_: Any) -> None:
        synchronize(device)
        marks.append(time.perf_counter())

    hooks = [fabric_optimizer.optimizer.register_step_post_hook(mark) for fabric_optimizer in learner.optimizers]
    hooks.append(learner.moments.register_forward_pre_hook(mark))
    for _ in range(steps):
        mark()
        step()
    for hook in hooks:
        hook.remove()
    return np.diff(np.reshape(marks, (steps, -1))).mean(0).tolist()


def peak_memory(step: Call, device: torch.device) -> int:
    """The most bytes that a gradient step had at one time, beyond those that were there before it."""
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = torch.tensor([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())])
    return int(changes.cumsum(0).max())


def growth_exponents(measured: pd.DataFrame) -> dict[str, float]:
    """Of time and memory with N, from 2 ponder steps on: of all roots, then by the name of the kind of variant."""
    exponents, measured = {}, measured.set_index("agent")
    for kind, prefix in (("all", ""), ("marginal", "marginal_"), ("dream", "dream_")):
        entries = measured.filter(regex=rf"^n\d+_{kind}$", axis=0)
        max_halts = [int(name[1:].split("_")[0]) for name in entries.index]
        if len(entries) > 1:
            for name, column in (("time", "ratio"), ("memory", "peak_MB")):
                growth = dict(zip(max_halts, entries[column], strict=True))
                exponents[f"{prefix}{name}_exponent"] = exponent(growth)
    return exponents
