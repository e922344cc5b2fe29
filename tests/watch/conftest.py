"""Untrained agents of every kind as checkpoints, and a browser that opens pages."""

from base64 import b64decode
from collections.abc import Callable, Iterator
from functools import cache
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import TINY_AGENT
from lightning.fabric import Fabric
from omegaconf import OmegaConf
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from sheeprl.utils.utils import dotdict
from test_configs import experiment

from sheeprl_dnp.dreamer_v3_ponder.utils import action_sizes, build_moments
from sheeprl_dnp.evaluation import PlayerSteps, make_environments
from sheeprl_dnp.learner import agent_builder
from sheeprl_dnp.pictures import COLUMNS, Sheet
from sheeprl_dnp.watch.watch import watch
from sheeprl_dnp.watch.witness import Episode

CHROMIUM = "/usr/bin/chromium"
QUIETLY = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
LIGHTS = ["env.wrapper.difficulty=[1,2]", "algo.horizon=5"]
AGENTS = {
    "dream": ["exp=dnp_lights_out_dream", *LIGHTS],
    "refine": [
        *("exp=dnp_lights_out", "algo.cnn_keys.encoder=[rgb]", "algo.mlp_keys.encoder=[]", "algo.mlp_keys.decoder=[]"),
        *("env.wrapper.slack=4", "env.wrapper.difficulty=[2,2]"),
    ],
    "fixed": ["exp=dnp_lights_out", "algo.ponder.learn_halting=False", *LIGHTS],
    "dreamer_v3": ["exp=dnp_sokoban_baseline", "env.wrapper.max_moves=4"],
    "continuous": [
        *("exp=dnp_lights_out", "env=gym", "env.id=Pendulum-v1", "env.max_episode_steps=4"),
        *("algo.mlp_keys.encoder=[state]", "algo.ponder.max_halts=3"),
    ],
}


def make_checkpoint(folder: Path, *overrides: str) -> str:
    """The checkpoint of an agent before its first gradient step, with the configuration of its run."""
    saved = experiment(*overrides, *TINY_AGENT, *(key for key in overrides if key.startswith("algo.horizon")))
    cfg = dotdict(OmegaConf.to_container(saved, resolve=True))
    cfg.env.capture_video = False
    env = make_environments(cfg, 1, 1, str(folder))
    space = env.single_action_space
    continuous = not hasattr(space, "n") and not hasattr(space, "nvec")
    fabric, moments = Fabric(accelerator="cpu", devices=1), build_moments(cfg.algo.actor.moments)
    torch.manual_seed(1)
    build = agent_builder(cfg, PlayerSteps(1), moments)
    *parts, _ = build(fabric, action_sizes(space), continuous, cfg, env.single_observation_space)
    with torch.no_grad():
        for weights in (*parts[0].parameters(), *parts[2].parameters()):  # the heads of an untrained agent say 0
            weights.add_(0.05 * torch.randn_like(weights))
    moments.high += 1
    names = ("world_model", "actor", "critic", "target_critic")
    state = {name: part.state_dict() for name, part in zip(names, parts, strict=True)}
    path = folder / "checkpoint" / "ckpt_96_0.ckpt"
    path.parent.mkdir(parents=True)
    torch.save(state | {"moments": moments.state_dict(), "iter_num": 1}, path)
    OmegaConf.save(saved, folder / "config.yaml")
    env.close()
    return str(path)


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """The checkpoint of one of `AGENTS`, made once."""
    return cache(lambda name: make_checkpoint(tmp_path_factory.mktemp(name), *AGENTS[name]))


@pytest.fixture(scope="session")
def watched(agent: Callable[[str], str]) -> Callable[[str], tuple[str, list[Episode], int]]:
    """What `watch` gives of three episodes of one of `AGENTS`, played once."""
    return cache(lambda name: watch(agent(name), episodes=3, seed=5))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIETLY)
        yield browser
        browser.close()


def picture_of(sheet: Sheet, number: int) -> np.ndarray:
    """A picture from the sheet as a browser gets it; of few colours, so that nothing is lost."""
    image = np.asarray(Image.open(BytesIO(b64decode(sheet.encoded()))).convert("RGB"))
    height, width, _ = sheet.shape
    row, column = divmod(number, COLUMNS)
    return image[row * height : (row + 1) * height, column * width : (column + 1) * width]
