"""When a PonderNet halts (Banino et al. 2021, arXiv 2107.05407): the distribution, its prior, and how they differ."""

import math
from numbers import Integral
from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def halting_log_probs(logits: Tensor) -> Tensor:
    """The log-probabilities to halt at each step, from the logits of `lambda_n` (section 2 of the paper).

    In log space, without clamps: they sum to 1, and their gradients are finite, however large the logits are.

    Args:
        logits: `[..., N]`; the last one has no effect, since the last step always halts.

    Returns:
        `log p_n`, `[..., N]`.
    """
    # log p_n = log lambda_n + sum_{i<n} log(1 - lambda_i), and log p_N = sum_{i<N} log(1 - lambda_i)
    nothing = torch.zeros_like(logits[..., :1])
    log_halt = torch.cat((F.logsigmoid(logits[..., :-1]), nothing), -1)
    log_left = torch.cat((nothing, F.logsigmoid(-logits[..., :-1]).cumsum(-1)), -1)
    return log_halt + log_left


def log_prior(max_steps: int, lambda_p: float, device: torch.device | str | None = None) -> Tensor:
    """The log-probabilities of the geometric prior, cut at `max_steps` and renormalised: `[N]`.

    `p_G(n)` is proportional to `lambda_p * (1 - lambda_p)^(n - 1)` (the paper's prior isn't cut).
    """
    return (torch.arange(max_steps, device=device) * math.log1p(-lambda_p)).log_softmax(0)


def kl_from_prior(log_probs: Tensor, lambda_p: float) -> Tensor:
    """`KL(p || p_G)`, the regulariser of the paper's loss, in nats: `[..., N]` log-probabilities to `[...]`."""
    return (log_probs.exp() * (log_probs - log_prior(log_probs.shape[-1], lambda_p, log_probs.device))).sum(-1)


def expected_steps(probs: Tensor) -> Tensor:
    """`sum_n n p_n`: `[..., N]` to `[...]`, in steps."""
    return (probs * torch.arange(1, probs.shape[-1] + 1, device=probs.device)).sum(-1)


def halting_head(in_features: int, lambda_p: float) -> nn.Linear:
    """A linear halting module that starts with `lambda_n = lambda_p` whatever the state.

    That is the geometric distribution, whose cut differs from the prior's: the last step takes all that is left.
    """
    check_lambda_p(lambda_p)
    head = nn.Linear(in_features, 1)
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, math.log(lambda_p / (1 - lambda_p)))
    return head


def check_lambda_p(lambda_p: float) -> None:
    """Raises a `ValueError` unless `lambda_p` is strictly between 0 and 1."""
    if not 0 < lambda_p < 1:
        raise ValueError(f"`lambda_p` must be strictly between 0 and 1, got {lambda_p}")


def is_whole_number(value: object) -> TypeGuard[int]:
    """Whether it is an integer of Python or of NumPy, and not a truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_rule(halting: object, threshold: float) -> None:
    """Raises a `ValueError` unless `halting` is a rule, or a number of steps, and `threshold` above 0 and up to 1."""
    if halting not in ("sample", "threshold") and not (is_whole_number(halting) and halting >= 1):
        raise ValueError(f"`halting` must be 'sample', 'threshold' or a number of steps from 1, got {halting!r}")
    if not 0 < threshold <= 1:
        raise ValueError(f"`threshold` must be above 0 and up to 1, got {threshold}")


def drawn_hazard(like: Tensor, halting: str | int, threshold: float) -> Tensor:
    """The cumulative hazard `-sum_{i<=n} log(1 - lambda_i)` at which each row of `like` halts by a rule: `[batch]`.

    The rule is `sample`, or else `threshold`.
    """
    if halting == "sample":
        # An exponential draw is at most h with probability 1 - exp(-h), as p is up to the step of the hazard h
        return torch.empty(len(like), device=like.device).exponential_()
    return torch.full((len(like),), -math.log1p(-threshold) if threshold < 1 else math.inf, device=like.device)
