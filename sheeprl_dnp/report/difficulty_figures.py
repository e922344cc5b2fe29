"""The figures about environments whose episodes have a difficulty."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from sheeprl_dnp.report.markdown import told_apart
from sheeprl_dnp.report.plotting import (
    MARKERS,
    arm_style,
    band,
    bars,
    dodged,
    legend,
    mark_trained_steps,
    new_figure,
    shade,
    wrapped,
)
from sheeprl_dnp.report.results import Results
from sheeprl_dnp.studies import OWN_RULE

COLUMNS = 3  # of panels, at most
TICKS = 10  # levels that have a tick each, at most
PANELS = {
    "return": "return of an episode",
    "success": "success (share of episodes)",
    "ponder_steps": "ponder steps of an action",
    "first_ponder_steps": "ponder steps of the first action",
}


def learning_curves(results: Results) -> Figure | None:
    """A panel for each difficulty: who solves what by when."""
    curves = results.learning_curves.dropna(subset="difficulty")
    levels = sorted(curves["difficulty"].unique())
    if not levels:
        return None
    columns = min(len(levels), COLUMNS)
    rows = -(-len(levels) // columns)
    figure, axes = new_figure(4 * columns, 3.4 * rows + 0.8, rows, columns, sharey=True)
    for panel, level in zip(axes.flat, levels, strict=False):
        for arm in results.arms:
            points = curves[(curves["arm"] == arm) & (curves["difficulty"] == level)]
            band(panel, points["step"], points, **arm_style(results.arms, arm))
        panel.set(title=f"difficulty {level:g}", xlim=(0, results.budget), xlabel="environment steps")
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    for panel in axes.flat[len(levels) :]:
        panel.set_visible(False)
    for panel in axes[:, 0]:
        panel.set_ylabel("return of a training episode")
    legend(figure, axes[0, 0])
    return figure


def difficulty(results: Results) -> Figure | None:
    """Return, success (where it isn't the return) and ponder steps of the frozen policies by difficulty.

    Under each difficulty: in how many different worlds it was played.
    """
    levels = results.by_rule[(results.by_rule["rule"] == OWN_RULE) & results.by_rule["difficulty"].notna()]
    if levels.empty:
        return None
    panels = told_apart(levels)
    figure, axes = new_figure(4.6 * len(panels), 4.6, 1, len(panels))
    for panel, measure in zip(axes[0], panels, strict=True):
        for index, arm in enumerate(results.arms):
            points = levels[(levels["arm"] == arm) & (levels["measure"] == measure)]
            x = dodged(points["difficulty"], index, len(results.arms), width=0.06)
            bars(panel, x, points, **arm_style(results.arms, arm))
        panel.set(xlabel="difficulty of the episode", ylabel=PANELS[measure])
        _mark_worlds(panel, levels, results.study.kind_of_world)
    figure.suptitle("Frozen policy: mean over seeds, 95 % interval", fontsize=10)
    legend(figure, axes[0, 0])
    return figure


def _mark_worlds(axes: Axes, levels: pd.DataFrame, kind: str) -> None:
    """At each tick, how many worlds the points are of."""
    counts = levels.groupby("difficulty")["worlds"].agg(["min", "max"])
    if len(counts) <= TICKS:
        labels = [f"{level:g}{_worlds(row, kind)}" for level, row in zip(counts.index, counts.to_numpy(), strict=True)]
        axes.set_xticks(counts.index, labels)


def _worlds(counts: np.ndarray, kind: str) -> str:
    fewest, most = counts
    if np.isnan(fewest):
        return ""
    return f"\n{fewest:.0f} {kind}" if fewest == most else f"\n{fewest:.0f} to {most:.0f} {kind}"


def forced_steps(results: Results) -> Figure | None:
    """A panel for each arm that ponders, a line for each difficulty."""
    rows = results.by_rule.dropna(subset="difficulty")
    rows = rows[(rows["measure"] == "return") & rows["rule"].str.isdecimal()]
    arms = [arm for arm in results.arms if arm in set(rows["arm"])]
    if not arms:
        return None
    figure, axes = new_figure(max(6.5, 4.2 * len(arms)), 4.4, 1, len(arms), sharey=True)
    for panel, arm in zip(axes[0], arms, strict=True):
        own = rows[rows["arm"] == arm].assign(rule=lambda table: table["rule"].astype(int)).sort_values("rule")
        for index, (level, points) in enumerate(own.groupby("difficulty")):
            style = {"color": shade(index, own["difficulty"].nunique()), "marker": MARKERS[index % len(MARKERS)]}
            bars(panel, points["rule"], points, **style, label=f"{level:g}")
        mark_trained_steps(panel, results.trained_steps.get(arm))
        panel.set(title=wrapped(arm), xlabel="ponder steps of each action", xticks=sorted(own["rule"].unique()))
    axes[0, 0].set_ylabel("return of an episode, frozen policy")
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5), title="difficulty")
    return figure
