"""A live line about a training: steps done, steps/s, time left, recent return, mean ponder steps as last logged."""

import os
import sys
from collections import deque
from collections.abc import Iterator
from statistics import fmean

from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from sheeprl_dnp.dreamer_v3_ponder.agent import PonderedSteps

RECENT_EPISODES = 10


class StepsPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.1f} steps/s")


class ProgressLine(Progress):
    """Steps done, steps/s, time left, recent return, mean ponder steps, on the terminal where standard error is one.

    In the first process only. What goes to standard output stays there.
    """

    def __init__(
        self, fabric: Fabric, total_steps: int, start_step: int, player_steps: PonderedSteps | None = None
    ) -> None:
        super().__init__(
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            BarColumn(),
            StepsPerSecond(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[notes]}"),
            console=Console(stderr=True),
            refresh_per_second=2,
            speed_estimate_period=60,
            redirect_stdout=same_terminal(),
            disable=not (fabric.is_global_zero and sys.stderr.isatty()),
        )
        self._player_steps = player_steps
        self._returns: deque[float] = deque(maxlen=RECENT_EPISODES)
        self._training = self.add_task("", total=total_steps, completed=start_step, notes="")

    def go_on(self, step: int, returns: list[float]) -> None:
        """Moves on to a step, with the returns of the episodes that ended in it."""
        self._returns.extend(returns)
        self.update(self._training, completed=step, notes=" · ".join(self._notes()))

    def _notes(self) -> Iterator[str]:
        if self._returns:
            yield f"return {fmean(self._returns):.2f}"
        if self._player_steps and self._player_steps.last is not None:
            yield f"{float(self._player_steps.last):.2f} ponder steps"


def same_terminal() -> bool:
    """Whether standard output and standard error are one terminal: then the line moves on below what is printed."""
    streams = (sys.stdout, sys.stderr)
    return all(stream.isatty() for stream in streams) and len({os.fstat(s.fileno()).st_rdev for s in streams}) == 1
