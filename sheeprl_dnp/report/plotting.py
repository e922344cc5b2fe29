"""What the figures share: colours that colour-blind people tell apart, intervals, legends."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

# Okabe and Ito, without the yellow, which is too light for lines
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
SHADES = "cividis"  # of ordered things, from dark to light: ponder steps, difficulties
GREY = "#444444"
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.constrained_layout.wspace": 0.06,
    "savefig.dpi": 150,
}
BESIDE: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}  # of a legend: right of its panel


def new_figure(width: float, height: float, rows: int = 1, columns: int = 1, **kwargs: Any) -> tuple[Figure, Any]:
    """A figure of so many inches, and its axes: an array [rows, columns]."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained", dpi=STYLE["savefig.dpi"])
        axes = figure.subplots(rows, columns, squeeze=False, **kwargs)
    return figure, axes


def titled(axes: Sequence[Axes], titles: Sequence[str]) -> Iterator[tuple[Axes, str]]:
    """Each panel with its title, an arm, in lines that are no wider than it."""
    for panel, title in zip(axes, titles, strict=True):
        panel.set_title("\n".join(textwrap.wrap(title, 32)))
        yield panel, title


def by_arm(arms: list[str], estimates: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, dict[str, Any]]]:
    """Each arm that has some of the estimates, with those and its style, which is the same in all the figures."""
    for index, arm in enumerate(arms):
        own = estimates[estimates["arm"] == arm]
        style = {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)], "label": arm}
        if len(own):
            yield arm, own, style


def ordered_style(index: int, count: int) -> dict[str, Any]:
    """Of the index-th of `count` ordered things, from dark to light."""
    shade = matplotlib.colormaps[SHADES](0.85 * index / max(count - 1, 1))
    return {"color": shade, "marker": MARKERS[index % len(MARKERS)]}


def band(axes: Axes, x: Any, estimates: pd.DataFrame, **style: Any) -> None:
    """A line of means with its intervals as a band, where there are any."""
    axes.plot(x, estimates["value"], **{"markersize": 4} | style)
    low, high = (estimates[limit].fillna(estimates["value"]) for limit in ("low", "high"))
    axes.fill_between(x, low, high, color=style["color"], alpha=0.18, linewidth=0)


def bars(axes: Axes, x: Any, estimates: pd.DataFrame, *, flat: bool = False, **style: Any) -> None:
    """Means with their intervals as bars, along y, or along x if `flat`."""
    error = estimates[["low", "high"]].sub(estimates["value"], axis=0).abs().to_numpy().T
    place = {"x": x, "y": estimates["value"], "yerr": error}
    place = {"y": x, "x": estimates["value"], "xerr": error} if flat else place
    axes.errorbar(**place, **{"capsize": 2, "markersize": 5, "linewidth": 1} | style)


def dodged(x: pd.Series, arms: list[str], arm: str, width: float) -> pd.Series:
    """Shifted a little for each arm, so that their intervals don't hide each other."""
    return x + width * (arms.index(arm) - (len(arms) - 1) / 2)


def in_thousands(axes: Axes) -> None:
    """Numbers along x as 20k, 3M, ..."""
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))


def legend(figure: Figure, axes: Axes) -> None:
    """Under the panels, each label once."""
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    if handles:
        width = 0.7 + 0.085 * max(map(len, handles))  # inches of the longest entry, about
        columns = min(len(handles), max(1, int(figure.get_figwidth() / width)))
        figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=columns, frameon=False)
