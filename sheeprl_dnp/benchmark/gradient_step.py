"""The time and the memory of gradient steps, their phases, and the bounds that their operations set."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any
from unittest import mock

import torch
from sheeprl.algos.dreamer_v3 import dreamer_v3
from torch.profiler import ProfilerActivity, profile

from sheeprl_dnp.benchmark.agents import Agent, Variant
from sheeprl_dnp.benchmark.timing import Call, Timing, alternate, exponent, spread, synchronize
from sheeprl_dnp.dreamer_v3_ponder import dreamer_v3_ponder

PHASES = ("world model", "imagination", "actor", "critic")
SLOW = 2.0  # seconds of a step whose phases are measured once


def measure_gradient_steps(
    baseline: Agent,
    agents: dict[tuple[str, int], Agent],
    variants: list[Variant],
    *,
    rounds: int,
    turn: float,
    device: torch.device,
    on_progress: Callable[[str], None],
) -> dict[str, Any]:
    """By name: `dreamer_v3`, and each variant.

    Args:
        agents: by what a ponder step does, and their number of them.
        turn: the seconds that a turn takes at least.
    """
    reference = baseline.step
    steps: dict[str, Call] = {v.name: lambda v=v: agents[v.step, v.max_halts].step(v) for v in variants}
    timings: dict[str, Timing] = {}
    for done, timings in enumerate(alternate(reference, steps, rounds=rounds, turn=turn, device=device), start=1):  # noqa: B007
        on_progress(f"gradient steps: round {done} of {rounds}")
    measured: dict[str, dict[str, Any]] = {}
    for name, step in {"dreamer_v3": reference, **steps}.items():
        on_progress(f"phases and memory: {name}")
        timing = timings["reference" if name == "dreamer_v3" else name]
        measured[name] = {
            "seconds": spread(timing.seconds)._asdict(),
            "ratio": spread(timing.ratios or [1.0])._asdict(),
            "phase_seconds": phases(step, device, steps=1 if min(timing.seconds) > SLOW else 3),
            "peak_bytes": peak_memory(step, device),
        }
    for variant in variants:
        measured[variant.name] |= bounds(
            baseline.flops, agents[variant.step, variant.max_halts].flops_of(variant), variant
        )
        peak = measured[variant.name]["peak_bytes"]
        measured[variant.name]["memory_ratio"] = peak / measured["dreamer_v3"]["peak_bytes"]
    return measured


def bounds(dreamer_v3_flops: dict[str, Any], flops: dict[str, Any], variant: Variant) -> dict[str, float]:
    """What to expect of a variant, as ratios to DreamerV3.

    `flops_ratio`: by its own counted operations. `bound`: where it imagines N trajectories from each root, if N cost N
    times what one does; else the same.
    """
    total = dreamer_v3_flops["per_gradient_step"]
    counted = flops["per_gradient_step"] / total
    if variant.trajectories == 1:
        return {"bound": counted, "flops_ratio": counted}
    trajectories = 1 if "matched" in variant.kind else variant.max_halts
    behaviour = trajectories * dreamer_v3_flops["behaviour"]
    return {"bound": (dreamer_v3_flops["world_model"] + behaviour) / total, "flops_ratio": counted}


@contextmanager
def marked(marks: list[float], device: torch.device) -> Iterator[None]:
    """Notes the time when the imagination begins, when it ends, and when the critic's loss begins."""

    def mark() -> None:
        synchronize(device)
        marks.append(time.perf_counter())

    def marking(compiled: Callable[..., Callable]) -> Callable[..., Callable]:
        def choose(function: Callable, *args: Any) -> Callable:
            chosen, name = compiled(function, *args), function.__name__

            def call(*inputs: Any, **kwargs: Any) -> Any:
                if name in ("imagine", "critic_loss"):
                    mark()
                result = chosen(*inputs, **kwargs)
                if name == "imagine":
                    mark()
                return result

            return call

        return choose

    with (
        mock.patch.object(dreamer_v3, "compiled", marking(dreamer_v3.compiled)),
        mock.patch.object(dreamer_v3_ponder, "compiled", marking(dreamer_v3_ponder.compiled)),
    ):
        mark()
        yield
        mark()


def phases(step: Call, device: torch.device, steps: int) -> dict[str, float]:
    """The seconds of each phase, their updates included: medians over so many steps."""
    seconds: list[list[float]] = []
    for _ in range(steps):
        marks: list[float] = []
        with marked(marks, device):
            step()
        seconds.append([end - start for start, end in pairwise(marks)])
    medians = (spread(list(values)).median for values in zip(*seconds, strict=True))
    return dict(zip(PHASES, medians, strict=True))


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


def growth_exponents(measured: dict[str, Any]) -> dict[str, float]:
    """Of time and memory with N, from 2 ponder steps on, by kind of variant."""
    exponents = {}
    for kind in ("all", "marginal", "dream"):
        entries = {
            int(name[1 : -len(kind) - 1]): entry for name, entry in measured.items() if name.endswith(f"_{kind}")
        }
        if len(entries) > 1:
            exponents[f"{kind}_time_exponent"] = exponent({n: e["ratio"]["median"] for n, e in entries.items()})
            exponents[f"{kind}_memory_exponent"] = exponent({n: e["peak_bytes"] for n, e in entries.items()})
    return exponents
