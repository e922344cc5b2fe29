"""The speed of a whole training: environment steps per second of the stock command on Crafter."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EXPERIMENTS = {"dreamer_v3": "dnp_crafter_small_baseline", "dreamer_v3_ponder": "dnp_crafter_small"}
LEARNING_STARTS = 256
OVERRIDES = [
    f"algo.learning_starts={LEARNING_STARTS}",
    "algo.total_steps=768",
    "fabric.accelerator=cpu",
    "metric.log_every=64",
    "checkpoint.every=0",
    "checkpoint.save_last=False",
    "buffer.memmap=False",
]


def measure_training(on_progress: Callable[[str], None]) -> pd.DataFrame:
    """By algorithm: the `rate` in environment steps per second once it learns, playing and learning."""
    on_progress("training")
    rates = {name: steps_per_second(experiment) for name, experiment in EXPERIMENTS.items()}
    return pd.DataFrame({"rate": rates}).rename_axis("agent").reset_index()


def steps_per_second(experiment: str) -> float:
    """
    Raises:
        RuntimeError: the training failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        overrides = [f"exp={experiment}", *OVERRIDES, f"log_root={folder}", f"hydra.run.dir={folder}"]
        command = [sys.executable, "-m", "sheeprl", *overrides]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if result.returncode:
            raise RuntimeError(f"`sheeprl {' '.join(overrides)}` failed: {result.stderr[-2000:]}")
        events = next(Path(folder).rglob("events.out.tfevents.*"))
        logged = EventAccumulator(str(events.parent)).Reload().Scalars("Params/replay_ratio")
    # Between what was logged first and last after the learning started
    learning = [event for event in logged if event.step > LEARNING_STARTS + 64]
    return (learning[-1].step - learning[0].step) / (learning[-1].wall_time - learning[0].wall_time)
