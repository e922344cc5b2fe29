"""The commands of the documents do what the documents say, with small agents and few steps added.

What they tell `scripts/study`, `tune`, `report` and `benchmark` is parsed as written (`test_readme`), and run by the
tests of these; that of `scripts/paperspace` by its own.
"""

import math
import subprocess
from pathlib import Path

import pytest
from conftest import BIN, TINY_AGENT, Command, clean_environment, last_checkpoint
from test_help import MODULES
from test_readme import DOCUMENTS, own_environment, program, shell_lines  # noqa: F401

pytestmark = pytest.mark.slow
SMALL = [
    *TINY_AGENT,
    "fabric.accelerator=cpu",
    "algo.learning_starts=64",
    "algo.replay_ratio=0.1",
    "buffer.size=200",
    "buffer.memmap=False",
    "metric.log_every=32",
]
# Atari's games are not among the dependencies: the environment that stands for them has pictures too
STAND_INS = {"env=atari": "env=dummy", "env.id=MsPacmanNoFrameskip-v4": "env.capture_video=False"}
MY_PACKAGE = """
import gymnasium as gym
import numpy as np


class MyEnv(gym.Env):
    observation_space = gym.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 8
        return self.observation_space.sample(), {}

    def step(self, action):
        self.left -= 1
        return self.observation_space.sample(), float(action), self.left == 0, False, {}
"""


def documented(name: str) -> list[list[str]]:
    """The arguments of each different command of this program."""
    lines = dict.fromkeys(line for document in DOCUMENTS for line in shell_lines(document.read_text()))
    return [arguments for first, *arguments in map(program, lines) if first == name]


@pytest.mark.parametrize("arguments", documented("sheeprl"), ids=" ".join)
@pytest.mark.usefixtures("own_environment")
def test_the_stock_command_trains(train: Command, tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "my_package.py").write_text(MY_PACKAGE)
    variables = {"SHEEPRL_SEARCH_PATH": "file://configs", "PYTHONPATH": str(tmp_path)}
    options = {"env": clean_environment() | variables, "timeout": 550}
    small = [*SMALL, "env.num_envs=2", "env.sync_env=True"]
    if "-m" in arguments:  # Hydra reads them without an experiment, too
        small = [f"++{key}" for key in small]
    words = [STAND_INS.get(word, word) for word in arguments]
    if resumed := [word for word in words if word.startswith("checkpoint.resume_from=")]:
        train(*(word for word in words if word not in resumed), *small, "algo.total_steps=96", **options)
        words[words.index(resumed[0])] = f"checkpoint.resume_from={last_checkpoint(tmp_path)}"
    train(*words, *small, "algo.total_steps=128", **options)
    runs = math.prod(word.count(",") + 1 for word in words) if "-m" in words else 1
    assert len(list(tmp_path.rglob("ckpt_128_0.ckpt"))) == runs
    assert len(list(tmp_path.rglob("events.out.tfevents.*"))) == runs + len(resumed)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of a small agent that dreams, and of one that has ended an episode of Crafter."""
    folder, played = tmp_path_factory.mktemp("runs"), {"dnp_lights_out_dream": 128, "dnp_crafter_small": 600}
    for experiment, steps in played.items():
        overrides = [*SMALL, f"algo.total_steps={steps}", "algo.replay_ratio=0.02", "env.num_envs=1"]
        overrides += ["env.max_episode_steps=100", f"run_name={experiment}"]
        command = [str(BIN / "sheeprl"), f"exp={experiment}", *overrides]
        subprocess.run(command, cwd=folder, env=clean_environment(), check=True, capture_output=True)
    return {experiment: next(folder.rglob(experiment)) for experiment in played}


@pytest.mark.parametrize(
    ("name", "arguments"),
    [(name, arguments) for name in ("watch", "evaluate", "score") for arguments in documented(f"scripts/{name}")],
    ids=lambda value: value if isinstance(value, str) else " ".join(value),
)
def test_the_scripts_do_it(
    command: Command, runs: dict[str, Path], tmp_path: Path, name: str, arguments: list[str]
) -> None:
    checkpoint = str(last_checkpoint(runs["dnp_lights_out_dream"]))
    stands_for = {"CKPT": checkpoint, "RUN": str(runs["dnp_crafter_small"])}
    words = [checkpoint if word.endswith(".ckpt") else stands_for.get(word, word) for word in arguments]
    result = command("python", "-m", MODULES[name], *words)
    assert result.returncode == 0, result.stderr[-3000:]
