"""What bounds a gradient step on a GPU: time, launches, waits, how busy it is and with what, eager and compiled.

The CPU can stand in for the device: then operations stand for kernels, and nothing waits.
"""

import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Timer

from sheeprl_dnp.benchmark.agents import Agent, Settings, Variant, build_agent, variants
from sheeprl_dnp.benchmark.gradient_step import peak_memory
from sheeprl_dnp.benchmark.timing import Call, seconds_of, synchronize

# In the order of what is most wanted, since the time may not do for all
KINDS = ("marginal", "all", "dream")
TIMED, PROFILED = 2.0, 2  # seconds that a step is timed for, at least; steps that are profiled
LAUNCH = r"^(?:cuda|cu|hip)(?:LaunchKernel|GraphLaunch|Memcpy|Memset)"  # of the host
TOP = 8  # kernels


def measure_gpu(
    settings: Sequence[Settings], max_halts: Sequence[int], on_progress: Callable[[str], None]
) -> Iterator[dict[str, pd.DataFrame]]:
    """Measures DreamerV3 and ours with each of some settings.

    Yields:
        After each agent, what is measured so far: of `steps` a row for each size, mode and agent, whose `ratio` is to
        the first DreamerV3 of the size, and the `kernels` that take most of them.
    """
    steps, kernels = [], []
    for setting in settings:
        ours = variants(max_halts, build_agent(setting, None).actions, KINDS)
        chosen: list[Variant | None] = [*sorted(ours, key=lambda variant: variant.max_halts == 1)]
        chosen.insert(len(chosen) if setting.compile else 0, None)
        for variant in chosen:
            name = variant.name if variant else "dreamer_v3"
            of = {"size": setting.size, "mode": "compiled" if setting.compile else "eager", "agent": name}
            on_progress(" ".join(of.values()))
            row, top = measure_agent(setting, variant)
            steps.append(of | row)
            kernels.append(top.assign(**of))
            yield {"steps": with_ratios(pd.DataFrame(steps)), "kernels": pd.concat(kernels, ignore_index=True)}


def with_ratios(steps: pd.DataFrame) -> pd.DataFrame:
    first = steps[steps["agent"] == "dreamer_v3"].drop_duplicates("size").set_index("size")["seconds"]
    return steps.assign(ratio=steps["seconds"] / steps["size"].map(first))


def measure_agent(settings: Settings, variant: Variant | None) -> tuple[dict[str, Any], pd.DataFrame]:
    """The figures of a gradient step, and its top kernels; no more than a note where the memory doesn't do."""
    torch._dynamo.reset()  # each agent is compiled as if it were the only one
    try:
        agent = build_agent(settings, *((variant.max_halts, variant.step) if variant else (None,)))
        step, device = partial(agent.step, variant), agent.batch["actions"].device
        first = sum(seconds_of(step, device) for _ in range(3))  # compiles, and captures CUDA graphs
        seconds = Timer("step()", globals={"step": step}).blocked_autorange(min_run_time=TIMED).median
        events, top = profiled(step, device)
        busy = {"busy": events.pop("device_seconds") / seconds}
        row = {
            "seconds": seconds,
            **busy,
            **events,
            "peak_MB": peak_memory(step, device) / 1e6,
            "first_3_seconds": first,
        }
        if not settings.compile:
            row |= {"waits": waits(step, device), "first_wait_of_ours": variant and first_wait(agent, step, device)}
        return row, top
    except torch.OutOfMemoryError:
        return {"seconds": float("nan"), "note": "out of memory"}, pd.DataFrame()


def profiled(step: Call, device: torch.device) -> tuple[dict[str, Any], pd.DataFrame]:
    """See `profile_summary`."""
    kinds = {ProfilerActivity.CPU: DeviceType.CPU}
    if device.type == "cuda":
        kinds[ProfilerActivity.CUDA] = DeviceType.CUDA
    with profile(activities=[*kinds]) as profiler:
        for _ in range(PROFILED):
            step()
        synchronize(device)
    kernel = [*kinds.values()][-1]
    events = [
        # The names of ranges of the host, which the device repeats, have a #
        (
            event.name,
            event.time_range.start,
            event.time_range.end,
            event.device_type == kernel and "#" not in event.name,
        )
        for event in profiler.events()
    ]
    return profile_summary(pd.DataFrame(events, columns=["name", "start", "end", "kernel"]), PROFILED)


def profile_summary(events: pd.DataFrame, steps: int) -> tuple[dict[str, Any], pd.DataFrame]:
    """What the events of some gradient steps say of one.

    Args:
        events: their `name`, `start` and `end` in microseconds, and whether they are a `kernel` of the device.

    Returns:
        `launches` by the host, `kernels`, and the `device_seconds` in which at least one of them ran; and the kernels
        that take most time: the `kernel`, its `calls`, and its `share` of the time of all.
    """
    kernels = events[events["kernel"]].sort_values("start")
    free = kernels["end"].astype(float).cummax().shift(fill_value=float("-inf"))  # since when nothing before runs
    busy = (kernels["end"] - kernels["start"].clip(lower=free)).clip(lower=0).sum()
    seconds = (kernels["end"] - kernels["start"]).groupby(kernels["name"]).agg(["count", "sum"])
    top = seconds.nlargest(TOP, "sum").rename_axis("kernel").reset_index()
    launches = events["name"].str.contains(LAUNCH).sum() / steps
    row = {"launches": launches, "kernels": len(kernels) / steps, "device_seconds": busy / 1e6 / steps}
    shares = {"calls": top["count"] / steps, "share": top["sum"] / seconds["sum"].sum()}
    return row, top[["kernel"]].assign(**shares)


@contextmanager
def sync_debug_mode(mode: str, device: torch.device) -> Iterator[Callable[[str], None]]:
    """Tells of waits in a mode, which can be changed; the CPU waits for nothing."""
    choose = torch.cuda.set_sync_debug_mode if device.type == "cuda" else lambda mode: None
    choose(mode)
    try:
        yield choose
    finally:
        choose("default")


def waits(step: Call, device: torch.device) -> int:
    """How often a step waits for the device, DreamerV3's own waits included."""
    with warnings.catch_warnings(record=True) as caught, sync_debug_mode("warn", device):
        warnings.simplefilter("always")
        step()
    return sum("synchronizing" in str(warning.message) for warning in caught)


def first_wait(agent: Agent, step: Call, device: torch.device) -> str:
    """Where the behaviour learning waits for the device first, from the first imagined action on; `none` if nowhere.

    What comes before is SheepRL's: it reads the norm of the world model's gradients.
    """
    with sync_debug_mode("default", device) as choose:
        begin = agent.learner.actor.register_forward_pre_hook(lambda *_: choose("error"))
        end = agent.learner.optimizers[-1].optimizer.register_step_post_hook(lambda *_: choose("default"))
        try:
            step()
        except RuntimeError as error:
            if "synchronizing" not in str(error):
                raise
            frame = traceback.extract_tb(error.__traceback__)[-1]
            return f"{frame.filename}:{frame.lineno}"
        finally:
            begin.remove()
            end.remove()
    return "none"
