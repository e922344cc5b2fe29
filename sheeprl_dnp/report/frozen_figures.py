"""Figures of the frozen policies: by what chooses their ponder steps, by difficulty, by cost, by achievement."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED
from sheeprl_dnp.envs.crafter_score import PREFIX
from sheeprl_dnp.report.measures import flops_at
from sheeprl_dnp.report.plotting import (
    GREY,
    arm_style,
    bars,
    by_arm,
    dodged,
    in_thousands,
    legend,
    new_figure,
    ordered_style,
    wrapped,
)
from sheeprl_dnp.report.results import Results, lookahead, steps_of
from sheeprl_dnp.report.tables import TRAINING
from sheeprl_dnp.studies import OWN_RULE

RETURN = "return of an episode, frozen policy"
STAR: dict[str, Any] = {"marker": "*", "markersize": 14, "markeredgecolor": "black", "linestyle": "none", "zorder": 5}
STARS = {
    OWN_RULE: STAR | {"label": "by its own halting rule"},
    SHUFFLED: STAR | {"markerfacecolor": "white", "label": "by its steps, shuffled"},
}
SERIES: dict[Callable[[pd.Series], dict[str, int]], dict[str, Any]] = {
    steps_of: {"linestyle": "-", "label": "forced ponder steps"},
    lookahead: {"linestyle": ":", "markerfacecolor": "white", "label": "best of so many actions, dreamed of"},
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
PANELS = {
    "return": "return of an episode",
    "success": "success (share of episodes)",
    "ponder_steps": "ponder steps of an action",
    "first_ponder_steps": "ponder steps of the first action",
}
TICKS = 10  # levels that have a tick each, at most


def by_number(returns: pd.DataFrame, numbers: Callable[[pd.Series], dict[str, int]]) -> pd.DataFrame:
    """Those by the rules that `numbers` knows, with `steps`, in the order of it."""
    steps = returns["rule"].map(numbers(returns["rule"]))
    return returns.assign(steps=steps).dropna(subset="steps").sort_values("steps")


def forced_steps(results: Results) -> Figure | None:
    """A panel for each arm: the return of its frozen policies by the computation for an action.

    That is the ponder steps forced on them, or the actions whose outcomes they dreamed of, to take the best one.
    """
    returns = results.rows("return", by=("rule",))
    series = {key: points for key in SERIES if len(points := by_number(returns, key))}
    arms = [arm for arm in results.arms if any(arm in set(points["arm"]) for points in series.values())]
    if not arms:
        return None
    figure, [panels] = new_figure(max(6, 3.6 * len(arms)), 4.4, 1, len(arms), sharey=True)
    for panel, arm in zip(panels, arms, strict=True):
        style = arm_style(results.arms, arm)
        for key, points in series.items():
            own = points[points["arm"] == arm]
            bars(panel, own["steps"], own, **style | SERIES[key] | {"label": None})
        for rule, star in STARS.items():
            at = results.rows("ponder_steps", rule=rule, arm=arm)["value"]
            bars(panel, at, results.rows("return", rule=rule, arm=arm), **style | star | {"label": None})
        _level_of_first(panel, results)
        _mark_trained_steps(panel, results, arm)
        ticks = sorted({steps for points in series.values() for steps in points["steps"]})
        panel.set(
            title=wrapped(arm),
            xlabel="ponder steps, or actions dreamed of" if lookahead in series else "ponder steps of each action",
            xticks=ticks,
        )
        panel.margins(y=0.12)
    panels[0].set_ylabel(RETURN)
    for line in [*map(SERIES.get, series), *(star for rule, star in STARS.items() if rule in set(returns["rule"]))]:
        panels[0].plot([], [], **{"color": "#999999", "marker": "o"} | (line or {}))
    legend(figure, panels[0])
    return figure


def _level_of_first(axes: Axes, results: Results) -> None:
    """The first arm, for comparison, where it doesn't ponder."""
    first = results.study.first
    own = results.rows("return", rule=OWN_RULE, arm=first)
    if len(own) and first not in results.study.trained_steps:
        color = arm_style(results.arms, first)["color"]
        axes.axhline(own["value"].iloc[0], color=color, linestyle="--", label=f"{first} (does not ponder)")
        axes.axhspan(own["low"].iloc[0], own["high"].iloc[0], color=color, alpha=0.12, linewidth=0)


def _mark_trained_steps(axes: Axes, results: Results, arm: str) -> None:
    """A line at the N that an agent was trained with."""
    if steps := results.study.trained_steps.get(arm):
        axes.axvline(steps, color=GREY, linestyle=":", linewidth=1.2, zorder=0)
        where: dict[str, Any] = {
            "xycoords": ("data", "axes fraction"),
            "textcoords": "offset points",
            "xytext": (4, -10),
        }
        axes.annotate(f"N = {steps} in training", (steps, 1), fontsize=8, color=GREY, **where)


def forced_steps_by_difficulty(results: Results) -> Figure | None:
    """A panel for each arm that ponders, a line for each difficulty."""
    rows = by_number(results.rows("return", by=("rule", "difficulty")), steps_of)
    arms = [arm for arm in results.arms if arm in set(rows["arm"])]
    if not arms:
        return None
    figure, [panels] = new_figure(max(6.5, 4.2 * len(arms)), 4.4, 1, len(arms), sharey=True)
    for panel, arm in zip(panels, arms, strict=True):
        levels = rows[rows["arm"] == arm].groupby("difficulty")
        for index, (level, points) in enumerate(levels):
            bars(panel, points["steps"], points, **ordered_style(index, levels.ngroups), label=f"{level:g}")
        _mark_trained_steps(panel, results, arm)
        panel.set(title=wrapped(arm), xlabel="ponder steps of each action", xticks=sorted(set(rows["steps"])))
    panels[0].set_ylabel(RETURN)
    panels[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), title="difficulty")
    return figure


def difficulty(results: Results) -> Figure | None:
    """Return, success (where it isn't the return) and ponder steps of the frozen policies by difficulty.

    Under each difficulty: in how many different worlds it was played.
    """
    measures = results.told_apart
    if not measures:
        return None
    figure, [panels] = new_figure(4.6 * len(measures), 4.6, 1, len(measures))
    for panel, measure in zip(panels, measures, strict=True):
        for arm, points, style in by_arm(results.arms, results.rows(measure, by=("difficulty",), rule=OWN_RULE)):
            bars(panel, dodged(points["difficulty"], results.arms, arm, 0.06), points, **style)
        panel.set(xlabel=f"difficulty of the episode (number of {results.study.kind_of_world})", ylabel=PANELS[measure])
        worlds = results.counts.groupby("difficulty")["worlds"].agg(["min", "max"])
        if len(worlds) <= TICKS:
            panel.set_xticks(worlds.index, [_level(*row) for row in worlds.itertuples()])
    figure.suptitle("Frozen policy: mean over seeds, 95 % interval", fontsize=10)
    legend(figure, panels[0])
    return figure


def _level(level: float, fewest: float, most: float) -> str:
    """A difficulty, and in how many worlds the arms played it."""
    if np.isnan(fewest):
        return f"{level:g}"
    return f"{level:g}\n({fewest:.0f})" if fewest == most else f"{level:g}\n({fewest:.0f} to {most:.0f})"


def cost(results: Results) -> Figure | None:
    """The return of the frozen policies against what an action and a training cost: each small mark is a seed."""
    runs, returns = results.runs, results.rows("return", by=("rule",))
    name = f"{OWN_RULE}_return"
    if name not in runs:
        return None
    columns = {
        key: value for key, value in COSTS.items() if key in runs and runs.dropna(subset=name)[key].notna().any()
    }
    if not columns:
        return None
    figure, [panels] = new_figure(4.6 * len(columns), 4.8, 1, len(columns), sharey=True)
    for panel, (key, (label, scale)) in zip(panels, columns.items(), strict=True):
        for arm, own, style in by_arm(results.arms, returns[returns["rule"] == OWN_RULE]):
            seeds = runs.loc[arm, [key, name]].dropna() * [scale, 1]
            if len(seeds):
                panel.plot(*seeds.to_numpy().T, **style | {"label": None}, linestyle="none", markersize=4, alpha=0.45)
                bars(panel, [seeds[key].mean()], own, linestyle="none", mec="black", **style)
            if key == "flops_per_action":
                _forced_costs(panel, results, returns[returns["arm"] == arm], color=style["color"])
        panel.set(xlabel=label, xlim=(0, 1.05 * panel.dataLim.x1))
        if scale == 1:
            in_thousands(panel)
    panels[0].set_ylabel(RETURN)
    if steps_of(returns["rule"]):
        panels[0].plot([], [], color="#999999", linestyle="--", linewidth=1, label="forced ponder steps")
    legend(figure, panels[0])
    return figure


def _forced_costs(axes: Axes, results: Results, returns: pd.DataFrame, **style: Any) -> None:
    points = by_number(returns, steps_of)
    per_action = points["arm"].map(results.study.of_arm("flops_per_action"))
    costs = [flops_at(*pair) for pair in zip(per_action, points["steps"], strict=True)]
    axes.plot(costs, points["value"], **style, linestyle="--", linewidth=1)


def success_rates(results: Results) -> Figure | None:
    """Of each achievement of Crafter, in three panels: training, its last part, frozen policy."""
    rates = results.rows(by=("rule",))
    rates = rates[rates["measure"].str.startswith(PREFIX)]
    parts = [part for part in PARTS if part in set(rates["rule"])]
    if not parts:
        return None
    order = rates[(rates["rule"] == parts[0]) & (rates["arm"] == rates["arm"].iloc[0])].sort_values("value")["measure"]
    rows = pd.Series(np.arange(len(order)), order)
    figure, [panels] = new_figure(12, 9, 1, len(parts), sharey=True)
    for panel, part in zip(panels, parts, strict=True):
        for arm, own, style in by_arm(results.arms, rates[rates["rule"] == part]):
            y = dodged(own["measure"].map(rows), results.arms, arm, -0.8 / (len(results.arms) + 1))
            bars(panel, y, own, flat=True, **style, linestyle="none")
        panel.set_xscale("symlog", linthresh=1, linscale=0.5)
        panel.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        panel.set(xlim=(-0.2, 130), ylim=(-0.6, len(rows) - 0.4), title=PARTS[part])
        panel.set_xlabel("success rate (% of episodes)")
    panels[0].set_yticks(rows, [name.removeprefix(PREFIX).replace("_", " ") for name in rows.index])
    legend(figure, panels[0])
    return figure
