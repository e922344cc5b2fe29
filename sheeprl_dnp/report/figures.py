"""The figures of a report, drawn from its tables (`results.analyse`)."""

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from PIL import Image

from sheeprl_dnp.report import frozen_figures, training_figures
from sheeprl_dnp.report.plotting import STYLE
from sheeprl_dnp.report.results import Results

COLOURS = 128  # of a picture
MEANS = "mean over seeds, 95 % interval"
CAPTIONS: dict[Callable[[Results], Figure | None], str] = {
    training_figures.learning_curves: "Learning curves of the training episodes, by environment steps and by the "
    "computation of the training",
    frozen_figures.success_rates: f"Success rates of the achievements, {MEANS}; logarithmic above 1 %",
    training_figures.halting: "Where the agents halt over the training, and the ponder steps of an action: "
    f"{MEANS}, and what the prior asks for",
    frozen_figures.forced_steps: f"Return by the number of ponder steps, or of actions dreamed of: {MEANS}",
    frozen_figures.cost: "Return of the frozen policy against cost: small marks are seeds, large ones their mean",
    training_figures.learning_curves_by_difficulty: "Learning curves of the training episodes of each difficulty: "
    f"{MEANS}",
    frozen_figures.difficulty: f"Return and ponder steps of the frozen policy by the episode's difficulty: {MEANS}",
    frozen_figures.forced_steps_by_difficulty: "Return against a forced number of ponder steps, for each difficulty",
}


def save(figure: Figure, path: Path) -> None:
    """With a palette: a third as large."""
    drawn = io.BytesIO()
    figure.savefig(drawn)
    Image.open(drawn).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def save_figures(results: Results, folder: Path) -> dict[str, str]:
    """Writes each figure that the study has the data for as `<name>.png`; returns their captions by file name."""
    captions = {}
    for draw, caption in CAPTIONS.items():
        with matplotlib.rc_context(STYLE):
            figure = draw(results)
            if figure is not None:
                save(figure, folder / f"{draw.__name__}.png")
                captions[f"{draw.__name__}.png"] = caption
    return captions
