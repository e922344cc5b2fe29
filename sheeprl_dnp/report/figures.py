"""The figures of a report, drawn from its tables (`results.analyse`)."""

from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED
from sheeprl_dnp.report import difficulty_figures
from sheeprl_dnp.report.curves import MASS
from sheeprl_dnp.report.frozen import mean_of
from sheeprl_dnp.report.measures import flops_at, flops_by_step
from sheeprl_dnp.report.plotting import (
    GREY,
    STYLE,
    arm_style,
    band,
    bars,
    legend,
    mark_trained_steps,
    new_figure,
    shade,
    wrapped,
)
from sheeprl_dnp.report.results import Results
from sheeprl_dnp.studies import OWN_RULE

# Greys, told apart by their dashes
REFERENCES: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("Random", {"color": "#999999", "linestyle": ":"}),
    "ppo": ("PPO", {"color": "#777777", "linestyle": "-."}),
    "rainbow": ("Rainbow", {"color": "#777777", "linestyle": "--"}),
    "dreamerv2": ("DreamerV2", {"color": "#444444", "linestyle": (0, (8, 2))}),
}
STAR = {"marker": "*", "markersize": 14, "markeredgecolor": "black", "linestyle": "none", "zorder": 5}
HOLLOW_STAR = STAR | {"markerfacecolor": "white"}
PANELS = {
    "training": "training, all episodes",
    "training_last_part": "training, last fifth of the steps",
    "frozen": "frozen policy",
}
COSTS = {
    "flops_per_action": ("FLOPs per action", 1),
    "training_flops": ("FLOPs of a training", 1),
    "wall_s": ("wall time of a training (hours)", 1 / 3600),
}


def reference_curves() -> pd.DataFrame:
    """The published mean rewards on Crafter by the end step of the bin (Hafner 2021; see the head of the file)."""
    with files("sheeprl_dnp.report").joinpath("reference_curves.csv").open() as file:
        return pd.read_csv(file, comment="#", index_col="bin_end_step")


def learning_curves(results: Results) -> Figure | None:
    """The mean reward of the training episodes by environment steps, and by the computation that they took.

    Dashed: an arm with another number of gradient steps than the first one. With the published curves, in grey, where
    the study is as long as they are.
    """
    curves = results.learning_curves[results.learning_curves["difficulty"].isna()]
    if curves.empty:
        return None
    knows_flops = results.runs["training_flops"].notna().any()
    figure, [panels] = new_figure(6 + 5 * knows_flops, 4.8, 1, 1 + knows_flops, sharey=True)
    for arm in results.arms:
        points, runs = curves[curves["arm"] == arm], results.runs.query("arm == @arm")
        style = arm_style(results.arms, arm) | {"linestyle": "--" if _differs_in_updates(results, arm) else "-"}
        band(panels[0], points["step"], points, **style)
        if knows_flops:
            band(panels[1], flops_by_step(runs, points["step"]), points, **style)
    if results.has_published_budget:
        for key, (name, style) in REFERENCES.items():
            reference = reference_curves()[f"{key}_mean"]
            panels[0].plot(reference.index, reference, linewidth=1.2, zorder=1, label=f"{name} (Hafner 2021)", **style)
    for panel, label in zip(panels, ("environment steps", "FLOPs of the training until then"), strict=False):
        panel.set(xlabel=label, xlim=(0, None))
        panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panels[0].set_ylabel("achievements unlocked - 0.9" if results.plays_crafter else "return of an episode")
    updates = "; dashed: another number of gradient steps" if _any_differs_in_updates(results) else ""
    figure.suptitle(
        f"Training episodes by bins of {results.bin:,} steps: mean over seeds, 95 % interval{updates}", fontsize=10
    )
    legend(figure, panels[0])
    return figure


def _differs_in_updates(results: Results, arm: str) -> bool:
    means = results.runs["gradient_steps"].groupby("arm", observed=False).mean()
    first = means[results.study.first]
    return bool(pd.notna(means[arm]) and pd.notna(first) and abs(means[arm] - first) > 0.01 * first)


def _any_differs_in_updates(results: Results) -> bool:
    return any(_differs_in_updates(results, arm) for arm in results.arms)


def success_rates(results: Results) -> Figure | None:
    """Of each achievement, in three panels: training, its last part, frozen policy."""
    rates = results.achievements
    panels = [part for part in PANELS if part in set(rates.get("part", ()))]
    if not panels:
        return None
    ranks = rates[(rates["part"] == panels[0]) & (rates["arm"] == rates["arm"].iloc[0])].sort_values("value")[
        "achievement"
    ]
    rows = pd.Series(np.arange(len(ranks)), ranks)
    figure, axes = new_figure(12, 9, 1, len(panels), sharey=True)
    for panel, part in zip(axes[0], panels, strict=True):
        for index, arm in enumerate(results.arms):
            own = rates[(rates["part"] == part) & (rates["arm"] == arm)]
            offset = 0.4 - 0.8 * (index + 1) / (len(results.arms) + 1)
            style = arm_style(results.arms, arm) | {"linestyle": "none"}
            bars(panel, rows.loc[own["achievement"]].to_numpy() + offset, own, flat=True, **style)
        panel.set_xscale("symlog", linthresh=1, linscale=0.5)
        panel.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
        panel.set(xlim=(-0.2, 130), ylim=(-0.6, len(rows) - 0.4), title=PANELS[part])
        panel.set_xlabel("success rate (% of episodes)")
    axes[0, 0].set_yticks(rows, [name.replace("_", " ") for name in rows.index])
    legend(figure, axes[0, 0])
    return figure


def halting(results: Results) -> Figure | None:
    """Over the training: above, the probability to halt at each ponder step; below, the ponder steps of an action."""
    arms = [arm for arm in results.arms if arm in set(results.halting["arm"])]
    if not arms:
        return None
    figure, axes = new_figure(3.5 + 4 * len(arms), 6.5, 2, len(arms), sharex=True, sharey="row")
    for column, arm in enumerate(arms):
        own = results.halting[results.halting["arm"] == arm]
        _halt_mass(axes[0, column], own, results.prior[arm])
        _ponder_steps(axes[1, column], own, results.prior[arm])
        axes[0, column].set_title(wrapped(arm))
        axes[1, column].set_xlabel("environment steps")
        axes[1, column].xaxis.set_major_formatter(EngFormatter(sep=""))
    axes[0, 0].set_ylabel("probability to halt")
    axes[1, 0].set_ylabel("ponder steps of an action")
    beside = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
    axes[0, -1].legend(**beside, title="at ponder step", reverse=True)
    axes[1, -1].legend(**beside)
    return figure


def _halt_mass(axes: Axes, own: pd.DataFrame, prior: list[float]) -> None:
    """Stacked, with dashed lines where the stack of the prior has its borders."""
    prefix = MASS.removeprefix("Ponder/")
    masses = (
        own[own["metric"].str.startswith(prefix)].pivot(index="metric", columns="step", values="value").dropna(axis=1)
    )
    colours = [shade(index, len(masses)) for index in range(len(masses))]
    labels = [str(int(name.removeprefix(prefix))) for name in masses.index]
    axes.stackplot(masses.columns, masses.to_numpy(), colors=colours, labels=labels, edgecolor="white", linewidth=0.5)
    for border, label in zip(np.cumsum(prior)[:-1], ["prior", *[None] * len(prior)], strict=False):
        axes.axhline(border, color="black", linestyle="--", linewidth=1, label=label)
    axes.set(ylim=(0, 1), xlim=(masses.columns[0], masses.columns[-1]) if masses.shape[1] > 1 else None)


def _ponder_steps(axes: Axes, own: pd.DataFrame, prior: list[float]) -> None:
    metrics = {name: rows.set_index("step") for name, rows in own.groupby("metric")}
    low, high = (metrics.get(f"expected_steps_p{percentile}") for percentile in (10, 90))
    if low is not None and high is not None:
        label = "of 80 % of the states"
        axes.fill_between(low.index, low["value"], high["value"], color="#0072B2", alpha=0.15, linewidth=0, label=label)
    styles = {
        "expected_steps": {"color": "#0072B2", "marker": "o", "label": "expected, in imagination"},
        "player_steps": {"color": "#D55E00", "marker": "s", "label": "taken by the player"},
    }
    for name in metrics.keys() & styles.keys():
        band(axes, metrics[name].index, metrics[name], **styles[name])
    axes.axhline(mean_of(prior), color=GREY, linestyle="--", linewidth=1, label="mean of the prior")
    axes.set_ylim(1, len(prior))


def forced_steps(results: Results) -> Figure | None:
    """A panel for each arm that ponders: the return of its frozen policies by the ponder steps forced on them."""
    returns = results.by_rule[results.by_rule["difficulty"].isna() & (results.by_rule["measure"] == "return")]
    numbers = returns[returns["rule"].str.isdecimal()]
    arms = [arm for arm in results.arms if arm in set(numbers["arm"])]
    if not arms:
        return None
    figure, [panels] = new_figure(max(6, 3.6 * len(arms)), 4.4, 1, len(arms), sharey=True)
    for panel, arm in zip(panels, arms, strict=True):
        style = arm_style(results.arms, arm) | {"label": None}
        forced = numbers[numbers["arm"] == arm].assign(rule=lambda rows: rows["rule"].astype(int)).sort_values("rule")
        bars(panel, forced["rule"], forced, **style)
        _stars(panel, results, arm, style["color"])
        _level_of_first(panel, results, returns)
        mark_trained_steps(panel, results.trained_steps.get(arm))
        panel.set(title=wrapped(arm), xlabel="ponder steps of each action", xticks=sorted(forced["rule"]))
        panel.margins(y=0.12)
    panels[0].set_ylabel("return of an episode, frozen policy")
    panels[0].plot([], [], **STAR, color="#999999", label="by its own halting rule")
    if (returns["rule"] == SHUFFLED).any():
        panels[0].plot([], [], **HOLLOW_STAR, color="#999999", label="by its steps, shuffled")
    legend(figure, panels[0])
    return figure


def _stars(axes: Axes, results: Results, arm: str, color: str) -> None:
    """At the mean steps of the own rule; hollow where they are shuffled."""
    rows = results.by_rule[results.by_rule["difficulty"].isna() & (results.by_rule["arm"] == arm)]
    for rule, star in {OWN_RULE: STAR, SHUFFLED: HOLLOW_STAR}.items():
        own = rows[rows["rule"] == rule].set_index("measure")
        if {"return", "ponder_steps"} <= set(own.index):
            bars(axes, [own.loc["ponder_steps", "value"]], own.loc[["return"]], **star, color=color)


def _level_of_first(axes: Axes, results: Results, returns: pd.DataFrame) -> None:
    """The first arm, for comparison, where it doesn't ponder."""
    first = results.study.first
    own = returns[(returns["arm"] == first) & (returns["rule"] == OWN_RULE)]
    if len(own) and first not in results.trained_steps:
        color = arm_style(results.arms, first)["color"]
        axes.axhline(own["value"].iloc[0], color=color, linestyle="--", label=f"{first} (does not ponder)")
        axes.axhspan(own["low"].iloc[0], own["high"].iloc[0], color=color, alpha=0.12, linewidth=0)


def cost(results: Results) -> Figure | None:
    """The return of the frozen policies against what an action and a training cost: each small mark is a seed."""
    runs = results.runs.dropna(subset="frozen_reward")
    columns = {key: value for key, value in COSTS.items() if runs[key].notna().any()}
    if not columns:
        return None
    figure, [panels] = new_figure(4.6 * len(columns), 4.8, 1, len(columns), sharey=True)
    for panel, (key, (label, scale)) in zip(panels, columns.items(), strict=True):
        for arm in results.arms:
            style = arm_style(results.arms, arm)
            _cost_points(panel, results, arm, (runs.query("arm == @arm")[key] * scale).dropna(), style)
            if key == "flops_per_action":
                _forced_costs(panel, results, arm, style["color"])
        panel.set(xlabel=label, xlim=(0, 1.05 * panel.dataLim.x1))
        if scale == 1:
            panel.xaxis.set_major_formatter(EngFormatter(sep=""))
    panels[0].set_ylabel("return of an episode, frozen policy")
    if (results.by_rule["rule"].str.isdecimal()).any():
        panels[0].plot([], [], color="#999999", linestyle="--", linewidth=1, label="forced ponder steps")
    legend(figure, panels[0])
    return figure


def _cost_points(axes: Axes, results: Results, arm: str, costs: pd.Series, style: dict[str, Any]) -> None:
    """The seeds, and their mean with the interval of the return."""
    summary = results.summary.query("arm == @arm and measure == 'frozen_reward' and statistic == 'mean'")
    if len(costs) and len(summary):
        rewards = results.runs.loc[costs.index, "frozen_reward"]
        axes.plot(costs, rewards, **style | {"label": None}, linestyle="none", markersize=4, alpha=0.45)
        bars(axes, [costs.mean()], summary, linestyle="none", mec="black", **style)


def _forced_costs(axes: Axes, results: Results, arm: str, color: str) -> None:
    rows = results.by_rule.query("arm == @arm and difficulty.isna() and measure == 'return' and rule.str.isdecimal()")
    per_action = results.study.of_arm("flops_per_action")[arm]
    steps = rows["rule"].astype(int).sort_values()
    costs = [flops_at(per_action, n) for n in steps]
    axes.plot(costs, rows.loc[steps.index, "value"], color=color, linestyle="--", linewidth=1)


FIGURES: dict[str, tuple[Callable[[Results], Figure | None], str]] = {
    "learning_curves": (
        learning_curves,
        "Learning curves of the training episodes, by environment steps and by the computation of the training",
    ),
    "success_rates": (
        success_rates,
        "Success rates of the achievements, mean over seeds and 95 % interval; logarithmic above 1 %",
    ),
    "halting": (
        halting,
        "Where the agents halt over the training, and the ponder steps of an action: mean over seeds, 95 % interval, "
        "and what the prior asks for",
    ),
    "forced_steps": (forced_steps, "Return against a forced number of ponder steps: mean over seeds, 95 % interval"),
    "cost": (cost, "Return of the frozen policy against cost: small marks are seeds, large ones their mean"),
    "learning_curves_by_difficulty": (
        difficulty_figures.learning_curves,
        "Learning curves of the training episodes of each difficulty: mean over seeds, 95 % interval",
    ),
    "difficulty": (
        difficulty_figures.difficulty,
        "Return and ponder steps of the frozen policy by the difficulty of the episode: mean over seeds, 95 % interval",
    ),
    "forced_steps_by_difficulty": (
        difficulty_figures.forced_steps,
        "Return against a forced number of ponder steps, for each difficulty",
    ),
}


def save_figures(results: Results, folder: Path) -> dict[str, str]:
    """Writes each figure that the study has the data for as `<name>.png`; returns their captions by file name."""
    captions = {}
    for name, (draw, caption) in FIGURES.items():
        with matplotlib.rc_context(STYLE):
            figure = draw(results)
            if figure is not None:
                figure.savefig(folder / f"{name}.png")
                captions[f"{name}.png"] = caption
    return captions
