"""The agents that are compared: SheepRL's DreamerV3, and ours with each number of ponder steps."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import torch
from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from lightning.fabric import Fabric
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from sheeprl.utils.env import make_env
from sheeprl.utils.utils import dotdict

from sheeprl_dnp.costs import costs
from sheeprl_dnp.dreamer_v3_ponder.config import check_ponder_config
from sheeprl_dnp.learner import Learner, build_learner
from sheeprl_dnp.runs import ConfigError

SIZES = {
    # For two CPU cores: DreamerV3-XS with 8 channels in its encoder, and batches of 8 x 32
    "small": (
        "XS",
        [
            "algo.world_model.encoder.cnn_channels_multiplier=8",
            "algo.per_rank_batch_size=8",
            "algo.per_rank_sequence_length=32",
        ],
    ),
    **{size: (size, []) for size in ("XS", "S", "M", "L", "XL")},
}


@dataclass(frozen=True)
class Settings:
    size: str
    device: str  # cpu or cuda
    precision: str
    compile: bool
    overrides: tuple[str, ...]  # of Hydra, for all agents


@dataclass(frozen=True)
class Variant:
    """A way in which ours learns."""

    max_halts: int
    roots: str  # `all`, or `matched`: as many trajectories as DreamerV3 imagines
    continuation: str

    @property
    def name(self) -> str:
        if self.max_halts == 1:
            return "n1"
        return f"n{self.max_halts}_{self.roots}" + ("_commit" if self.continuation == "commit" else "")


def variants(max_halts: Sequence[int]) -> list[Variant]:
    """All of them; with one ponder step there is one."""
    several = [n for n in max_halts if n > 1]
    return [Variant(1, "all", "sample") for n in max_halts if n == 1] + [
        Variant(n, roots, continuation)
        for continuation in ("sample", "commit")
        for roots in ("all", "matched")
        for n in several
    ]


@dataclass
class Agent:
    """An agent that learns, on the device that is measured."""

    learner: Learner
    batch: dict[str, torch.Tensor]
    flops: dict[str, Any]  # see `sheeprl_dnp.costs`

    @property
    def cfg(self) -> dict[str, Any]:
        return self.learner.cfg

    def step(self, variant: Variant | None = None) -> None:
        """One gradient step."""
        if variant:
            self.cfg.algo.ponder.continuation = variant.continuation
            self.cfg.algo.ponder.roots = "all" if variant.roots == "all" else 1 / variant.max_halts
        self.learner.step(self.batch)


def compose_agent(settings: Settings, max_halts: int | None) -> dict[str, Any]:
    """The configuration of DreamerV3 (`None`), or of ours.

    Raises:
        ConfigError: an override is wrong.
    """
    size, changes = SIZES[settings.size]
    ours = [] if max_halts is None else [f"algo.ponder.max_halts={max_halts}"]
    overrides = [
        "exp=dnp_crafter_baseline" if max_halts is None else "exp=dnp_crafter",
        f"algo=dreamer_v3_{size}" if max_halts is None else f"algo=dreamer_v3_ponder_{size}",
        f"fabric.accelerator={settings.device}",
        f"fabric.precision={settings.precision}",
        f"algo.compile.enabled={settings.compile}",
        *changes,
        *(key for key in settings.overrides if max_halts is not None or "algo.ponder." not in key),
        *ours,
    ]
    try:
        with initialize_config_module("sheeprl.configs", version_base="1.3"):
            cfg = dotdict(OmegaConf.to_container(compose("config", overrides), resolve=True))
    except (HydraException, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"`KEY=VALUE` {' '.join(settings.overrides)}: {reason}") from error
    if max_halts is not None:
        check_ponder_config(cfg.algo)
    return cfg


def build_agent(settings: Settings, max_halts: int | None) -> Agent:
    """An untrained agent with a random batch."""
    cfg = compose_agent(settings, max_halts)
    fabric = Fabric(accelerator=settings.device, devices=1, precision=settings.precision)
    env = make_env(cfg, 0, 0)()
    spaces = env.observation_space, env.action_space
    env.close()
    torch.manual_seed(0)
    with redirect_stdout(StringIO()):
        learner = build_learner(fabric, cfg, *spaces)
    batch = learner.batch(cfg.algo.per_rank_sequence_length, cfg.algo.per_rank_batch_size)
    return Agent(learner, {key: value.to(fabric.device) for key, value in batch.items()}, costs(cfg, *spaces)["flops"])
