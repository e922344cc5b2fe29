"""The agents that are compared: SheepRL's DreamerV3, and ours with each number of ponder steps."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import gymnasium as gym
import hydra
import torch
from hydra import compose, initialize_config_module
from hydra.errors import HydraException
from lightning.fabric import Fabric
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from sheeprl.utils.env import make_env
from sheeprl.utils.metric import MetricAggregator
from sheeprl.utils.utils import dotdict
from torch.distributions import Distribution

from sheeprl_dnp.costs import costs
from sheeprl_dnp.dreamer_v3_ponder.config import check_ponder_config
from sheeprl_dnp.dreamer_v3_ponder.utils import add_ponder_metrics
from sheeprl_dnp.learner import build_learner
from sheeprl_dnp.runs import ConfigError

# `small`, for two CPU cores: DreamerV3-XS with 8 channels in its encoder, and batches of 8 x 32
SMALL = ["world_model.encoder.cnn_channels_multiplier=8", "per_rank_batch_size=8", "per_rank_sequence_length=32"]
SIZES = {"small": ("XS", [f"algo.{key}" for key in SMALL])} | {size: (size, []) for size in ("XS", "S", "M", "L", "XL")}

Ponder = dict[str, Any]  # keys of `algo.ponder`
PLAIN: Ponder = {"step": "refine", "estimator": "trajectories", "continuation": "sample", "roots": "all"}
# The ways in which ours learns; `matched`: as many trajectories as DreamerV3 imagines
KINDS: dict[str, Ponder] = {
    "all": {},
    "matched": {},
    "all_commit": {"continuation": "commit"},
    "matched_commit": {"continuation": "commit"},
    "marginal": {"estimator": "marginal"},
    "dream": {"step": "dream", "estimator": "marginal"},
    "dream_all": {"step": "dream"},
}


def variants(max_halts: Sequence[int], actions: int, kinds: Sequence[str]) -> dict[str, Ponder]:
    """Ours by name; with one ponder step there is one, and no step dreams of more actions than there are."""
    chosen = {"n1": {"max_halts": 1}} if 1 in max_halts else {}
    for kind in kinds:
        most = actions + 1 if KINDS[kind].get("step") == "dream" else max(max_halts)
        for n in max_halts:
            if 1 < n <= most:
                matched = {"roots": 1 / n} if "matched" in kind else {}
                chosen[f"n{n}_{kind}"] = PLAIN | KINDS[kind] | matched | {"max_halts": n}
    return chosen


@dataclass(frozen=True)
class Settings:
    """What the agents of a run of the benchmark have in common."""

    size: str
    overrides: tuple[str, ...] = ()  # of Hydra
    device: str = "cpu"  # or cuda
    precision: str = "32-true"
    compile: bool = False

    def config(self, ponder: Ponder | None) -> dotdict:
        """The configuration of DreamerV3 (`None`), or of ours.

        Raises:
            ConfigError: an override is wrong.
        """
        size, changes = SIZES[self.size]
        overrides = [f"fabric.accelerator={self.device}", f"fabric.precision={self.precision}"]
        overrides += [f"algo.compile.enabled={self.compile}", *changes]
        if ponder is None:
            overrides += ["exp=dnp_crafter_baseline", f"algo=dreamer_v3_{size}"]
            overrides += [key for key in self.overrides if "algo.ponder." not in key]
        else:
            overrides += ["exp=dnp_crafter", f"algo=dreamer_v3_ponder_{size}", *self.overrides]
            overrides += [f"algo.ponder.{key}={value}" for key, value in ponder.items()]
        try:
            with initialize_config_module("sheeprl.configs", version_base="1.3"):
                cfg = dotdict(OmegaConf.to_container(compose("config", overrides), resolve=True))
        except (HydraException, OmegaConfBaseException) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"`KEY=VALUE` {' '.join(self.overrides)}: {reason}") from error
        if ponder is not None:
            check_ponder_config(cfg.algo)
            add_ponder_metrics(cfg)
        return cfg


def environment(cfg: dotdict) -> gym.Env:
    """That of a configuration, closed: it tells its spaces."""
    env = make_env(cfg, 0, 0)()
    env.close()
    return env


class Agent:
    """An untrained agent, which learns from a random batch on the device that is measured, with a training's metrics.

    Args:
        ponder: of ours; `None`: DreamerV3.
        static: of its `PonderNet`.
    """

    def __init__(self, settings: Settings, ponder: Ponder | None = None, *, static: bool | None = None) -> None:
        cfg = settings.config(ponder)
        set_up(cfg)
        fabric = Fabric(accelerator=settings.device, devices=1, precision=cfg.fabric.precision)
        self.device = fabric.device
        env = environment(cfg)
        self.actions = int(env.action_space.n)
        torch.manual_seed(0)
        with redirect_stdout(StringIO()):
            self.learner = build_learner(fabric, cfg, env.observation_space, env.action_space, static=static)
        batch = self.learner.batch(cfg.algo.per_rank_sequence_length, cfg.algo.per_rank_batch_size)
        self.batch = {key: value.to(self.device) for key, value in batch.items()}
        metrics = hydra.utils.instantiate(cfg.metric.aggregator, _convert_="all")
        self.aggregator: MetricAggregator = metrics.to(self.device)

    def step(self) -> None:
        """One gradient step."""
        self.learner.step(self.batch, self.aggregator)

    def flops(self) -> dict[str, Any]:
        """See `sheeprl_dnp.costs`."""
        return costs(self.learner.cfg, self.learner.observation_space, self.learner.action_space)["flops"]


def set_up(cfg: dotdict) -> None:
    """What SheepRL sets before a training of this configuration, and what of it changes what a step does."""
    Distribution.set_default_validate_args(cfg.distribution.validate_args)
    MetricAggregator.disabled = cfg.metric.log_level == 0
    torch.set_float32_matmul_precision(cfg.float32_matmul_precision)
    torch.backends.cudnn.benchmark = cfg.torch_backends_cudnn_benchmark
    torch.backends.cudnn.deterministic = cfg.torch_backends_cudnn_deterministic
    torch.use_deterministic_algorithms(cfg.torch_use_deterministic_algorithms)
