"""The commands of the user, and trainings small enough to run in a test."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

BIN = Path(sys.executable).parent
Command = Callable[..., subprocess.CompletedProcess[str]]

# A network of a few thousand weights, and batches of a few steps
TINY_AGENT = [
    "algo.per_rank_batch_size=2",
    "algo.per_rank_sequence_length=8",
    "algo.horizon=4",
    "algo.dense_units=16",
    "algo.mlp_layers=3",
    "algo.world_model.encoder.cnn_channels_multiplier=2",
    "algo.world_model.recurrent_model.recurrent_state_size=16",
    "algo.world_model.transition_model.hidden_size=16",
    "algo.world_model.representation_model.hidden_size=16",
    "algo.world_model.stochastic_size=4",
    "algo.world_model.discrete_size=4",
]
# A training of 160 steps on real Crafter, with 24 gradient steps
TINY_CRAFTER = [
    *TINY_AGENT,
    "env.num_envs=2",
    "env.sync_env=True",
    "algo.total_steps=160",
    "algo.learning_starts=64",
    "algo.replay_ratio=0.25",
    "buffer.size=1000",
    "metric.log_every=40",
    "checkpoint.every=1000",
]

# A training of 96 steps on Lights Out, with 5 gradient steps, and a checkpoint every 32 steps
TINY_LIGHTS_OUT = [
    *(key for key in TINY_AGENT if "cnn_channels" not in key and key != "algo.mlp_layers=3"),
    "env.num_envs=2",
    "algo.total_steps=96",
    "algo.learning_starts=48",
    "algo.replay_ratio=0.1",
    "buffer.size=200",
    "metric.log_every=32",
    "checkpoint.every=32",
]


def clean_environment() -> dict[str, str]:
    """The environment of a user: nothing of the project set, nor of the test runner; one thread each."""
    ours = ("SHEEPRL", "PYTEST", "LOCAL_RANK", "WORLD_SIZE")
    return {key: value for key, value in os.environ.items() if not key.startswith(ours)} | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """Runs a command of the environment in an empty folder: `command("sheeprl", "exp=...")`."""

    def run(name: str, *arguments: str, timeout: float = 300, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(BIN / name), *arguments],
            cwd=kwargs.pop("cwd", tmp_path),
            env=kwargs.pop("env", clean_environment()),
            capture_output=True,
            text=True,
            timeout=timeout,
            **kwargs,
        )

    return run


@pytest.fixture
def train(command: Command) -> Command:
    """Trains with the stock command, and fails with its output if it fails."""

    def run(*overrides: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        result = command("sheeprl", *overrides, **kwargs)
        assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
        return result

    return run


def refusal(main: Callable[..., Any], *arguments: str) -> str:
    """The one sentence that a command ends with."""
    with pytest.raises(SystemExit) as stopped:
        main(list(arguments))
    message = stopped.value.code
    assert isinstance(message, str) and message.startswith("Error: ") and message.endswith(".") and "\n" not in message
    return message


def steps_of(checkpoint: Path) -> int:
    return int(checkpoint.stem.split("_")[1])


def last_checkpoint(folder: Path) -> Path:
    """The checkpoint of the most steps below `folder`."""
    checkpoints = sorted(folder.rglob("*.ckpt"), key=steps_of)
    assert checkpoints, f"no checkpoint below {folder}"
    return checkpoints[-1]


def wait_for_checkpoint(process: subprocess.Popen[Any], folder: Path, steps: int) -> None:
    """Until the training has saved a checkpoint of `steps` or more below `folder`; kills it where that doesn't come."""
    deadline = time.monotonic() + 240
    while not any(steps_of(path) >= steps for path in folder.rglob("*.ckpt")):
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise AssertionError(f"no checkpoint of {steps} steps: {process.communicate()[1]}")
        time.sleep(0.05)


def load(checkpoint: Path) -> dict[str, Any]:
    return torch.load(checkpoint, map_location="cpu", weights_only=False)


def leaves(tree: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """The tensors and numbers of a nested checkpoint, by their path."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield from leaves(value, f"{name}/{key}")
    elif isinstance(tree, list | tuple):
        for key, value in enumerate(tree):
            yield from leaves(value, f"{name}/{key}")
    else:
        yield name, tree


def same(a: Any, b: Any) -> bool:
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def differences(a: dict[str, Any], b: dict[str, Any]) -> list[str]:
    """The paths of what is in one of two checkpoints only, or isn't equal bit for bit (but for the buffers' files)."""
    left, right = (dict(leaves({k: v for k, v in state.items() if k != "rb"})) for state in (a, b))
    return sorted(left.keys() ^ right.keys()) + [k for k in left.keys() & right.keys() if not same(left[k], right[k])]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)
