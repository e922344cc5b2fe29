"""The figures about environments whose episodes have a difficulty."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sheeprl_dnp.study.plotting import (
    MARKERS,
    THOUSAND,
    Results,
    arm_style,
    band,
    bars,
    dodged,
    legend,
    mark_trained_steps,
    new_figure,
    shade,
)
from sheeprl_dnp.study.tables import told_apart

COLUMNS = 3  # of panels, at most
PANELS = {
    "reward": "return of an episode",
    "success": "success (share of episodes)",
    "ponder_steps": "ponder steps of an action",
    "first_ponder_steps": "ponder steps of the first action",
}


def learning_curves_by_difficulty(results: Results) -> Figure | None:
    """A panel for each difficulty: who solves what by when."""
    arms = {name: arm["curve_by_difficulty"] for name, arm in results["arms"].items() if arm["curve_by_difficulty"]}
    levels = sorted({entry["difficulty"] for entries in arms.values() for entry in entries})
    if not levels:
        return None
    columns = min(len(levels), COLUMNS)
    rows = -(-len(levels) // columns)
    figure, axes = new_figure(4 * columns, 3.4 * rows + 0.8, rows, columns, sharey=True)
    for panel, level in zip(axes.flat, levels, strict=False):
        for name, entries in arms.items():
            for points in (entry["curve"] for entry in entries if entry["difficulty"] == level):
                band(panel, [point["step"] / THOUSAND for point in points], points, **arm_style(results, name))
        panel.set(title=f"difficulty {level:g}", xlim=(0, results["budget"] / THOUSAND))
    for panel in axes.flat[max(len(levels) - columns, 0) : len(levels)]:  # the lowest of each column
        panel.set_xlabel("environment steps (thousands)")
    for panel in axes.flat[len(levels) :]:
        panel.set_visible(False)
    for panel in axes[:, 0]:
        panel.set_ylabel("return of a training episode")
    legend(figure, axes[0, 0])
    return figure


def difficulty(results: Results) -> Figure | None:
    """Return, success (where it isn't the return) and ponder steps of the frozen policies by difficulty."""
    arms = {name: arm["difficulty"]["levels"] for name, arm in results["arms"].items() if arm["difficulty"]}
    panels = told_apart([level for levels in arms.values() for level in levels], PANELS)
    if not panels:
        return None
    figure, axes = new_figure(4.6 * len(panels), 4.6, 1, len(panels))
    for panel, key in zip(axes[0], panels, strict=True):
        for index, (name, levels) in enumerate(arms.items()):
            shown = [(level["difficulty"], level[key]) for level in levels if key in level]
            if shown:
                x, estimates = zip(*shown, strict=True)
                bars(panel, dodged(x, index, len(arms), 0.08), estimates, **arm_style(results, name))
        panel.set(xlabel="difficulty of the episode", ylabel=PANELS[key])
        _whole_ticks(panel, {level["difficulty"] for levels in arms.values() for level in levels})
    figure.suptitle("Frozen policy: mean over seeds, 95 % interval", fontsize=10)
    legend(figure, axes[0, 0])
    return figure


def forced_steps_by_difficulty(results: Results) -> Figure | None:
    """A panel for each arm that ponders, a line for each difficulty."""
    arms = {
        name: arm
        for name, arm in results["arms"].items()
        if arm["difficulty"] and any(entry["levels"] for entry in arm["difficulty"]["forced_steps"])
    }
    if not arms:
        return None
    figure, axes = new_figure(max(6.5, 4.2 * len(arms)), 4.4, 1, len(arms), sharey=True)
    for panel, (name, arm) in zip(axes[0], arms.items(), strict=True):
        _panel(panel, arm)
        panel.set(title=name, xlabel="ponder steps of each action")
    axes[0, 0].set_ylabel("return of an episode, frozen policy")
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5), title="difficulty")
    return figure


def _panel(axes: Axes, arm: Results) -> None:
    forced = arm["difficulty"]["forced_steps"]
    levels = sorted({level["difficulty"] for entry in forced for level in entry["levels"]})
    for index, value in enumerate(levels):
        shown = [(e["steps"], level["reward"]) for e in forced for level in e["levels"] if level["difficulty"] == value]
        colour = shade(index, len(levels))
        marker = MARKERS[index % len(MARKERS)]
        bars(axes, *zip(*shown, strict=True), color=colour, marker=marker, label=f"{value:g}")
    mark_trained_steps(axes, arm["trained_steps"])
    axes.set_xticks([entry["steps"] for entry in forced])


def _whole_ticks(axes: Axes, levels: set[float]) -> None:
    if len(levels) <= 10:
        axes.set_xticks(sorted(levels), [f"{level:g}" for level in sorted(levels)])
