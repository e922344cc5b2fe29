"""What was measured, for people: tables and a figure."""

from typing import Any

from matplotlib.figure import Figure

from sheeprl_dnp.benchmark.agents import Variant
from sheeprl_dnp.benchmark.gradient_step import PHASES
from sheeprl_dnp.report.plotting import COLOURS, legend, new_figure

Results = dict[str, Any]
RATIOS = [1, 2, 4, 8, 16]  # that the axes are labelled with
LABELS = {
    "all": "all roots, sample",
    "all_commit": "all roots, commit",
    "matched": "M/N roots, sample",
    "matched_commit": "M/N roots, commit",
    "marginal": "marginal",
    "dream": "dream, marginal",
}


def text(results: Results) -> str:
    """The report, in Markdown."""
    return "\n\n".join(block for block in (_head(results), _targets(results), *_sections(results)) if block) + "\n"


def _head(results: Results) -> str:
    settings, machine = results["settings"], results["machine"]
    where = machine["gpu"] if settings["device"] == "cuda" else f"{machine['cpu']}, {settings['threads']} threads"
    mode = "compiled" if settings["compile"] else "eager"
    overrides = f", `{' '.join(settings['overrides'])}`" if settings["overrides"] else ""
    return (
        f"# Benchmark: {settings['size']}, {mode}, {settings['precision']}\n\n"
        f"{where}; PyTorch {machine['torch']}, SheepRL {machine['sheeprl']}{overrides}. Ratios to SheepRL's DreamerV3 "
        "in the same run: medians of rounds, quartiles in brackets."
    )


def _targets(results: Results) -> str:
    rows = [[f"`{name}`", f"{value:.3g}"] for name, value in results["ratios"].items()]
    return "## Ratios\n\n" + table(["", "ratio"], rows)


def _sections(results: Results) -> list[str]:
    sections = []
    if "gradient_step" in results:
        sections.append("## Gradient step\n\n" + _gradient_steps(results["gradient_step"]))
    if "player" in results:
        sections.append("## Player\n\n" + _player(results["player"]))
    if "training" in results:
        sections.append("## Training\n\n" + _training(results["training"]))
    return sections


def _gradient_steps(measured: Results) -> str:
    header = ["", "time", "bound", "FLOPs", "peak memory", "seconds", *(f"{phase}, s" for phase in PHASES), "peak, MB"]
    rows = [
        [
            name,
            ratio(entry["ratio"]),
            *(f"{entry[key]:.2f}" if key in entry else "1" for key in ("bound", "flops_ratio", "memory_ratio")),
            f"{entry['seconds']['median']:.3f}",
            *(f"{entry['phase_seconds'][phase]:.3f}" for phase in PHASES),
            f"{entry['peak_bytes'] / 1e6:.0f}",
        ]
        for name, entry in measured.items()
    ]
    notes = (
        "The four columns after the name are ratios. Bound: DreamerV3's operations, with those of its behaviour times "
        "the number of trajectories to DreamerV3's. FLOPs: the operations of this agent. A phase has its updates; the "
        "rest of a step is in none. Peak memory: what a step has at most beyond what was there before it."
    )
    return table(header, rows) + "\n\n" + notes


def _player(measured: Results) -> str:
    rows = [
        [environments, rule, ratio(entry["ratio"]), f"{1e3 * entry['seconds']['median']:.2f}"]
        for environments, rules in measured.items()
        for rule, entry in rules.items()
    ]
    return table(["environments", "halts", "latency", "milliseconds"], rows)


def _training(measured: Results) -> str:
    rates = measured["environment_steps_per_second"]
    rows = [[f"`{measured['experiments'][name]}`", f"{rate:.1f}"] for name, rate in rates.items()]
    return table(["experiment", "environment steps per second"], rows)


def ratio(entry: Results) -> str:
    return f"{entry['median']:.2f} [{entry['low']:.2f}, {entry['high']:.2f}]"


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table whose columns are as wide as their cells, so that a terminal shows it too."""
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    aligned = [[cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in (header, *rows)]
    rule = ["-" * width for width in widths]
    return "\n".join("| " + " | ".join(row) + " |" for row in (aligned[0], rule, *aligned[1:]))


def growth_figure(results: Results) -> Figure:
    """How the time and the peak memory of a gradient step grow with N."""
    max_halts = results["settings"]["max_halts"]
    figure, axes = new_figure(8, 3.6, 1, 2)
    time, memory = axes[0]
    for colour, (kind, label) in zip(COLOURS, LABELS.items(), strict=False):
        entries = {n: results["gradient_step"].get(Variant(n, kind).name) for n in max_halts}
        numbers = [n for n, entry in entries.items() if entry]
        found = [entries[n] for n in numbers]
        style = {"color": colour, "marker": "o", "markersize": 4, "label": label}
        if kind == "all":
            bound = {"color": "#444444", "linestyle": ":", "label": "N times the behaviour's FLOPs"}
            time.plot(numbers, [entry["bound"] for entry in found], **bound)
        low, high = ([entry["ratio"][key] for entry in found] for key in ("low", "high"))
        time.fill_between(numbers, low, high, color=colour, alpha=0.18, linewidth=0)
        time.plot(numbers, [entry["ratio"]["median"] for entry in found], **style)
        memory.plot(numbers, [entry["memory_ratio"] for entry in found], **style)
    for axis, title in ((time, "time of a gradient step"), (memory, "peak memory of a gradient step")):
        axis.set(title=title, xlabel="N, ponder steps", ylabel="ratio to DreamerV3", xscale="log", yscale="log")
        axis.set_xticks(max_halts, [str(n) for n in max_halts])
        axis.set_yticks(RATIOS, [str(ratio) for ratio in RATIOS])
        axis.minorticks_off()
    legend(figure, time)
    return figure
