"""The parameters of the actors: what pays for the ponder cell, so that pondering has no more of them than DreamerV3."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import hydra
from sheeprl.utils.utils import dotdict
from torch import nn

from sheeprl_dnp.runs import ConfigError

WIDTH_MULTIPLE = 8  # of which matrix products on a GPU are fast
# By what a ponder step does, from D and the vectors of a layer: the weights of its cell and of its halting head
PONDERING: dict[str, Callable[[int, int], int]] = {
    # One layer from 2D to D, and a head from D to 1
    "refine": lambda units, vectors: 2 * units**2 + vectors * units + units + 1,
    # Kappa, and a head from the features and three numbers to 1
    "dream": lambda units, vectors: units + 5,
}
PAYING_LAYERS = {"refine": 2, "dream": 0}  # of the trunk, which the cell replaces


@dataclass(frozen=True)
class ActorShape:
    """The sizes that give the number of parameters of SheepRL's `Actor`."""

    latent: int  # L
    heads: int  # the outputs of all the action heads together
    vectors: int  # of each layer, beside its matrix: the weight and bias of its norm, or its bias

    def parameters(self, dense_units: int, mlp_layers: int) -> int:
        matrices = self.latent * dense_units + (mlp_layers - 1) * dense_units**2
        return matrices + mlp_layers * self.vectors * dense_units + (dense_units + 1) * self.heads


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
    actor = cfg.algo.actor
    return actor_shape(cfg, actions_dim, is_continuous).parameters(actor.dense_units, actor.mlp_layers)


def described_parameters(
    cfg: dotdict, actions_dim: Sequence[int], is_continuous: bool, actor: nn.Module, *others: nn.Module
) -> str:
    """How many an agent has, beside DreamerV3's."""
    agent, own = count_parameters(actor, *others), count_parameters(actor)
    dreamer_v3 = dreamer_v3_actor_parameters(cfg, actions_dim, is_continuous)
    return (
        f"Parameters of the agent: {agent:,} (DreamerV3: {agent - own + dreamer_v3:,}); "
        f"of the actor: {own:,} (DreamerV3: {dreamer_v3:,})"
    )


def fit_trunk(cfg: dotdict, actions_dim: Sequence[int], is_continuous: bool) -> dict[str, int]:
    """The trunk that leaves a pondering actor no more parameters than SheepRL's actor of this configuration.

    The cell of `refine` costs two layers of D units: two layers fewer, at least one. Then the largest width that fits
    (the configured one, or a multiple of 8 below).

    Returns:
        `dense_units` and `mlp_layers`: nothing for an actor with one ponder step, whose trunk is DreamerV3's.

    Raises:
        ConfigError: no width fits.
    """
    actor, ponder = cfg.algo.actor, cfg.algo.ponder
    if ponder.max_halts == 1:
        return {}
    shape = actor_shape(cfg, actions_dim, is_continuous)
    budget = dreamer_v3_actor_parameters(cfg, actions_dim, is_continuous)
    layers = max(1, actor.mlp_layers - PAYING_LAYERS[ponder.step])
    narrower = range((actor.dense_units - 1) // WIDTH_MULTIPLE * WIDTH_MULTIPLE, 0, -WIDTH_MULTIPLE)
    for width in (actor.dense_units, *narrower):
        if shape.parameters(width, layers) + PONDERING[ponder.step](width, shape.vectors) <= budget:
            return {"dense_units": width, "mlp_layers": layers}
    raise ConfigError(
        f"`algo.actor.dense_units={actor.dense_units}` leaves no room for a pondering actor with no more parameters "
        "than DreamerV3's: it must be larger, or `algo.ponder.max_halts` 1."
    )
