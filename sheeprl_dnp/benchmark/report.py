"""What was measured, for people: tables and a figure."""

from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from sheeprl_dnp.benchmark.gradient_step import with_kinds
from sheeprl_dnp.report.markdown import NONE, table
from sheeprl_dnp.report.plotting import COLOURS, legend, new_figure

# By part: its title, and what its table means
SECTIONS = {
    "launches": (
        "Launches",
        "Operations (views left out) and waits of a gradient step, and of an action that halts by itself, as a GPU "
        "would get them. Counted on the CPU: its own checks are among DreamerV3's waits. Of ours: beyond those.",
    ),
    "gradient_step": (
        "Gradient step",
        "Ratios, quartiles beside them; seconds, also of the phases with their updates; the most memory that a step "
        "had beyond what was there before. Bound: what N times the behaviour of DreamerV3 is in FLOPs.",
    ),
    "player": ("Player", "The latency of an action in so many environments."),
    "training": ("Training", "Environment steps per second, playing and learning."),
    "steps": (
        "Gradient step on the GPU",
        "Ratio: to the eager DreamerV3 of the size. Busy: the share of the time that the kernels take. Launches by "
        "the host. Waits: DreamerV3's own included; where the behaviour learning waits first.",
    ),
    "kernels": ("Top kernels", "Calls in a step, and the share of the time of all kernels."),
}
# What the names of kernels begin with, and how much of them is shown
NAMESPACES, NAME = r"^void |at::native::|\(anonymous namespace\)::", 60


def text(results: dict[str, Any]) -> str:
    """The report, in Markdown."""
    settings, machine = results["settings"], results["machine"]
    where = machine["gpu"] if settings["device"] == "cuda" else f"{machine['cpu']}, {settings['threads']} threads"
    overrides = f", `{' '.join(settings['overrides'])}`" if settings["overrides"] else ""
    ratios = pd.DataFrame({"ratio": results["ratios"]}).rename_axis("agent").reset_index()
    blocks = [
        f"# Benchmark: {settings['size']}, {settings['precision']}",
        f"{where}; PyTorch {machine['torch']}, SheepRL {machine['sheeprl']}{overrides}. Ratios to SheepRL's DreamerV3 "
        "in the same run, medians.",
        f"## Ratios\n\n{table(cells(ratios))}",
    ]
    for part, (title, note) in SECTIONS.items():
        if part in results and len(results[part]):
            blocks += [f"## {title}", table(cells(results[part])), note]
    return "\n\n".join(blocks) + "\n"


def cells(measured: pd.DataFrame) -> pd.DataFrame:
    """The texts of a table, whose first column heads the rows."""
    shown = measured.map(lambda value: NONE if pd.isna(value) else number(value) if isinstance(value, float) else value)
    if "kernel" in shown:
        shown["kernel"] = shown["kernel"].str.replace(NAMESPACES, "", regex=True).str.slice(stop=NAME)
    shown.columns = [name.replace("_", " ") for name in shown.columns]
    return shown.set_index(shown.columns[0])


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def growth_figure(measured: pd.DataFrame) -> Figure:
    """How the time and the peak memory of a gradient step grow with N, by kind of variant, and the bound of `all`."""
    figure, axes = new_figure(8, 3.6, 1, 2)
    found = with_kinds(measured)
    bound = found[found["kind"] == "all"].assign(kind="bound", ratio=found["bound"], memory=float("nan"))
    for axis, column, title in zip(axes[0], ("ratio", "memory"), ("time", "peak memory"), strict=True):
        lines = pd.concat([found, bound]).pivot(index="N", columns="kind", values=column)
        lines.plot(ax=axis, logx=True, logy=True, marker="o", markersize=4, legend=False, color=COLOURS)
        axis.set(title=f"{title} of a gradient step", xlabel="N, ponder steps", ylabel="ratio to DreamerV3")
        axis.set_xticks(lines.index, [str(n) for n in lines.index])
        axis.yaxis.set_major_formatter("{x:g}")
        axis.minorticks_off()
    legend(figure, axes[0][0])
    return figure
