"""The figures of a report, drawn from its numbers (`results.analyse`)."""

import csv
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sheeprl_dnp.study.difficulty_figures import (
    difficulty,
    forced_steps_by_difficulty,
    learning_curves_by_difficulty,
)
from sheeprl_dnp.study.plotting import (
    STYLE,
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

# Greys, told apart by their dashes
REFERENCES = {
    "random": ("Random", {"color": "#999999", "linestyle": ":"}),
    "ppo": ("PPO", {"color": "#777777", "linestyle": "-."}),
    "rainbow": ("Rainbow", {"color": "#777777", "linestyle": "--"}),
    "dreamerv2": ("DreamerV2", {"color": "#444444", "linestyle": (0, (8, 2))}),
}
STAR = {"marker": "*", "markersize": 14, "markeredgecolor": "black", "linestyle": "none"}
HOLLOW_STAR = {"marker": "*", "markersize": 14, "markerfacecolor": "white", "linestyle": "none"}
DASHES = {"linestyle": "--", "linewidth": 1}
PANELS = {
    "training": "training, all episodes",
    "training_last_part": "training, last fifth of the steps",
    "frozen": "frozen policy",
}


def reference_curves() -> dict[str, list[tuple[int, float]]]:
    """The published curves: end step of the bin, mean reward (Hafner 2021; see the head of the file)."""
    text = files("sheeprl_dnp.study").joinpath("reference_curves.csv").read_text()
    rows = list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))
    return {name: [(int(row["bin_end_step"]), float(row[f"{name}_mean"])) for row in rows] for name in REFERENCES}


def learning_curves(results: Results) -> Figure | None:
    """The mean reward of the training episodes by environment steps; of Crafter with the published curves, in grey."""
    arms = {name: arm["curve"] for name, arm in results["arms"].items() if arm["curve"]}
    if not arms:
        return None
    figure, [[axes]] = new_figure(8, 5)
    for name, points in arms.items():
        band(axes, [point["step"] / THOUSAND for point in points], points, **arm_style(results, name))
    if results["plays_crafter"]:
        _references(axes, results["budget"])
    axes.set(xlabel="environment steps (thousands)", xlim=(0, results["budget"] / THOUSAND))
    axes.set_ylabel("achievements unlocked - 0.9" if results["plays_crafter"] else "return of an episode")
    axes.set_title(f"Training episodes by bins of {results['bin']:,} steps: mean over seeds, 95 % interval")
    legend(figure, axes)
    return figure


def _references(axes: Axes, budget: int) -> None:
    for key, points in reference_curves().items():
        name, style = REFERENCES[key]
        shown = [(step / THOUSAND, reward) for step, reward in points if step <= budget]
        if shown:
            axes.plot(*zip(*shown, strict=True), linewidth=1.2, zorder=1, label=f"{name} (Hafner 2021)", **style)


def success_rates(results: Results) -> Figure | None:
    """Of each achievement, in three panels: training, its last part, frozen policy."""
    arms = {name: arm["success_rates"] for name, arm in results["arms"].items()}
    panels = [key for key in PANELS if any(rates[key] for rates in arms.values())]
    if not panels:
        return None
    rates = next(rates[key] for key in panels for rates in arms.values() if rates[key])
    names = sorted(rates, key=lambda name: rates[name]["value"])
    figure, axes = new_figure(12, 9, 1, len(panels), sharey=True)
    for panel, key in zip(axes[0], panels, strict=True):
        for index, (arm, own) in enumerate(arms.items()):
            _success_panel(panel, names, own[key], (index + 1) / (len(arms) + 1), arm_style(results, arm))
        panel.set(title=PANELS[key], xlabel="success rate (% of episodes)")
    legend(figure, axes[0, 0])
    return figure


def _success_panel(axes: Axes, names: list[str], rates: Results, offset: float, style: Results) -> None:
    shown = [(row + 0.4 - 0.8 * offset, rates[name]) for row, name in enumerate(names) if name in rates]
    if shown:
        bars(axes, *zip(*shown, strict=True), flat=True, linestyle="none", **style)
    axes.set_xscale("symlog", linthresh=1, linscale=0.5)
    axes.set_xticks([0, 1, 10, 100], ["0", "1", "10", "100"])
    axes.set(xlim=(-0.2, 130), ylim=(-0.6, len(names) - 0.4))
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])


def halting(results: Results) -> Figure | None:
    """Over the training: above, the probability to halt at each ponder step; below, the mean ponder steps."""
    arms = {name: arm["halting"] for name, arm in results["arms"].items() if arm["halting"]}
    if not arms:
        return None
    figure, axes = new_figure(3.5 + 5 * len(arms), 6.5, 2, len(arms), sharex=True, sharey="row")
    for column, (name, data) in enumerate(arms.items()):
        _halt_mass(axes[0, column], data)
        _ponder_steps(axes[1, column], data)
        axes[0, column].set_title(name)
        axes[1, column].set_xlabel("environment steps (thousands)")
    axes[0, 0].set_ylabel("probability to halt")
    axes[1, 0].set_ylabel("mean ponder steps of an action")
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5), title="at ponder step", reverse=True)
    axes[1, -1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _halt_mass(axes: Axes, data: Results) -> None:
    steps, count = [step / THOUSAND for step in data["step"]], len(data["halt_mass"])
    colours = [shade(index, count) for index in range(count)]
    labels = [str(index + 1) for index in range(count)]
    axes.stackplot(steps, data["halt_mass"], colors=colours, labels=labels, edgecolor="white", linewidth=0.5)
    axes.set(ylim=(0, 1), xlim=(steps[0], steps[-1]) if len(steps) > 1 else None)


def _ponder_steps(axes: Axes, data: Results) -> None:
    labels = {"expected_steps": "expected, in imagination", "player_steps": "taken by the player"}
    for key, colour, marker in (("expected_steps", "#0072B2", "o"), ("player_steps", "#D55E00", "s")):
        points = data[key]
        x = [point["step"] / THOUSAND for point in points]
        if points:
            band(axes, x, points, color=colour, marker=marker, label=labels[key])
    if data["prior_steps"]:
        axes.axhline(data["prior_steps"], color="#444444", label="mean of the prior", **DASHES)
    axes.set_ylim(1, len(data["halt_mass"]) if len(data["halt_mass"]) > 1 else None)


def forced_steps(results: Results) -> Figure | None:
    """The return of the frozen policies against the number of ponder steps that was forced on them."""
    arms = {name: arm for name, arm in results["arms"].items() if arm["forced_steps"]}
    if not arms:
        return None
    figure, [[axes]] = new_figure(8, 5.2)
    for index, (name, arm) in enumerate(arms.items()):
        steps, rewards = zip(*((point["steps"], point["reward"]) for point in arm["forced_steps"]), strict=True)
        bars(axes, dodged(steps, index, len(arms)), rewards, **arm_style(results, name))
    for name, arm in results["arms"].items():
        _own_rule(axes, arm, arm_style(results, name))
    axes.plot([], [], **STAR, color="#999999", label="by the own halting rule")
    if any(arm["shuffled"] for arm in results["arms"].values()):
        axes.plot([], [], **HOLLOW_STAR, color="#999999", label="by its steps, shuffled")
    for trained in sorted({arm["trained_steps"] for arm in arms.values()} - {None}):
        mark_trained_steps(axes, trained)
    axes.set_xticks(sorted({point["steps"] for arm in arms.values() for point in arm["forced_steps"]}))
    axes.margins(y=0.12)
    axes.set(xlabel="ponder steps of each action", ylabel="return of an episode")
    axes.set_title("Frozen policy: mean over seeds, 95 % interval")
    legend(figure, axes)
    return figure


def _own_rule(axes: Axes, arm: Results, style: Results) -> None:
    """An agent by its own halting rule: a star at its mean steps, hollow where they are shuffled.

    A line for one that doesn't ponder.
    """
    frozen = arm["frozen"]
    if not frozen["reward"]:
        return
    reward = frozen["reward"]["mean"]
    if arm["trained_steps"]:
        star = STAR | {"color": style["color"], "zorder": 5}
        bars(axes, [frozen["ponder_steps"]["mean"]["value"]], [reward], **star)
        if arm["shuffled"]:
            hollow = HOLLOW_STAR | {"color": style["color"], "zorder": 5}
            bars(axes, [arm["shuffled"]["ponder_steps"]["value"]], [arm["shuffled"]["reward"]], **hollow)
        return
    axes.axhline(reward["value"], color=style["color"], linestyle="--", label=f"{style['label']} (does not ponder)")
    if reward["low"] is not None:
        axes.axhspan(reward["low"], reward["high"], color=style["color"], alpha=0.12, linewidth=0)


def cost(results: Results) -> Figure | None:
    """The return of the frozen policies against what an action and a training cost: each small mark is a seed."""
    columns = {
        "flops_per_action": ("MFLOPs per action", 1e-6),
        "training_flops": ("TFLOPs of a training", 1e-12),
        "wall_s": ("wall time of a training (hours)", 1 / 3600),
    }
    points = [point for arm in results["arms"].values() for point in arm["cost_points"]]
    columns = {key: value for key, value in columns.items() if any(point[key] is not None for point in points)}
    if not columns:
        return None
    figure, axes = new_figure(4.6 * len(columns), 4.8, 1, len(columns), sharey=True)
    for panel, (key, (label, scale)) in zip(axes[0], columns.items(), strict=True):
        for name, arm in results["arms"].items():
            _cost_panel(panel, arm, key, scale, arm_style(results, name))
        panel.set(xlabel=label)
        panel.margins(x=0.15)
    axes[0, 0].set_ylabel("return of an episode, frozen policy")
    if any(arm["forced_steps"] for arm in results["arms"].values()):
        axes[0, 0].plot([], [], color="#999999", label="forced ponder steps", **DASHES)
    legend(figure, axes[0, 0])
    return figure


def _cost_panel(axes: Axes, arm: Results, key: str, scale: float, style: Results) -> None:
    """The seeds, and their mean with the interval of the return; for an action, also the forced ponder steps."""
    points = [(point[key] * scale, point["reward"]) for point in arm["cost_points"] if point[key] is not None]
    if not points:
        return
    x, y = zip(*points, strict=True)
    axes.plot(x, y, **style | {"label": None}, linestyle="none", markersize=4, alpha=0.45)
    bars(axes, [sum(x) / len(x)], [arm["frozen"]["reward"]["mean"]], linestyle="none", mec="black", **style)
    if key == "flops_per_action":
        forced = [(p["flops_per_action"] * scale, p["reward"]["value"]) for p in arm["forced_steps"]]
        for line in [forced] if forced else []:
            axes.plot(*zip(*line, strict=True), color=style["color"], **DASHES)


FIGURES: dict[str, tuple[Callable[[Results], Figure | None], str]] = {
    "learning_curves": (learning_curves, "Learning curves of the training episodes"),
    "success_rates": (
        success_rates,
        "Success rates of the achievements, mean over seeds and 95 % interval; logarithmic above 1 %",
    ),
    "halting": (halting, "Halting distribution over the training, and mean ponder steps"),
    "forced_steps": (forced_steps, "Return against a forced number of ponder steps"),
    "cost": (cost, "Return of the frozen policy against cost: small marks are seeds, large ones their mean"),
    "learning_curves_by_difficulty": (
        learning_curves_by_difficulty,
        "Learning curves of the training episodes of each difficulty: mean over seeds, 95 % interval",
    ),
    "difficulty": (difficulty, "Return and ponder steps by the difficulty of the episode"),
    "forced_steps_by_difficulty": (
        forced_steps_by_difficulty,
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
