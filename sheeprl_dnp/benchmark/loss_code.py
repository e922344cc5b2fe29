"""What the code of the actor's loss costs by itself: halting distribution, divergence and losses, without the actor."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import OneHotCategorical

from sheeprl_dnp.benchmark.agents import Agent
from sheeprl_dnp.benchmark.timing import Call
from sheeprl_dnp.dreamer_v3_ponder.agent import PonderedActions
from sheeprl_dnp.dreamer_v3_ponder.config import batch_states
from sheeprl_dnp.dreamer_v3_ponder.imagination import Imagination
from sheeprl_dnp.dreamer_v3_ponder.loss import actor_loss
from sheeprl_dnp.halting import halting_log_probs


class GivenActor(nn.Module):
    """An actor that has computed its logits before: what is left is the loss.

    Args:
        shape: `[H+1, N*M]`.
    """

    def __init__(self, max_halts: int, shape: tuple[int, int], actions: int) -> None:
        super().__init__()
        self.action_logits = nn.Parameter(torch.randn(*shape, actions))
        self.root_logits = nn.Parameter(torch.randn(shape[1] // max_halts, max_halts))
        self.later = nn.Parameter(F.logsigmoid(torch.randn(shape[0] - 1, shape[1])))

    def forward(self, states: Tensor, *, at: str | Tensor, dreams: None) -> PonderedActions:
        at_roots = halting_log_probs(self.root_logits).T.reshape(1, -1)
        log_halting = torch.cat((at_roots, self.later[:-1]))
        return PonderedActions((), (OneHotCategorical(logits=self.action_logits[:-1]),), at, log_halting, None)


def loss_code(agent: Agent, device: torch.device) -> Call:
    """The actor's loss and its gradient, for all roots of an agent, from the logits of its actor."""
    algo = agent.cfg.algo
    max_halts, actions = algo.ponder.max_halts, int(agent.learner.action_space.n)
    shape = (algo.horizon + 1, max_halts * batch_states(algo))
    actor = GivenActor(max_halts, shape, actions).to(device)
    values = torch.randn(*shape, 1, device=device)
    taken = F.one_hot(torch.randint(actions, shape, device=device), actions).float()
    halts = torch.randint(1, max_halts + 1, shape, device=device)
    weights = torch.full((max_halts, shape[1] // max_halts), 1 / max_halts, device=device)
    imagination = Imagination(values, taken, values, values[1:], torch.ones_like(values), halts, weights, None)

    def call() -> None:
        loss = actor_loss(
            actor,
            imagination,
            torch.zeros((), device=device),
            torch.ones((), device=device),
            estimator="trajectories",
            lambda_p=algo.ponder.lambda_p,
            continuation=algo.ponder.continuation,
            entropy=algo.ponder.entropy,
            objective_mix=algo.actor.objective_mix,
            is_continuous=False,
            actions_dim=(actions,),
            ent_coef=algo.actor.ent_coef,
        )
        (loss.policy + algo.ponder.beta * loss.kl).backward()

    return call
