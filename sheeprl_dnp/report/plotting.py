"""What the figures share: colours that colour-blind people tell apart, intervals, legends."""

import textwrap
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe and Ito, without the yellow, which is too light for lines
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SHADES = "cividis"  # of ordered things: ponder steps, difficulties
GREY = "#444444"
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


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **kwargs: Any) -> tuple[Figure, Any]:
    """A figure of so many inches, and its axes: an array [rows, columns]."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=STYLE["savefig.dpi"])
        axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    return figure, axes


def arm_style(arms: list[str], arm: str) -> dict[str, Any]:
    """The same in all the figures."""
    index = arms.index(arm)
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)], "label": arm}


def limits(estimates: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The interval of each estimate; its value where there is none."""
    return estimates["low"].fillna(estimates["value"]), estimates["high"].fillna(estimates["value"])


def band(axes: Axes, x: Any, estimates: pd.DataFrame, **style: Any) -> None:
    """A line of means with its intervals as a band, where there are any."""
    axes.plot(x, estimates["value"], **{"markersize": 4} | style)
    axes.fill_between(x, *limits(estimates), color=style["color"], alpha=0.18, linewidth=0)


def bars(axes: Axes, x: Any, estimates: pd.DataFrame, *, flat: bool = False, **style: Any) -> None:
    """Means with their intervals as bars, along y, or along x if `flat`."""
    low, high = limits(estimates)
    error = np.array([estimates["value"] - low, high - estimates["value"]]).clip(min=0)
    positions = (estimates["value"], x) if flat else (x, estimates["value"])
    axes.errorbar(
        *positions, **{"xerr" if flat else "yerr": error, "capsize": 2, "markersize": 5, "linewidth": 1} | style
    )


def legend(figure: Figure, axes: Axes, **kwargs: Any) -> None:
    """Under the panels, each label once."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if handles:
        width = 0.7 + 0.085 * max(map(len, handles))  # inches of the longest entry, about
        columns = min(len(handles), max(1, int(figure.get_figwidth() / width)))
        place = {"loc": "outside lower center", "ncols": columns, "frameon": False}
        figure.legend(handles.values(), handles.keys(), **place | kwargs)


def shade(index: int, count: int) -> tuple[float, float, float, float]:
    """The colour of the index-th of `count` ordered things, from dark to light."""
    return matplotlib.colormaps[SHADES](0.85 * index / max(count - 1, 1))


def dodged(x: pd.Series, index: int, count: int, width: float = 0.12) -> pd.Series:
    """Shifted a little for the index-th of `count` arms, so that their intervals don't hide each other."""
    return x + width * (index - (count - 1) / 2)


def wrapped(label: str) -> str:
    """A label as the title of a narrow panel."""
    return "\n".join(textwrap.wrap(label, 32))


def mark_trained_steps(axes: Axes, steps: int | None) -> None:
    """A line at the N that an agent was trained with."""
    if steps is not None:
        axes.axvline(steps, color=GREY, linestyle=":", linewidth=1.2, zorder=0)
        where = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "xytext": (4, -10)}
        axes.annotate(f"N = {steps} in training", (steps, 1), fontsize=8, color=GREY, **where)
