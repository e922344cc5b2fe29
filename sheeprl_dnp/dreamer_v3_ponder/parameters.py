"""The parameters of the actors: what pays for the ponder cell, so that pondering has no more of them than DreamerV3."""

from collections.abc import Sequence
from dataclasses import dataclass

import hydra
from sheeprl.utils.utils import dotdict
from torch import nn

from sheeprl_dnp.runs import ConfigError

WIDTH_MULTIPLE = 8  # of which matrix products on a GPU are fast


@dataclass(frozen=True)
class ActorShape:
    """The sizes that give the number of parameters of SheepRL's `Actor`."""

    latent: int  # L
    heads: int  # the outputs of all the action heads together
    vectors: int  # of each layer, beside its matrix: the weight and bias of its norm, or its bias

    def trunk(self, dense_units: int, mlp_layers: int) -> int:
        matrices = self.latent * dense_units + (mlp_layers - 1) * dense_units**2
        return matrices + mlp_layers * self.vectors * dense_units

    def actor(self, dense_units: int, mlp_layers: int) -> int:
        return self.trunk(dense_units, mlp_layers) + (dense_units + 1) * self.heads

    def refining(self, dense_units: int) -> int:
        """Of the cell, one layer from 2D to D, and of the halting head, from D to 1."""
        return 2 * dense_units**2 + self.vectors * dense_units + dense_units + 1

    def dreaming(self, dense_units: int) -> int:
        """Of kappa, and of the halting head, from the features and three numbers to 1."""
        return dense_units + 5


def count_parameters(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def actor_shape(cfg: dotdict, actions_dim: Sequence[int], is_continuous: bool) -> ActorShape:
    world_model = cfg.algo.world_model
    stochastic = world_model.stochastic_size * world_model.discrete_size
    has_norm = hydra.utils.get_class(cfg.algo.actor.layer_norm.cls) is not nn.Identity
    return ActorShape(
        latent=stochastic + world_model.recurrent_model.recurrent_state_size,
        heads=int(sum(actions_dim)) * (2 if is_continuous else 1),
        vectors=2 if has_norm else 1,
    )


def dreamer_v3_actor_parameters(cfg: dotdict, actions_dim: Sequence[int], is_continuous: bool) -> int:
    """The parameters of SheepRL's actor of this configuration."""
    return actor_shape(cfg, actions_dim, is_continuous).actor(cfg.algo.actor.dense_units, cfg.algo.actor.mlp_layers)


def fit_trunk(cfg: dotdict, actions_dim: Sequence[int], is_continuous: bool) -> dict[str, int]:
    """The trunk that leaves a pondering actor no more parameters than SheepRL's actor of this configuration.

    The cell of `refine` costs two layers of D units: two layers fewer, at least one. Then the largest width that fits
    (the configured one, or a multiple of 8 below).

    Returns:
        `dense_units` and `mlp_layers`.

    Raises:
        ConfigError: no width fits.
    """
    shape, actor = actor_shape(cfg, actions_dim, is_continuous), cfg.algo.actor
    budget = shape.actor(actor.dense_units, actor.mlp_layers)
    pondering, paying = {"refine": (shape.refining, 2), "dream": (shape.dreaming, 0)}[cfg.algo.ponder.step]
    layers = max(1, actor.mlp_layers - paying)
    narrower = range((actor.dense_units - 1) // WIDTH_MULTIPLE * WIDTH_MULTIPLE, 0, -WIDTH_MULTIPLE)
    for width in (actor.dense_units, *narrower):
        if shape.actor(width, layers) + pondering(width) <= budget:
            return {"dense_units": width, "mlp_layers": layers}
    raise ConfigError(
        f"`algo.actor.dense_units={actor.dense_units}` leaves no room for a pondering actor with no more parameters "
        "than DreamerV3's: it must be larger, or `algo.ponder.max_halts` 1."
    )
