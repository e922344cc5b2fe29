"""The agents that are compared: SheepRL's DreamerV3, and ours with each number of ponder steps."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

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
from sheeprl_dnp.learner import Learner, build_learner
from sheeprl_dnp.runs import ConfigError

# `small`, for two CPU cores: DreamerV3-XS with 8 channels in its encoder, and batches of 8 x 32
SMALL = ["world_model.encoder.cnn_channels_multiplier=8", "per_rank_batch_size=8", "per_rank_sequence_length=32"]
SIZES = {"small": ("XS", [f"algo.{key}" for key in SMALL])} | {size: (size, []) for size in ("XS", "S", "M", "L", "XL")}


@dataclass(frozen=True)
class Settings:
    """What the agents of a run of the benchmark have in common."""

    size: str
    overrides: tuple[str, ...] = ()  # of Hydra
    device: str = "cpu"  # or cuda
    precision: str = "32-true"
    compile: bool = False


@dataclass(frozen=True)
class Variant:
    """A way in which ours learns."""

    max_halts: int
    kind: str  # one of `KINDS`

    @property
    def name(self) -> str:
        return "n1" if self.max_halts == 1 else f"n{self.max_halts}_{self.kind}"

    @property
    def ponder(self) -> dict[str, Any]:
        """The keys of `algo.ponder` that make it."""
        matched = {"roots": 1 / self.max_halts} if "matched" in self.kind else {}
        return PLAIN | KINDS[self.kind] | matched

    @property
    def step(self) -> str:
        return self.ponder["step"]


PLAIN = {"step": "refine", "estimator": "trajectories", "continuation": "sample", "roots": "all"}
# `matched`: as many trajectories as DreamerV3 imagines
KINDS = {
    "all": {},
    "matched": {},
    "all_commit": {"continuation": "commit"},
    "matched_commit": {"continuation": "commit"},
    "marginal": {"estimator": "marginal"},
    "dream": {"step": "dream", "estimator": "marginal"},
    "dream_all": {"step": "dream"},
}
TIMED = ("all", "matched", "all_commit", "matched_commit", "marginal", "dream")
ESTIMATED = ("all", "marginal", "dream", "dream_all")  # each step with each estimator


def variants(max_halts: Sequence[int], actions: int, kinds: Sequence[str]) -> list[Variant]:
    """All of them; with one ponder step there is one, and no step dreams of more actions than there are."""
    several = [n for n in max_halts if n > 1]
    return [Variant(1, "all") for n in max_halts if n == 1] + [
        Variant(n, kind) for kind in kinds for n in several if n <= actions + 1 or KINDS[kind].get("step") != "dream"
    ]


class Agent:
    """An agent that learns from a random batch on the device that is measured, with the metrics of a training."""

    def __init__(self, learner: Learner, device: torch.device) -> None:
        self.learner, self.cfg = learner, learner.cfg
        batch = learner.batch(self.cfg.algo.per_rank_sequence_length, self.cfg.algo.per_rank_batch_size)
        self.batch = {key: value.to(device) for key, value in batch.items()}
        self.actions = int(learner.action_space.n)
        metrics = hydra.utils.instantiate(self.cfg.metric.aggregator, _convert_="all")
        self.aggregator: MetricAggregator = metrics.to(device)

    def flops(self, variant: Variant | None = None) -> dict[str, Any]:
        """See `sheeprl_dnp.costs`."""
        self._choose(variant)
        return costs(self.cfg, self.learner.observation_space, self.learner.action_space)["flops"]

    def step(self, variant: Variant | None = None) -> None:
        """One gradient step."""
        self._choose(variant)
        self.learner.step(self.batch, self.aggregator)

    def _choose(self, variant: Variant | None) -> None:
        if variant:
            self.cfg.algo.ponder.update(variant.ponder)


def compose_agent(settings: Settings, max_halts: int | None, step: str = "refine") -> dotdict:
    """The configuration of DreamerV3 (`None`), or of ours.

    Raises:
        ConfigError: an override is wrong.
    """
    size, changes = SIZES[settings.size]
    if max_halts is None:
        arm = ["exp=dnp_crafter_baseline", f"algo=dreamer_v3_{size}"]
        wanted = [key for key in settings.overrides if "algo.ponder." not in key]
    else:
        arm = ["exp=dnp_crafter", f"algo=dreamer_v3_ponder_{size}"]
        wanted = [*settings.overrides, f"algo.ponder.max_halts={max_halts}", f"algo.ponder.step={step}"]
    device = [f"fabric.accelerator={settings.device}", f"fabric.precision={settings.precision}"]
    compiled = f"algo.compile.enabled={settings.compile}"
    try:
        with initialize_config_module("sheeprl.configs", version_base="1.3"):
            composed = compose("config", [*arm, *device, compiled, *changes, *wanted])
            cfg = dotdict(OmegaConf.to_container(composed, resolve=True))
    except (HydraException, OmegaConfBaseException) as error:
        reason = " ".join(str(error).split())
        raise ConfigError(f"`KEY=VALUE` {' '.join(settings.overrides)}: {reason}") from error
    if max_halts is not None:
        check_ponder_config(cfg.algo)
        add_ponder_metrics(cfg)
    return cfg


def set_up(cfg: dotdict) -> None:
    """What SheepRL sets before a training of this configuration, and what of it changes what a step does."""
    Distribution.set_default_validate_args(cfg.distribution.validate_args)
    MetricAggregator.disabled = cfg.metric.log_level == 0
    torch.set_float32_matmul_precision(cfg.float32_matmul_precision)
    torch.backends.cudnn.benchmark = cfg.torch_backends_cudnn_benchmark
    torch.backends.cudnn.deterministic = cfg.torch_backends_cudnn_deterministic
    torch.use_deterministic_algorithms(cfg.torch_use_deterministic_algorithms)


def build_agent(
    settings: Settings, max_halts: int | None, step: str = "refine", *, static: bool | None = None
) -> Agent:
    """An untrained agent; `static`: that of its `PonderNet`."""
    cfg = compose_agent(settings, max_halts, step)
    set_up(cfg)
    fabric = Fabric(accelerator=settings.device, devices=1, precision=cfg.fabric.precision)
    env = make_env(cfg, 0, 0)()
    spaces = env.observation_space, env.action_space
    env.close()
    torch.manual_seed(0)
    with redirect_stdout(StringIO()):
        return Agent(build_learner(fabric, cfg, *spaces, static=static), fabric.device)
