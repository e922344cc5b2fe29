"""A live line about a training: steps done, steps/s, time left, recent return and mean ponder steps."""

from collections import deque
from statistics import fmean
from types import TracebackType
from typing import Any

from lightning.fabric import Fabric
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text
from sheeprl.utils.env import get_episode_stats

from sheeprl_dnp.dreamer_v3_ponder.agent import PonderedSteps
from sheeprl_dnp.runs import resumed_step

RECENT_EPISODES = 10


class StepsPerSecond(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed or 0:.1f} steps/s")


class Progress:
    """Shows the progress on a terminal, in the first process only; silent anywhere else.

    SheepRL's loop asks `episode_stats` once for the infos of each step of its environments: that moves the line on.
    """

    def __init__(self, fabric: Fabric, cfg: dict[str, Any], player_steps: PonderedSteps) -> None:
        self._steps_per_call = cfg.env.num_envs * fabric.world_size
        self._player_steps = player_steps
        self._returns: deque[float] = deque(maxlen=RECENT_EPISODES)
        console = Console(stderr=True)
        self._bar = RichProgress(
            TextColumn("{task.completed:,.0f}/{task.total:,.0f} steps"),
            BarColumn(),
            StepsPerSecond(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[notes]}"),
            console=console,
            refresh_per_second=2,
            speed_estimate_period=60,
            disable=not (fabric.is_global_zero and console.is_terminal),
        )
        completed = resumed_step(cfg.checkpoint.resume_from) if cfg.checkpoint.resume_from else 0
        self._task = self._bar.add_task("", total=cfg.algo.total_steps, completed=completed, notes="")

    def __enter__(self) -> "Progress":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def episode_stats(self, infos: dict[str, Any]) -> list[tuple[int, float, int]]:
        """SheepRL's `get_episode_stats`, shown."""
        stats = get_episode_stats(infos)
        self._returns.extend(episode_return for _, episode_return, _ in stats)
        self._bar.update(self._task, advance=self._steps_per_call, notes=self._notes())
        return stats

    def _notes(self) -> str:
        notes = []
        if self._returns:
            notes.append(f"return {fmean(self._returns):.2f}")
        if self._player_steps.last is not None:
            notes.append(f"{self._player_steps.last:.2f} ponder steps")
        return " · ".join(notes)
