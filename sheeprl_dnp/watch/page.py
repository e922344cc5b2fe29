"""The page of the episodes of an agent: one file of HTML that asks for nothing else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from sheeprl_dnp.pictures import COLUMNS
from sheeprl_dnp.watch.actions import Actions
from sheeprl_dnp.watch.witness import Episode

FOLDER = Path(__file__).parent
LIMIT = 10_000_000  # bytes of a page
FRAME = 100_000  # of them, what is no decision
BAR = 1_000  # at most, of a decision in its timeline
CHANGED = 0.1  # nats from which on thinking has changed the mind of an agent
SURPRISING = 0.9  # the quantile of the surprises above which one is marked


def write_page(actions: Actions, episodes: Sequence[Episode], **agent: Any) -> tuple[str, int]:
    """
    Args:
        agent: what the page says of it: see `watch.watch`.

    Returns:
        The page, and how many decisions of each episode it has: as many as fit into it, at least one.
    """
    environment = templates(actions)
    template = environment.get_template("decision.html.jinja")
    for e, episode in enumerate(episodes, 1):
        for d in episode.decisions:
            d.sheet.name = f"s{e}-{d.number}"
    every = [d for episode in episodes for d in episode.decisions]
    sheets = {d.sheet.name: d.sheet.encoded() for d in every}
    parts = {d.sheet.name: Markup(template.render(d=d, **agent)) for d in every}
    size = {name: BAR + len(sheet) + len(parts[name].encode()) for name, sheet in sheets.items()}
    count = fitting([[size[d.sheet.name] for d in episode.decisions] for episode in episodes])
    shown = [(episode, episode.decisions[:count]) for episode in episodes]
    height, width, _ = every[0].sheet.shape
    page = environment.get_template("page.html.jinja").render(
        **agent,
        episodes=shown,
        changed=CHANGED,
        surprising=np.quantile([d.surprise for _, decisions in shown for d in decisions], SURPRISING),
        sheets=sheets,
        parts=parts,
        ratio=height / width,
        style=Markup((FOLDER / "page.css").read_text()),
        script=Markup((FOLDER / "page.js").read_text()),
    )
    return page, count


def templates(actions: Actions) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals |= {"actions": actions, "columns": COLUMNS, "zip": zip}
    environment.filters["num"] = lambda number, sign="": f"{round(number, 2) + 0.0:{sign}.2f}"  # no negative zero
    environment.filters["px"] = lambda number: f"{number:.1f}".removesuffix(".0")
    return environment


def fitting(sizes: Sequence[Sequence[int]]) -> int:
    """How many decisions of each episode fit into a page, from the bytes of each, the same number of each episode."""
    most = max(map(len, sizes))
    together = np.sum([np.pad(own, (0, most - len(own))) for own in sizes], 0).cumsum()
    return max(1, int((together <= LIMIT - FRAME).sum()))
