"""What SheepRL looks up by name beside an algorithm, and the normalisation of the returns under halting weights."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import torch
from lightning.fabric import Fabric
from sheeprl.algos.dreamer_v1.utils import log_models
from sheeprl.algos.dreamer_v3.utils import AGGREGATOR_KEYS as DREAMER_V3_AGGREGATOR_KEYS
from sheeprl.algos.dreamer_v3.utils import MODELS_TO_REGISTER as MODELS_TO_REGISTER
from sheeprl.algos.dreamer_v3.utils import Moments
from sheeprl.utils.utils import dotdict
from torch import Tensor

HALTING_KEYS = {"Ponder/halting_entropy", "Ponder/kl"} | {f"Ponder/expected_steps{q}" for q in ("", "_p10", "_p90")}
PLAYER_KEYS = {"Ponder/player_steps"}
AGGREGATOR_KEYS = DREAMER_V3_AGGREGATOR_KEYS | HALTING_KEYS | PLAYER_KEYS


def halt_mass_key(step: int) -> str:
    """The metric of the mean probability to halt at `step`, from 1."""
    return f"Ponder/halt_mass_{step:02d}"


def add_ponder_metrics(cfg: dotdict) -> None:
    """Adds the metrics of pondering to those that the run aggregates, one of them for each step it can halt at."""
    ponder, names = cfg.algo.ponder, set(PLAYER_KEYS)
    if ponder.learn_halting:
        names |= HALTING_KEYS | {halt_mass_key(step) for step in range(1, ponder.max_halts + 1)}
    for name in sorted(names):
        metric = {"_target_": "torchmetrics.MeanMetric", "sync_on_compute": cfg.metric.sync_on_compute}
        cfg.metric.aggregator.metrics.setdefault(name, metric)


def weighted_quantiles(values: Tensor, weights: Tensor, qs: Sequence[float]) -> Tensor:
    """Quantiles of weighted values, linearly interpolated: `torch.quantile` where all weights are equal.

    The k-th smallest of n values stands at `S_k / S_n`, with `S_k = (k - 1) w_k + (n - 1) sum_{i<k} w_i`.

    Args:
        values, weights: of the same shape.
        qs: from 0 to 1.

    Returns:
        One for each of `qs`, float32.
    """
    # Apple's GPU has no float64
    dtype = torch.float32 if values.device.type == "mps" else torch.float64
    values, order = values.flatten().to(dtype).sort()
    weights = weights.flatten().to(dtype).index_select(0, order)
    n = len(values)
    below = weights.cumsum(0) - weights
    positions = torch.arange(n, device=values.device) * weights + (n - 1) * below
    positions = positions / positions[-1]
    wanted = torch.stack([positions.new_full((), q) for q in qs])
    above = torch.searchsorted(positions, wanted).clamp(1, n - 1)
    start, end = positions.index_select(0, above - 1), positions.index_select(0, above)
    # 0 / 0 where q is 0 and the two smallest values weigh nothing
    between = ((wanted - start) / (end - start)).nan_to_num(0)
    return torch.lerp(values.index_select(0, above - 1), values.index_select(0, above), between).float()


def build_moments(moments: dotdict) -> "WeightedMoments":
    """Those of a section `algo.actor.moments`, which have seen no returns yet."""
    return WeightedMoments(moments.decay, moments.max, moments.percentile.low, moments.percentile.high)


class WeightedMoments(Moments):
    """DreamerV3's moving percentiles of the returns, each return counted with its halting weight."""

    def __init__(
        self, decay: float = 0.99, max_: float = 1e8, percentile_low: float = 0.05, percentile_high: float = 0.95
    ) -> None:
        super().__init__(decay, max_, percentile_low, percentile_high)
        self.low: Tensor
        self.high: Tensor
        self._least_scale = 1 / max_  # a number, since SheepRL's `_max` is a tensor of the CPU

    @property
    def scale(self) -> Tensor:
        """S, by which the advantages are divided, as `forward` gave it last; at least 1 / `max_`."""
        return (self.high - self.low).clamp(min=self._least_scale)

    def forward(self, x: Tensor, fabric: Fabric, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The offset and the scale of the returns, over all processes.

        Args:
            x: the lambda-values, `[H, C*M, 1]`.
            weights: `[C, M]`, which add up to 1 over C; `None`: all equal, as where C is 1.
        """
        low, high = self.low, self.high
        if weights is None or len(weights) == 1:
            offset, scale = super().forward(x, fabric)
        else:
            values = fabric.all_gather(x).float().detach()
            weights = fabric.all_gather(weights.view(1, -1, 1).expand_as(x)).float().detach()
            quantiles = weighted_quantiles(values, weights, (self._percentile_low, self._percentile_high))
            self.low, self.high = (
                self._decay * old + (1 - self._decay) * new for old, new in zip((low, high), quantiles, strict=True)
            )
            offset, scale = self.low.detach(), self.scale.detach()
        # In place: code that was compiled with CUDA graphs, and looks ahead, reads them where they are
        self.low, self.high = low.copy_(self.low), high.copy_(self.high)
        return offset, scale


def action_sizes(space: gym.Space) -> tuple[int, ...]:
    """The size of each action head, as SheepRL counts them."""
    if isinstance(space, gym.spaces.Box):
        return space.shape
    return tuple(space.nvec.tolist()) if isinstance(space, gym.spaces.MultiDiscrete) else (int(space.n),)


def log_models_from_checkpoint(fabric: Fabric, env: gym.Env, cfg: dotdict, state: dict[str, Any]) -> dict[str, Any]:
    """Logs the models of a checkpoint to MLflow, for `sheeprl-registration`.

    Returns:
        MLflow's `ModelInfo` of each model that `model_manager.models` names.
    """
    from sheeprl_dnp.dreamer_v3_ponder.agent import build_agent  # imports what is above

    names = ("world_model", "actor", "critic", "target_critic")
    space, moments = env.action_space, build_moments(cfg.algo.actor.moments)
    moments.load_state_dict(state["moments"])
    *models, _ = build_agent(
        fabric,
        action_sizes(space),
        isinstance(space, gym.spaces.Box),
        cfg,
        env.observation_space,
        *(state[name] for name in names),
        moments=moments,
    )
    described = dotdict(cfg.to_log | {"model_manager": cfg.model_manager})
    by_name = {**dict(zip(names, models, strict=True)), "moments": moments}
    return log_models(described, by_name, cfg.run.id, cfg.experiment.id, cfg.run.name)
