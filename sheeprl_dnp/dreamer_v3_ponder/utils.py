"""What SheepRL looks up by name beside an algorithm, and the normalisation of the returns under halting weights."""

from typing import Any

import torch
from lightning.fabric import Fabric
from sheeprl.algos.dreamer_v3.utils import AGGREGATOR_KEYS as DREAMER_V3_AGGREGATOR_KEYS
from sheeprl.algos.dreamer_v3.utils import MODELS_TO_REGISTER, Moments
from torch import Tensor

__all__ = ["AGGREGATOR_KEYS", "MODELS_TO_REGISTER", "WeightedMoments", "add_ponder_metrics", "weighted_quantile"]

HALTING_KEYS = {"Ponder/expected_steps", "Ponder/halting_entropy", "Ponder/kl"}
PLAYER_KEYS = {"Ponder/player_steps"}
AGGREGATOR_KEYS = DREAMER_V3_AGGREGATOR_KEYS | HALTING_KEYS | PLAYER_KEYS


def halt_mass_key(step: int) -> str:
    """The metric of the mean probability to halt at `step`, from 1."""
    return f"Ponder/halt_mass_{step:02d}"


def add_ponder_metrics(cfg: dict[str, Any]) -> None:
    """Adds the metrics of pondering to those that the run aggregates, one of them for each step it can halt at."""
    ponder, names = cfg.algo.ponder, set(PLAYER_KEYS)
    if ponder.learn_halting:
        names |= HALTING_KEYS | {halt_mass_key(step) for step in range(1, ponder.max_halts + 1)}
    for name in sorted(names):
        metric = {"_target_": "torchmetrics.MeanMetric", "sync_on_compute": cfg.metric.sync_on_compute}
        cfg.metric.aggregator.metrics.setdefault(name, metric)


def weighted_quantile(values: Tensor, weights: Tensor, q: float) -> Tensor:
    """The quantile `q` of weighted values, linearly interpolated: `torch.quantile` where all weights are equal.

    The k-th smallest of n values stands at `S_k / S_n`, with `S_k = (k - 1) w_k + (n - 1) sum_{i<k} w_i`.
    """
    values, order = values.flatten().double().sort()
    weights = weights.flatten().double()[order]
    n = len(values)
    below = weights.cumsum(0) - weights
    positions = torch.arange(n, device=values.device) * weights + (n - 1) * below
    positions = positions / positions[-1]
    above = torch.searchsorted(positions, q).clamp(1, n - 1)
    gap = positions[above] - positions[above - 1]
    # 0 / 0 where q is 0 and the two smallest values weigh nothing
    between = ((q - positions[above - 1]) / gap).nan_to_num(0)
    return torch.lerp(values[above - 1], values[above], between).float()


class WeightedMoments(Moments):
    """DreamerV3's moving percentiles of the returns, each return counted with its halting weight."""

    def forward(self, x: Tensor, fabric: Fabric, weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The offset and the scale of the returns, over all processes.

        Args:
            x: the lambda-values, `[H, N*M, 1]`.
            weights: `[N*M]`; `None`: all equal.
        """
        if weights is None:
            return super().forward(x, fabric)
        values = fabric.all_gather(x).float().detach()
        weights = fabric.all_gather(weights.view(1, -1, 1).expand_as(x)).float().detach()
        low = weighted_quantile(values, weights, self._percentile_low)
        high = weighted_quantile(values, weights, self._percentile_high)
        self.low = self._decay * self.low + (1 - self._decay) * low
        self.high = self._decay * self.high + (1 - self._decay) * high
        return self.low.detach(), torch.max(1 / self._max, self.high - self.low).detach()
