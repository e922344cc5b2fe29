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
from torch.distributions import Distribution

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
    kind: str  # one of `KINDS`

    @property
    def name(self) -> str:
        return "n1" if self.max_halts == 1 else f"n{self.max_halts}_{self.kind}"

    @property
    def ponder(self) -> dotdict:
        """The keys of `algo.ponder` that make it."""
        matched = {"roots": 1 / self.max_halts} if "matched" in self.kind else {}
        return PLAIN | KINDS[self.kind] | matched

    @property
    def step(self) -> str:
        return self.ponder["step"]

    @property
    def trajectories(self) -> int:
        """Imagined from each root."""
        return self.max_halts if self.ponder["estimator"] == "trajectories" else 1


PLAIN = {"step": "refine", "estimator": "trajectories", "continuation": "sample", "roots": "all"}
# `matched`: as many trajectories as DreamerV3 imagines
KINDS = {
    "all": {},
    "matched": {},
    "all_commit": {"continuation": "commit"},
    "matched_commit": {"continuation": "commit"},
    "marginal": {"estimator": "marginal"},
    "dream": {"step": "dream", "estimator": "marginal"},
}


def variants(max_halts: Sequence[int], actions: int) -> list[Variant]:
    """All of them; with one ponder step there is one, and no step dreams of more actions than there are."""
    several = [n for n in max_halts if n > 1]
    return [Variant(1, "all") for n in max_halts if n == 1] + [
        Variant(n, kind) for kind in KINDS for n in several if kind != "dream" or n <= actions + 1
    ]


@dataclass
class Agent:
    """An agent that learns, on the device that is measured."""

    learner: Learner
    batch: dict[str, torch.Tensor]

    @property
    def flops(self) -> dict[str, Any]:
        """See `sheeprl_dnp.costs`."""
        return costs(self.cfg, self.learner.observation_space, self.learner.action_space)["flops"]

    def flops_of(self, variant: Variant) -> dict[str, Any]:
        self.cfg.algo.ponder.update(variant.ponder)
        return self.flops

    @property
    def cfg(self) -> dotdict:
        return self.learner.cfg

    def step(self, variant: Variant | None = None) -> None:
        """One gradient step."""
        if variant:
            self.cfg.algo.ponder.update(variant.ponder)
        self.learner.step(self.batch)


def compose_agent(settings: Settings, max_halts: int | None, step: str = "refine") -> dotdict:
    """The configuration of DreamerV3 (`None`), or of ours.

    Raises:
        ConfigError: an override is wrong.
    """
    size, changes = SIZES[settings.size]
    ours = [] if max_halts is None else [f"algo.ponder.max_halts={max_halts}", f"algo.ponder.step={step}"]
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


def build_agent(settings: Settings, max_halts: int | None, step: str = "refine") -> Agent:
    """An untrained agent with a random batch."""
    cfg = compose_agent(settings, max_halts, step)
    Distribution.set_default_validate_args(cfg.distribution.validate_args)
    fabric = Fabric(accelerator=settings.device, devices=1, precision=settings.precision)
    env = make_env(cfg, 0, 0)()
    spaces = env.observation_space, env.action_space
    env.close()
    torch.manual_seed(0)
    with redirect_stdout(StringIO()):
        learner = build_learner(fabric, cfg, *spaces)
    batch = learner.batch(cfg.algo.per_rank_sequence_length, cfg.algo.per_rank_batch_size)
    batch = {key: value.to(fabric.device) for key, value in batch.items()}
    return Agent(learner, batch)
