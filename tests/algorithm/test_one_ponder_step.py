"""With one ponder step every number of the losses is DreamerV3's, bit for bit."""

import copy

import pytest
import torch
from sheeprl.algos.dreamer_v3 import dreamer_v3
from tiny_actors import ponder_actor
from torch import Tensor, nn

from sheeprl_dnp.dreamer_v3_ponder.imagination import imagine
from sheeprl_dnp.dreamer_v3_ponder.loss import actor_loss, critic_loss

OFFSET, INVSCALE = torch.tensor(0.7), torch.tensor(2.5)
CONTINUATIONS = pytest.mark.parametrize("continuation", ["sample", "commit"])


class LinearWorldModel(nn.Module):
    """A differentiable world model, of 2 x 3 stochastic and 4 recurrent latents."""

    def __init__(self, actions: int) -> None:
        super().__init__()
        self.recurrent, self.stochastic = nn.Linear(10 + actions, 4), nn.Linear(4, 6)
        self.reward_model, self.continue_model = nn.Linear(10, 255), nn.Linear(10, 1)
        self.rssm = self

    def imagination(self, prior: Tensor, recurrent: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        recurrent = self.recurrent(torch.cat((prior, recurrent, actions), -1)).tanh()
        return self.stochastic(recurrent).view(-1, 2, 3).softmax(-1), recurrent


@pytest.mark.parametrize("mix", [None, 0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("actions_dim", "kind"), [((3,), "discrete"), ((3, 2), "discrete"), ((2,), "auto"), ((2,), "tanh_normal")]
)
@CONTINUATIONS
def test_with_one_ponder_step_every_number_is_dreamer_v3s(
    mix: float | None, actions_dim: tuple[int, ...], kind: str, continuation: str
) -> None:
    torch.manual_seed(0)
    is_continuous = kind != "discrete"
    settings = {"is_continuous": is_continuous, "distribution_cfg": {"type": kind}, "min_std": 0.1, "unimix": 0.01}
    ours = ponder_actor(10, 1, actions_dim=actions_dim, **settings)
    theirs = copy.deepcopy(ours._heads[0])
    theirs.model = copy.deepcopy(ours.model)
    world, critic, target = LinearWorldModel(sum(actions_dim)), nn.Linear(10, 255), nn.Linear(10, 255)
    roots = (torch.rand(3, 5, 2, 3), torch.randn(3, 5, 4), (torch.rand(3, 5, 1) < 0.2).float())
    rollout = {"horizon": 4, "gamma": 0.99, "lmbda": 0.95, "action_clip": float(is_continuous)}
    loss = {"objective_mix": mix, "is_continuous": is_continuous, "actions_dim": actions_dim, "ent_coef": 0.1}

    torch.manual_seed(1)
    imagination = dreamer_v3.imagine(world, theirs, critic, *roots, **rollout)
    their_loss = dreamer_v3.actor_loss(theirs, *imagination, OFFSET, INVSCALE, **loss)
    trajectories, _, _, lambda_values, discount = imagination
    their_value_loss = dreamer_v3.critic_loss(critic, target, trajectories, lambda_values, discount)
    their_gradients = torch.autograd.grad(their_loss, tuple(theirs.parameters()))
    their_critic_gradients = torch.autograd.grad(their_value_loss, tuple(critic.parameters()))

    torch.manual_seed(1)
    ours_imagined = imagine(world, ours, critic, *roots, copies=1, continuation=continuation, **rollout)
    loss |= {"estimator": "marginal", "entropy": "steps", "continuation": continuation}
    our_losses = actor_loss(ours, ours_imagined, OFFSET, INVSCALE, lambda_p=0.3, **loss)
    our_value_loss = critic_loss(critic, target, ours_imagined)
    assert all(torch.equal(x, y) for x, y in zip(ours_imagined, imagination, strict=False))
    assert torch.equal(our_losses.policy, their_loss) and our_losses.kl == 0
    assert torch.equal(our_value_loss, their_value_loss)
    gradients = torch.autograd.grad(our_losses.policy + 0.01 * our_losses.kl, tuple(ours.parameters()))
    assert all(torch.equal(x, y) for x, y in zip(gradients, their_gradients, strict=True))
    critic_gradients = torch.autograd.grad(our_value_loss, tuple(critic.parameters()))
    assert all(torch.equal(x, y) for x, y in zip(critic_gradients, their_critic_gradients, strict=True))
