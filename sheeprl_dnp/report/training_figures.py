"""Figures of what changes in a training: the return by environment steps and computation, and the halting."""

from importlib.resources import files
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sheeprl_dnp.envs.crafter_score import BUDGET
from sheeprl_dnp.report import plotting as plot
from sheeprl_dnp.report.measures import MASS, bin_size, flops_by_step
from sheeprl_dnp.report.results import Results
from sheeprl_dnp.report.tables import TRAINING

# Greys, told apart by their dashes
REFERENCES: dict[str, tuple[str, dict[str, Any]]] = {
    "random": ("Random", {"color": "#999999", "linestyle": ":"}),
    "ppo": ("PPO", {"color": "#777777", "linestyle": "-."}),
    "rainbow": ("Rainbow", {"color": "#777777", "linestyle": "--"}),
    "dreamerv2": ("DreamerV2", {"color": "#444444", "linestyle": (0, (8, 2))}),
}
COLUMNS = 3  # of panels, at most
PONDERED: dict[str, dict[str, Any]] = {  # of the ponder steps of an action
    "expected_steps": {"color": plot.COLOURS[0], "marker": "o", "label": "expected, in imagination"},
    "player_steps": {"color": plot.COLOURS[1], "marker": "s", "label": "taken by the player"},
}


def reference_curves() -> pd.DataFrame:
    """The published mean rewards on Crafter by the end step of the bin (Hafner 2021; see the head of the file)."""
    with files("sheeprl_dnp.report").joinpath("reference_curves.csv").open() as file:
        return pd.read_csv(file, comment="#", index_col="bin_end_step")


def learning_curves(results: Results) -> Figure | None:
    """The mean return of the training episodes by environment steps, and by the computation that they took.

    With the published curves, in grey, where the study is as long as they are.
    """
    study, curves = results.study, results.rows("learning_curve", by=("step",), rule=TRAINING)
    if curves.empty:
        return None
    knows_flops = len(results.rows("training_flops")) > 0
    figure, [panels] = plot.new_figure(6 + 5 * knows_flops, 4.8, 1, 1 + knows_flops, sharey=True)
    for by_flops, panel in enumerate(panels):
        _draw(panel, results, curves, by_flops=bool(by_flops))
    if study.plays_crafter and study.budget == BUDGET:
        for key, (name, style) in REFERENCES.items():
            reference = reference_curves()[f"{key}_mean"]
            panels[0].plot(reference.index, reference, linewidth=1.2, zorder=1, label=f"{name} (Hafner 2021)", **style)
    panels[0].set_ylabel("achievements unlocked - 0.9" if study.plays_crafter else "return of an episode")
    updates = "; dashed: another number of gradient steps" if _updates(results).nunique() > 1 else ""
    title = f"Training episodes by bins of {bin_size(study.budget):,} steps"
    figure.suptitle(f"{title}: mean over seeds, 95 % interval{updates}", fontsize=10)
    plot.legend(figure, panels[0])
    return figure


def learning_curves_by_difficulty(results: Results) -> Figure | None:
    """A panel for each difficulty: who solves what by when."""
    curves = results.rows("learning_curve", by=("difficulty", "step"), rule=TRAINING)
    levels = curves.groupby("difficulty")
    if curves.empty:
        return None
    columns = min(levels.ngroups, COLUMNS)
    rows = -(-levels.ngroups // columns)
    figure, axes = plot.new_figure(4 * columns, 3.4 * rows + 0.8, rows, columns, sharey=True)
    for panel, (level, points) in zip(axes.flat, levels, strict=False):
        _draw(panel, results, points)
        panel.set(title=f"difficulty {level:g}")
    for panel in axes.flat[levels.ngroups :]:
        panel.set_visible(False)
    for panel in axes[:, 0]:
        panel.set_ylabel("return of a training episode")
    plot.legend(figure, axes[0, 0])
    return figure


def _draw(axes: Axes, results: Results, curves: pd.DataFrame, by_flops: bool = False) -> None:
    """Dashed: an arm with another number of gradient steps than the first one."""
    updates = _updates(results)
    for arm, points, style in plot.by_arm(results.arms, curves):
        x = flops_by_step(results.study, arm, results.runs.loc[arm], points["step"]) if by_flops else points["step"]
        plot.band(axes, x, points, **style, linestyle="--" if updates.get(arm, 1) != 1 else "-")
    axes.set(xlabel="FLOPs of the training until then" if by_flops else "environment steps", xlim=(0, None))
    plot.in_thousands(axes)


def _updates(results: Results) -> pd.Series:
    """The gradient steps of each arm, to those of the first one: 1 where they differ by no more than 1 %."""
    means = results.rows("gradient_steps").set_index("arm")["value"]
    ratios = means / means.get(results.study.first, np.nan)
    return ratios.where((ratios - 1).abs() > 0.01, 1)


def halting(results: Results) -> Figure | None:
    """Over the training: above, the probability to halt at each ponder step; below, the ponder steps of an action."""
    rows = results.rows(by=("step",))
    arms = rows["arm"].sort_values().unique()
    if rows.empty:
        return None
    figure, axes = plot.new_figure(3.5 + 4 * len(arms), 6.5, 2, len(arms), sharex=True, sharey="row")
    for (above, arm), below in zip(plot.titled(axes[0], arms), axes[1], strict=True):
        own = rows[rows["arm"] == arm].pivot(index="step", columns="measure", values="value")
        _halt_mass(above, own.filter(like=MASS), results.study.prior[arm])
        _ponder_steps(below, rows[rows["arm"] == arm], own, results.study.prior[arm])
        below.set_xlabel("environment steps")
        plot.in_thousands(below)
    axes[0, 0].set_ylabel("probability to halt")
    axes[1, 0].set_ylabel("ponder steps of an action")
    axes[0, -1].legend(**plot.BESIDE, title="at ponder step", reverse=True)
    axes[1, -1].legend(**plot.BESIDE)
    return figure


def _halt_mass(axes: Axes, masses: pd.DataFrame, prior: list[float]) -> None:
    """Stacked, with dashed lines where the stack of the prior has its borders."""
    masses = masses.dropna()
    colours = [plot.ordered_style(index, masses.shape[1])["color"] for index in range(masses.shape[1])]
    labels = [str(int(name.removeprefix(MASS))) for name in masses]
    axes.stackplot(masses.index, masses.T.to_numpy(), colors=colours, labels=labels, edgecolor="white", linewidth=0.5)
    for border, label in zip(np.cumsum(prior)[:-1], ["prior", *[None] * len(prior)], strict=False):
        axes.axhline(border, color="black", linestyle="--", linewidth=1, label=label)
    axes.set(ylim=(0, 1), xlim=(masses.index[0], masses.index[-1]) if len(masses) > 1 else None)


def _ponder_steps(axes: Axes, rows: pd.DataFrame, means: pd.DataFrame, prior: list[float]) -> None:
    spread = [means[name].dropna() for name in means if name.startswith("expected_steps_p")]
    if spread:
        style: dict[str, Any] = {"alpha": 0.15, "linewidth": 0, "label": "10 to 90 % of the states"}
        axes.fill_between(spread[0].index, *spread, color=plot.COLOURS[0], **style)
    for name in (name for name in PONDERED if name in means):
        points = rows[rows["measure"] == name]
        plot.band(axes, points["step"], points, **PONDERED[name])
    mean = np.dot(prior, range(1, len(prior) + 1))
    axes.axhline(mean, color=plot.GREY, linestyle="--", linewidth=1, label="mean of the prior")
    axes.set_ylim(1, len(prior))
