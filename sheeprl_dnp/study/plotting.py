"""What the figures of a report share: colours that colour-blind people tell apart, intervals, legends."""

from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Results = dict[str, Any]

# Okabe and Ito, without the yellow, which is too light for lines
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SHADES = "cividis"  # of ordered things: ponder steps, difficulties
STYLE = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "savefig.dpi": 150,
}
THOUSAND = 1000


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **kwargs: Any) -> tuple[Figure, Any]:
    """A figure of so many inches, and its axes: an array [rows, columns]."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=STYLE["savefig.dpi"])
        axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    return figure, axes


def arm_style(results: Results, arm: str) -> dict[str, Any]:
    """The same in all the figures."""
    index = list(results["arms"]).index(arm)
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)], "label": arm}


def band(axes: Axes, x: Sequence[float], estimates: Sequence[Results], **style: Any) -> None:
    """A line of means with its intervals as a band, where there are any."""
    axes.plot(x, [e["value"] for e in estimates], markersize=4, **style)
    low, high = ([e["value"] if e[key] is None else e[key] for e in estimates] for key in ("low", "high"))
    axes.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)


def bars(axes: Axes, x: Sequence[float], estimates: Sequence[Results], *, flat: bool = False, **style: Any) -> None:
    """Means with their intervals as bars, along y, or along x if `flat`."""
    values = [e["value"] for e in estimates]
    error = error_bars(estimates)
    positions = (values, x) if flat else (x, values)
    axes.errorbar(
        *positions, **{"xerr" if flat else "yerr": error, "capsize": 2, "markersize": 5, "linewidth": 1} | style
    )


def error_bars(estimates: Sequence[Results]) -> list[list[float]]:
    """Below and above the means; 0 where there is no interval."""
    below = [0 if e["low"] is None else max(e["value"] - e["low"], 0) for e in estimates]
    above = [0 if e["high"] is None else max(e["high"] - e["value"], 0) for e in estimates]
    return [below, above]


def legend(figure: Figure, axes: Axes, **kwargs: Any) -> None:
    """Under the panels, each label once."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    width = 0.7 + 0.085 * max(map(len, handles))  # inches of the longest entry, about
    columns = min(len(handles), max(1, int(figure.get_figwidth() / width)))
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False, **kwargs)


def shade(index: int, count: int) -> tuple[float, float, float, float]:
    """The colour of the index-th of `count` ordered things, from dark to light."""
    return matplotlib.colormaps[SHADES](0.85 * index / max(count - 1, 1))


def dodged(x: Sequence[float], index: int, count: int, width: float = 0.12) -> list[float]:
    """Shifted a little for the index-th of `count` arms, so that their intervals don't hide each other."""
    return [value + width * (index - (count - 1) / 2) for value in x]


def mark_trained_steps(axes: Axes, steps: int | None) -> None:
    """A line at the N that an agent was trained with."""
    if steps is not None:
        axes.axvline(steps, color="#444444", linestyle=":", linewidth=1.2, zorder=0)
        where = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "xytext": (4, -10)}
        axes.annotate(f"N = {steps} in training", (steps, 1), fontsize=8, color="#444444", **where)
