"""The time and the memory of gradient steps, their phases, and the bounds that their operations set."""

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.profiler import ProfilerActivity, profile

from sheeprl_dnp.benchmark.agents import Agent, Ponder, Settings, variants
from sheeprl_dnp.benchmark.timing import Call, compare, synchronize

KINDS = ("all", "matched", "all_commit", "matched_commit", "marginal", "dream")
PHASES = ("world model", "imagination", "actor", "critic")
GROWING = {"all": "", "marginal": "marginal_", "dream": "dream_"}  # the kinds whose growth is told, with their prefix
TURN = 0.8  # seconds, at least


def measure_gradient_steps(
    settings: Settings, max_halts: Sequence[int], rounds: int, on_progress: Callable[[str], None]
) -> pd.DataFrame:
    """By agent, `dreamer_v3` (beside itself) and ours: ratios to DreamerV3's time, FLOPs and memory."""
    baseline = Agent(settings)
    flops, rows = baseline.flops(), []
    for name, ponder in {"dreamer_v3": None, **variants(max_halts, baseline.actions, KINDS)}.items():
        on_progress(f"gradient step: {name}")
        agent = Agent(settings, ponder) if ponder else baseline
        timing = compare(baseline.step, agent.step, rounds=rounds, turn=TURN, device=agent.device)
        bound, own = bounds(flops, agent.flops(), ponder) if ponder else (1.0, 1.0)
        row = {"agent": name, **timing, "bound": bound, "flops": own, **phases(agent)}
        rows.append(row | {"peak_MB": peak_memory(agent.step, agent.device) / 1e6})
    measured = pd.DataFrame(rows)
    return measured.assign(memory=measured["peak_MB"] / measured["peak_MB"][0])


def bounds(dreamer_v3: dict[str, Any], ours: dict[str, Any], ponder: Ponder) -> tuple[float, float]:
    """What to expect of ours, from counted operations as ratios to DreamerV3's.

    First the bound: where it imagines N trajectories from each root, if N cost N times what one does; else the same as
    the second, which is of its own operations.
    """
    total = dreamer_v3["per_gradient_step"]
    counted = ours["per_gradient_step"] / total
    if ponder.get("estimator") == "marginal":
        return counted, counted
    trajectories = ponder["max_halts"] if ponder.get("roots", "all") == "all" else 1
    return (dreamer_v3["world_model"] + trajectories * dreamer_v3["behaviour"]) / total, counted


def phases(agent: Agent, steps: int = 2) -> dict[str, float]:
    """The seconds of each phase, a mean over steps: up to its update, or to where the returns are normalised."""
    marks: list[float] = []

    def mark(*_: Any) -> None:
        synchronize(agent.device)
        marks.append(time.perf_counter())

    hooks = [wrapped.optimizer.register_step_post_hook(mark) for wrapped in agent.learner.optimizers]
    hooks.append(agent.learner.moments.register_forward_pre_hook(mark))
    for _ in range(steps):
        mark()
        agent.step()
    for hook in hooks:
        hook.remove()
    return dict(zip(PHASES, np.diff(np.reshape(marks, (steps, -1))).mean(0).tolist(), strict=True))


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


def with_kinds(measured: pd.DataFrame) -> pd.DataFrame:
    """Ours alone, with their `N` and their `kind`, which is `all` of one ponder step."""
    names = measured["agent"].str.extract(r"^n(?P<N>\d+)_?(?P<kind>\w*)$").replace("", "all")
    return measured.join(names).dropna(subset="N").astype({"N": int})


def growth_exponents(measured: pd.DataFrame) -> dict[str, float]:
    """Of time and memory with N, from 2 ponder steps on: of all roots, then by the name of the kind."""
    several, exponents = with_kinds(measured).query("N > 1"), {}
    for kind, prefix in GROWING.items():
        own = several[several["kind"] == kind]
        if len(own) > 1:
            exponents[f"{prefix}time_exponent"] = exponent(own["N"], own["ratio"])
            exponents[f"{prefix}memory_exponent"] = exponent(own["N"], own["peak_MB"])
    return exponents


def exponent(x: pd.Series, y: pd.Series) -> float:
    """The slope of a line through `log y` over `log x`, by least squares: y grows like x to this power."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])
