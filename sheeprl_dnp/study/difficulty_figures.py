"""The figures about environments whose episodes have a difficulty."""

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sheeprl_dnp.study.plotting import (
    MARKERS,
    Results,
    arm_style,
    bars,
    dodged,
    legend,
    mark_trained_steps,
    new_figure,
    shade,
)

PANELS = {
    "reward": "return of an episode",
    "success": "success (share of episodes)",
    "ponder_steps": "ponder steps of an action",
}


def difficulty(results: Results) -> Figure | None:
    """Return, success (where the episodes have it) and ponder steps of the frozen policies by difficulty."""
    arms = {name: arm["difficulty"]["levels"] for name, arm in results["arms"].items() if arm["difficulty"]}
    panels = [key for key in PANELS if any(key in level for levels in arms.values() for level in levels)]
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
