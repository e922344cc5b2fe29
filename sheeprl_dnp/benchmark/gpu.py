"""What bounds a gradient step on a GPU: time, launches, waits, how busy it is and with what, eager and compiled.

The CPU can stand in for the device: then operations stand for kernels, and nothing waits.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.benchmark import Timer

from sheeprl_dnp.benchmark.agents import Agent, Ponder, Settings, environment, variants
from sheeprl_dnp.benchmark.gradient_step import peak_memory
from sheeprl_dnp.benchmark.timing import Call, seconds_of, synchronize

# In the order of what is most wanted, since the time may not do for all
KINDS = ("marginal", "all", "dream")
TIMED = 2.0  # seconds that a step is timed for, at least
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
        ours = variants(max_halts, int(environment(setting.config(None)).action_space.n), KINDS)
        names = [*sorted(ours, key=lambda name: name == "n1")]
        names.insert(len(names) if setting.compile else 0, "dreamer_v3")
        for name in names:
            of = {"size": setting.size, "mode": "compiled" if setting.compile else "eager", "agent": name}
            on_progress(" ".join(of.values()))
            row, top = measure_agent(setting, ours.get(name))
            steps.append(of | row)
            kernels.append(top.assign(**of))
            yield {"steps": with_ratios(pd.DataFrame(steps)), "kernels": pd.concat(kernels, ignore_index=True)}


def with_ratios(steps: pd.DataFrame) -> pd.DataFrame:
    first = steps[steps["agent"] == "dreamer_v3"].drop_duplicates("size").set_index("size")["seconds"]
    return steps.assign(ratio=steps["seconds"] / steps["size"].map(first))


def measure_agent(settings: Settings, ponder: Ponder | None) -> tuple[dict[str, Any], pd.DataFrame]:
    """The figures of a gradient step, and its top kernels; no more than a note where the memory doesn't do."""
    torch._dynamo.reset()  # each agent is compiled as if it were the only one
    try:
        agent = Agent(settings, ponder)
        first = sum(seconds_of(agent.step, agent.device) for _ in range(3))  # compiles, and captures CUDA graphs
        seconds = median_seconds(agent.step)
        row, top = profiled(agent.step, agent.device)
        row = {"seconds": seconds, "busy": row.pop("device_seconds") / seconds, **row}
        row |= {"peak_MB": peak_memory(agent.step, agent.device) / 1e6, "first_3_seconds": first}
        return row | ({} if settings.compile else waits(agent)), top
    except torch.OutOfMemoryError:
        return {"seconds": float("nan"), "note": "out of memory"}, pd.DataFrame()


def median_seconds(step: Call) -> float:
    """Of a call. With the number of threads as it is: a compiled step is compiled again where that changes."""
    timer = Timer("step()", globals={"step": step}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=TIMED).median


def profiled(step: Call, device: torch.device) -> tuple[dict[str, float], pd.DataFrame]:
    """See `profile_summary`."""
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        step()
        synchronize(device)
    kernel, time = (DeviceType.CUDA, "self_device_time_total") if on_gpu else (DeviceType.CPU, "self_cpu_time_total")
    events = [
        # The names of ranges of the host, which the device repeats, have a #
        (event.key, event.count, getattr(event, time) / 1e6, event.device_type == kernel and "#" not in event.key)
        for event in profiler.key_averages()
    ]
    return profile_summary(pd.DataFrame(events, columns=["kernel", "calls", "seconds", "on_device"]))


def profile_summary(events: pd.DataFrame) -> tuple[dict[str, float], pd.DataFrame]:
    """What the events of a gradient step say of it.

    Args:
        events: by name (`kernel`), their `calls` and `seconds`, and whether they are kernels `on_device`.

    Returns:
        `launches` by the host, `kernels`, and the `device_seconds` of all of these; and the kernels that take most
        time: the `kernel`, its `calls`, and its `share` of the time of all.
    """
    launched, kernels = events[events["kernel"].str.contains(LAUNCH)], events[events["on_device"]]
    seconds = kernels["seconds"].sum()
    row = {"launches": launched["calls"].sum(), "kernels": kernels["calls"].sum(), "device_seconds": seconds}
    top = kernels.nlargest(TOP, "seconds").assign(share=lambda found: found["seconds"] / seconds)
    return row, top[["kernel", "calls", "share"]].reset_index(drop=True)


def waits(agent: Agent) -> dict[str, Any]:
    """How often a step waits for the device (`waits`), and which line of its behaviour learning does first.

    That is from the first imagined action on: before it, SheepRL reads the norm of the world model's gradients.
    """
    marks: list[int] = []  # how many waits there were at each action, and at the end
    mode = torch.cuda.set_sync_debug_mode if agent.device.type == "cuda" else lambda mode: None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("always", message=".*synchronizing")
        begin = agent.learner.actor.register_forward_pre_hook(lambda *_: marks.append(len(caught)))
        end = agent.learner.optimizers[-1].optimizer.register_step_post_hook(lambda *_: marks.append(len(caught)))
        mode("warn")
        try:
            agent.step()
        finally:
            mode("default")
            begin.remove()
            end.remove()
    lines = [f"{Path(warning.filename).name}:{warning.lineno}" for warning in caught[marks[0] : marks[-1]]]
    return {"waits": len(caught), "first_wait": lines[0] if lines else "none"}
