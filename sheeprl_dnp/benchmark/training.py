"""The speed of a whole training: environment steps per second of the stock command on Crafter."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EXPERIMENTS = {"dreamer_v3": "dnp_crafter_small_baseline", "dreamer_v3_ponder": "dnp_crafter_small"}
LEARNING_STARTS = 256
STEPS = 768


def measure_training(accelerator: str, precision: str) -> dict[str, Any]:
    """By algorithm: environment steps per second once it learns, playing and learning; and the ratio of the times."""
    rates = {name: steps_per_second(experiment, accelerator, precision) for name, experiment in EXPERIMENTS.items()}
    ratio = rates["dreamer_v3"] / rates["dreamer_v3_ponder"]
    return {"environment_steps_per_second": rates, "ratio": ratio, "experiments": EXPERIMENTS, "steps": STEPS}


def steps_per_second(experiment: str, accelerator: str, precision: str) -> float:
    """
    Raises:
        RuntimeError: the training failed.
    """
    with tempfile.TemporaryDirectory() as folder:
        overrides = [
            f"exp={experiment}",
            f"algo.learning_starts={LEARNING_STARTS}",
            f"algo.total_steps={STEPS}",
            f"fabric.accelerator={accelerator}",
            f"fabric.precision={precision}",
            "metric.log_every=64",
            "checkpoint.every=0",
            "checkpoint.save_last=False",
            "buffer.memmap=False",
            f"log_root={folder}",
            f"hydra.run.dir={folder}",
        ]
        command = [sys.executable, "-m", "sheeprl", *overrides]
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if result.returncode:
            raise RuntimeError(f"`sheeprl {' '.join(overrides)}` failed: {result.stderr[-2000:]}")
        return logged_rate(Path(folder))


def logged_rate(folder: Path) -> float:
    """Steps per second of the wall clock between what TensorBoard has first and last after the learning started."""
    events = next(folder.rglob("events.out.tfevents.*"))
    logged = EventAccumulator(str(events.parent)).Reload().Scalars("Params/replay_ratio")
    learning = [event for event in logged if event.step > LEARNING_STARTS + 64]
    return (learning[-1].step - learning[0].step) / (learning[-1].wall_time - learning[0].wall_time)
