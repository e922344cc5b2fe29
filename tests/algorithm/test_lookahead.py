"""Players that look at the most probable actions of any policy before they act."""

import pytest
import torch
from lightning.fabric import Fabric
from sheeprl.algos.dreamer_v3.agent import build_agent as build_dreamer_v3_agent
from test_dream import OBSERVATIONS, agent, configuration, latents
from torch import Tensor, nn

from sheeprl_dnp.dreamer_v3_ponder.lookahead import BestOfMostProbable, Lookahead
from sheeprl_dnp.dreamer_v3_ponder.utils import build_moments


def played(actor: nn.Module, states: Tensor) -> Tensor:
    """The probabilities of the policy that is played: `[rows, A]`."""
    pondered = actor(states, at="every")
    return (pondered.log_halting.exp().unsqueeze(-1) * pondered.policies[0].probs).sum(-2).detach()


@pytest.mark.parametrize("count", [1, 3, 5])
@pytest.mark.parametrize("step", ["refine", "dream"])
def test_a_player_takes_the_action_that_gains_most_of_the_most_probable_ones(count: int, step: str) -> None:
    cfg = configuration(f"algo.ponder.step={step}", "algo.ponder.max_halts=3")
    world_model, actor, critic, *_ = agent(cfg)
    moments = build_moments(cfg.algo.actor.moments)
    lookahead = Lookahead(cfg.algo, world_model, critic, moments, 5)
    states = latents(40)
    (actions,), _ = BestOfMostProbable(actor, lookahead, count)(states.unsqueeze(0))
    assert actions.shape == (1, 40, 5) and (actions.sum(-1) == 1).all()
    probs, gains = played(actor.module, states), lookahead.gains(states, torch.arange(5).expand(40, 5))
    for row, taken in enumerate(actions[0].argmax(-1).tolist()):
        looked_at = sorted(range(5), key=lambda a: -probs[row, a].item())[:count]
        assert taken == max(looked_at, key=lambda a: gains[row, a].item())


def test_the_best_of_one_is_the_most_probable_action_of_dreamer_v3() -> None:
    cfg = configuration("algo.ponder.max_halts=1")
    torch.manual_seed(0)
    world_model, actor, critic, *_ = build_dreamer_v3_agent(
        Fabric(accelerator="cpu", devices=1), (5,), False, cfg, OBSERVATIONS
    )
    moments = build_moments(cfg.algo.actor.moments)
    lookahead = Lookahead(cfg.algo, world_model, critic, moments, 5)
    states = latents(40).unsqueeze(0)
    torch.testing.assert_close(
        BestOfMostProbable(actor, lookahead, 1)(states)[0][0], actor(states, greedy=True)[0][0].to(states.dtype)
    )
