"""Dream-&-Ponder: DreamerV3 (arXiv 2301.04104) whose actor is wrapped in a PonderNet (arXiv 2107.05407).

SheepRL's DreamerV3 loop with another `build_agent` and another `train`: the world model, the replay buffer, the
checkpoints and the interaction with the environments are SheepRL's own.
"""

from collections.abc import Sequence
from functools import partial

import torch
from lightning.fabric import Fabric
from lightning.fabric.wrappers import _FabricModule
from sheeprl.algos.dreamer_v2.agent import WorldModel
from sheeprl.algos.dreamer_v2.utils import reinforce_weight
from sheeprl.algos.dreamer_v3 import dreamer_v3
from sheeprl.utils.compile import compiled
from sheeprl.utils.fabric import autocast_cache_scope, update
from sheeprl.utils.metric import MetricAggregator
from sheeprl.utils.registry import register_algorithm
from sheeprl.utils.utils import dotdict
from torch import Tensor, nn
from torch.optim import Optimizer

from sheeprl_dnp.dreamer_v3_ponder.agent import PonderedSteps, build_agent
from sheeprl_dnp.dreamer_v3_ponder.config import check_ponder_config, entropy, estimator, root_states, trajectories
from sheeprl_dnp.dreamer_v3_ponder.imagination import Imagination, imagine
from sheeprl_dnp.dreamer_v3_ponder.loss import actor_loss, critic_loss
from sheeprl_dnp.dreamer_v3_ponder.recorder import OnStart, train_recorded
from sheeprl_dnp.dreamer_v3_ponder.utils import WeightedMoments, add_ponder_metrics, build_moments


def draw_roots(roots: int, *states: Tensor) -> Sequence[Tensor]:
    """The states from which imagination starts, drawn uniformly without replacement.

    Each is as likely as any other, so that a mean over them estimates the mean over the batch without bias.

    Args:
        roots: how many (`algo.ponder.roots`).
        states: `[T, B, ...]`.

    Returns:
        Each as `[1, roots, ...]`; as they are, without a random draw, where there are no more than `roots`.
    """
    if roots >= (count := states[0].shape[:2].numel()):
        return states
    chosen = torch.randperm(count, device=states[0].device)[:roots]
    return [state.flatten(0, 1)[chosen].unsqueeze(0) for state in states]


def imagine_from(
    fabric: Fabric,
    cfg: dotdict,
    world_model: WorldModel,
    actor: nn.Module,
    critic: nn.Module,
    roots: Sequence[Tensor],
    is_continuous: bool,
) -> Imagination:
    """The trajectories from roots, with a computational graph only for the dynamics backpropagation."""
    backpropagates = reinforce_weight(cfg.algo.actor.objective_mix, is_continuous) < 1
    with autocast_cache_scope(fabric), torch.set_grad_enabled(backpropagates):
        return compiled(imagine, fabric, cfg)(
            world_model,
            actor,
            critic,
            *roots,
            copies=trajectories(cfg.algo.ponder),
            continuation=cfg.algo.ponder.continuation,
            horizon=cfg.algo.horizon,
            gamma=cfg.algo.gamma,
            lmbda=cfg.algo.lmbda,
            action_clip=float(cfg.algo.actor.action_clip) if is_continuous else 0.0,
        )


def actor_learning(
    fabric: Fabric,
    cfg: dotdict,
    actor: nn.Module,
    optimizer: Optimizer,
    moments: WeightedMoments,
    imagination: Imagination,
    is_continuous: bool,
    actions_dim: Sequence[int],
    logs: bool = True,
) -> dict[str, Tensor]:
    """One update of the actor; gives its metrics, by the names they are logged with."""
    ponder, actor_cfg = cfg.algo.ponder, cfg.algo.actor
    with autocast_cache_scope(fabric):
        offset, invscale = moments(imagination.lambda_values, fabric, imagination.weights)
        loss = compiled(actor_loss, fabric, cfg)(
            actor,
            imagination,
            offset,
            invscale,
            estimator=estimator(ponder),
            lambda_p=ponder.lambda_p,
            continuation=ponder.continuation,
            entropy=entropy(ponder),
            objective_mix=actor_cfg.objective_mix,
            is_continuous=is_continuous,
            actions_dim=tuple(int(dim) for dim in actions_dim),
            ent_coef=actor_cfg.ent_coef,
            logs=logs and ponder.learn_halting,
        )
    total = loss.policy + ponder.beta * loss.kl
    norm = update(fabric, total, optimizer, actor_cfg.clip_gradients, error_if_nonfinite=False)
    return {"Loss/policy_loss": loss.policy.detach(), **loss.metrics, **gradient_metric("actor", norm)}


def critic_learning(
    fabric: Fabric,
    cfg: dotdict,
    critic: nn.Module,
    target_critic: nn.Module,
    optimizer: Optimizer,
    imagination: Imagination,
) -> dict[str, Tensor]:
    """One update of the critic; gives its metrics, by the names they are logged with."""
    with autocast_cache_scope(fabric):
        loss = compiled(critic_loss, fabric, cfg)(critic, target_critic, imagination)
    norm = update(fabric, loss, optimizer, cfg.algo.critic.clip_gradients, error_if_nonfinite=False)
    return {"Loss/value_loss": loss.detach(), **gradient_metric("critic", norm)}


def gradient_metric(name: str, norm: Tensor | None) -> dict[str, Tensor]:
    return {} if norm is None else {f"Grads/{name}": norm.mean().detach()}


def train(
    fabric: Fabric,
    world_model: WorldModel,
    actor: _FabricModule,
    critic: _FabricModule,
    target_critic: nn.Module,
    world_optimizer: Optimizer,
    actor_optimizer: Optimizer,
    critic_optimizer: Optimizer,
    data: dict[str, Tensor],
    aggregator: MetricAggregator | None,
    cfg: dotdict,
    is_continuous: bool,
    actions_dim: Sequence[int],
    moments: WeightedMoments,
    *,
    player_steps: PonderedSteps,
) -> None:
    """One update of the world model, then one of the actor and one of the critic, on what it imagines.

    The arguments are those of SheepRL's `train`; `player_steps` has the ponder steps of the player since the last one.
    """
    logs = aggregator is not None and not aggregator.disabled
    *states, metrics = dreamer_v3.world_model_learning(fabric, cfg, world_model, world_optimizer, data)
    roots = draw_roots(root_states(cfg.algo), *states, data["terminated"])
    imagination = imagine_from(fabric, cfg, world_model, actor, critic, roots, is_continuous)
    metrics |= actor_learning(
        fabric, cfg, actor, actor_optimizer, moments, imagination, is_continuous, actions_dim, logs
    )
    metrics |= critic_learning(fabric, cfg, critic, target_critic, critic_optimizer, imagination)
    if aggregator is not None and logs:
        if (steps := player_steps.compute_and_reset()) is not None:
            metrics["Ponder/player_steps"] = steps
        for name, value in metrics.items():
            aggregator.update(name, value)
    for optimizer in (actor_optimizer, critic_optimizer, world_optimizer):
        optimizer.zero_grad(set_to_none=True)


@register_algorithm()
def main(fabric: Fabric, cfg: dotdict, on_start: OnStart | None = None) -> None:
    """Trains an agent in SheepRL's own DreamerV3 loop, where the pieces that ponder stand for SheepRL's."""
    check_ponder_config(cfg.algo)
    add_ponder_metrics(cfg)
    player_steps, moments = PonderedSteps(), build_moments(cfg.algo.actor.moments).to(fabric.device)
    train_recorded(
        dreamer_v3.main,
        fabric,
        cfg,
        on_start=on_start,
        player_steps=player_steps,
        build_agent=partial(build_agent, player_steps=player_steps, moments=moments),
        train=partial(train, player_steps=player_steps),
        Moments=lambda *args: moments,  # those that the agent knows
    )
