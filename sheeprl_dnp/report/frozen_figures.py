"""Figures of the frozen policies: by what chooses their ponder steps, by difficulty, by cost, by achievement."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED
from sheeprl_dnp.envs.crafter_score import PREFIX
from sheeprl_dnp.report import plotting as plot
from sheeprl_dnp.report.measures import flops_at
from sheeprl_dnp.report.results import BY_DIFFICULTY, DREAM, FORCED, Results
from sheeprl_dnp.report.tables import TRAINING
from sheeprl_dnp.studies import OWN_RULE

RETURN = "return of an episode, frozen policy"
STAR: dict[str, Any] = {"marker": "*", "markersize": 14, "markeredgecolor": "black", "linestyle": "none", "zorder": 5}
# How the returns by each kind of rule are drawn, and what they are called
SERIES: dict[str, dict[str, Any]] = {
    FORCED: {"linestyle": "-", "label": "forced ponder steps"},
    DREAM: {"linestyle": ":", "markerfacecolor": "white", "label": "best of so many actions, dreamed of"},
    OWN_RULE: STAR | {"label": "by its own halting rule"},
    SHUFFLED: STAR | {"markerfacecolor": "white", "label": "by its steps, shuffled"},
}
PARTS = {
    TRAINING: "training, all episodes",
    f"{TRAINING}_last_part": "training, last fifth of the steps",
    OWN_RULE: "frozen policy",
}
COSTS = {
    "flops_per_action": ("FLOPs per action", 1),
    "training_flops": ("FLOPs of a training", 1),
    "wall_s": ("wall time of a training (hours)", 1 / 3600),
}
TICKS = 10  # levels that have a tick each, at most


def forced_steps(results: Results) -> Figure | None:
    """A panel for each arm: the return of its frozen policies by the computation for an action.

    That is the ponder steps forced on them, or the actions whose outcomes they dreamed of, to take the best one.
    """
    returns = results.returns()
    numbered = returns.dropna(subset="number")
    arms = numbered["arm"].sort_values().unique()
    if numbered.empty:
        return None
    steps = results.rows("ponder_steps", by=("rule",)).set_index(["rule", "arm"])["value"]
    at = steps.reindex(pd.MultiIndex.from_frame(returns[["rule", "arm"]])).to_numpy()
    returns = returns.assign(x=returns["number"].fillna(pd.Series(at)))
    dreams = DREAM in set(returns["kind"])
    figure, [panels] = plot.new_figure(max(6, 3.6 * len(arms)), 4.4, 1, len(arms), sharey=True)
    for panel, arm in plot.titled(panels, arms):
        [(_, own, style)] = plot.by_arm(results.arms, returns[returns["arm"] == arm])
        for kind, points in own.groupby("kind", observed=True):
            plot.bars(panel, points["x"], points, **style | SERIES[kind] | {"label": None})
        _level_of_first(panel, results)
        _mark_trained_steps(panel, results, arm)
        panel.set_xlabel("ponder steps, or actions dreamed of" if dreams else "ponder steps of each action")
        panel.set_xticks(sorted(numbered["number"].unique()))
        panel.margins(y=0.12)
    panels[0].set_ylabel(RETURN)
    for kind in (kind for kind in SERIES if kind in set(returns["kind"])):
        panels[0].plot([], [], **{"color": "#999999", "marker": "o"} | SERIES[kind])
    plot.legend(figure, panels[0])
    return figure


def _level_of_first(axes: Axes, results: Results) -> None:
    """The first arm, for comparison, where it doesn't ponder."""
    first = results.study.first
    for arm, own, style in plot.by_arm(results.arms, results.rows("return", rule=OWN_RULE, arm=first)):
        if arm not in results.study.trained_steps:
            axes.axhline(own["value"].item(), color=style["color"], linestyle="--", label=f"{arm} (does not ponder)")
            axes.axhspan(own["low"].item(), own["high"].item(), color=style["color"], alpha=0.12, linewidth=0)


def _mark_trained_steps(axes: Axes, results: Results, arm: str) -> None:
    """A line at the N that an agent was trained with."""
    if steps := results.study.trained_steps.get(arm):
        axes.axvline(steps, color=plot.GREY, linestyle=":", linewidth=1.2, zorder=0)
        where: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        axes.annotate(f"N = {steps} in training", (steps, 1), xytext=(4, -10), fontsize=8, color=plot.GREY, **where)


def forced_steps_by_difficulty(results: Results) -> Figure | None:
    """A panel for each arm that ponders, a line for each difficulty."""
    returns = results.returns("difficulty")
    forced = returns[returns["kind"] == FORCED]
    arms = forced["arm"].sort_values().unique()
    if forced.empty:
        return None
    figure, [panels] = plot.new_figure(max(6.5, 4.2 * len(arms)), 4.4, 1, len(arms), sharey=True)
    for panel, arm in plot.titled(panels, arms):
        levels = forced[forced["arm"] == arm].groupby("difficulty")
        for index, (level, points) in enumerate(levels):
            plot.bars(panel, points["number"], points, **plot.ordered_style(index, levels.ngroups), label=f"{level:g}")
        _mark_trained_steps(panel, results, arm)
        panel.set(xlabel="ponder steps of each action", xticks=sorted(forced["number"].unique()))
    panels[0].set_ylabel(RETURN)
    panels[-1].legend(**plot.BESIDE, title="difficulty")
    return figure


def difficulty(results: Results) -> Figure | None:
    """Return, success (where it isn't the return) and ponder steps of the frozen policies by difficulty.

    Under each difficulty: in how many different worlds it was played.
    """
    measures = results.told_apart
    if not measures:
        return None
    figure, [panels] = plot.new_figure(4.6 * len(measures), 4.6, 1, len(measures))
    worlds = results.counts.groupby("difficulty")["worlds"].agg(["min", "max"])
    for panel, measure in zip(panels, measures, strict=True):
        for arm, points, style in plot.by_arm(results.arms, results.rows(measure, by=("difficulty",), rule=OWN_RULE)):
            plot.bars(panel, plot.dodged(points["difficulty"], results.arms, arm, 0.06), points, **style)
        panel.set_xlabel(f"difficulty of the episode (number of {results.study.kind_of_world})")
        panel.set_ylabel(BY_DIFFICULTY[measure][1])
        if len(worlds) <= TICKS:
            panel.set_xticks(worlds.index, [_level(*row) for row in worlds.itertuples()])
    figure.suptitle("Frozen policy: mean over seeds, 95 % interval", fontsize=10)
    plot.legend(figure, panels[0])
    return figure


def _level(level: float, fewest: float, most: float) -> str:
    """A difficulty, and in how many worlds the arms played it."""
    if np.isnan(fewest):
        return f"{level:g}"
    return f"{level:g}\n({fewest:.0f})" if fewest == most else f"{level:g}\n({fewest:.0f} to {most:.0f})"


def cost(results: Results) -> Figure | None:
    """The return of the frozen policies against what an action and a training cost: each small mark is a seed."""
    returns, name = results.returns(), f"{OWN_RULE}_return"
    runs = results.runs.reindex(columns=[name, *COSTS]).dropna(subset=name).dropna(axis="columns", how="all")
    costs = [key for key in COSTS if key in runs]
    if not costs:
        return None
    forced = returns[returns["kind"] == FORCED]
    figure, [panels] = plot.new_figure(4.6 * len(costs), 4.8, 1, len(costs), sharey=True)
    for panel, key in zip(panels, costs, strict=True):
        label, scale = COSTS[key]
        for arm, own, style in plot.by_arm(results.arms, returns[returns["rule"] == OWN_RULE]):
            seeds = runs.loc[arm, [key, name]].dropna() * [scale, 1]
            if len(seeds):
                panel.plot(*seeds.to_numpy().T, **style | {"label": None}, linestyle="none", markersize=4, alpha=0.45)
                plot.bars(panel, [seeds[key].mean()], own, linestyle="none", mec="black", **style)
            if key == "flops_per_action":
                points, per_action = forced[forced["arm"] == arm], results.study.of_arm(key)[arm]
                x = [flops_at(per_action, number) for number in points["number"]]
                panel.plot(x, points["value"], color=style["color"], linestyle="--", linewidth=1)
        panel.set(xlabel=label, xlim=(0, 1.05 * panel.dataLim.x1))
        if scale == 1:
            plot.in_thousands(panel)
    panels[0].set_ylabel(RETURN)
    if len(forced):
        panels[0].plot([], [], color="#999999", linestyle="--", linewidth=1, label="forced ponder steps")
    plot.legend(figure, panels[0])
    return figure


def success_rates(results: Results) -> Figure | None:
    """Of each achievement of Crafter, in three panels: training, its last part, frozen policy."""
    rates = results.rows(by=("rule",))
    rates = rates[rates["measure"].str.startswith(PREFIX)]
    parts = [part for part in PARTS if part in set(rates["rule"])]
    if not parts:
        return None
    first = rates[rates["rule"] == parts[0]]
    first = first[first["arm"] == first["arm"].iloc[0]].sort_values("value")
    rows = pd.Series(np.arange(len(first)), first["measure"])
    figure, [panels] = plot.new_figure(12, 9, 1, len(parts), sharey=True)
    for panel, part in zip(panels, parts, strict=True):
        for arm, own, style in plot.by_arm(results.arms, rates[rates["rule"] == part]):
            y = plot.dodged(own["measure"].map(rows), results.arms, arm, -0.8 / (len(results.arms) + 1))
            plot.bars(panel, y, own, flat=True, **style, linestyle="none")
        panel.set_xscale("symlog", linthresh=1, linscale=0.5)
        panel.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        panel.set(xlim=(-0.2, 130), ylim=(-0.6, len(rows) - 0.4), title=PARTS[part])
        panel.set_xlabel("success rate (% of episodes)")
    panels[0].set_yticks(rows, [name.removeprefix(PREFIX).replace("_", " ") for name in rows.index])
    plot.legend(figure, panels[0])
    return figure
