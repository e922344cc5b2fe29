"""PonderNet in plain PyTorch (Banino et al. 2021, arXiv 2107.05407): a network that chooses how long to compute.

A step module is applied up to N = `max_steps` times. After step n it halts with probability `lambda_n`, so that it
halts at step n with probability `p_n = lambda_n * prod_{i<n} (1 - lambda_i)`, the last step taking what is left.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

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


class PonderOutput(NamedTuple):
    """Every ponder step of a batch."""

    output: Tensor  # [batch, output_dim], sum_n p_n y_n
    halting_probs: Tensor  # [batch, max_steps]
    outputs: Tensor  # [batch, max_steps, output_dim]
    states: Tensor  # [batch, max_steps, hidden_size]


class PonderSteps(NamedTuple):
    """Every ponder step of a batch, not weighed."""

    outputs: Tensor  # [batch, max_steps, output_dim]
    states: Tensor  # [batch, max_steps, hidden_size]
    log_probs: Tensor  # [batch, max_steps], log p_n


class Halted(NamedTuple):
    """Where each row of a batch halted."""

    output: Tensor  # [batch, output_dim], y_n
    steps: Tensor  # [batch], n, from 1


class HaltedAt(NamedTuple):
    """Each row of a batch at a ponder step that was given."""

    output: Tensor  # [batch, output_dim], y_n
    log_probs: Tensor  # [batch], log p_n


class PonderNet(nn.Module):
    """A step module applied until it halts.

    Args:
        step_module: `(x, state) -> (output, state)`: `[batch, ...]` inputs and the state of the step before
            (`[batch, hidden_size]`, `initial_state` at the first step) to `[batch, output_dim]` outputs.
        halting_module: `state -> [batch, 1]` logits of `lambda_n`, from the state that the step made.
        max_steps: N, the last step, which always halts.
        lambda_p: the halting probability of the geometric prior, used by the loss.

    Raises:
        ValueError: `max_steps` is below 1, or `lambda_p` isn't strictly between 0 and 1.
    """

    def __init__(
        self, step_module: nn.Module, halting_module: nn.Module, max_steps: int = 20, lambda_p: float = 0.01
    ) -> None:
        super().__init__()
        if max_steps < 1:
            raise ValueError(f"`max_steps` must be at least 1, got {max_steps}")
        check_lambda_p(lambda_p)
        self.step_module = step_module
        self.halting_module = halting_module
        self.max_steps = max_steps
        self.lambda_p = lambda_p

    def step(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """One ponder step: its output, its state, and the logits of `lambda_n` (`[batch]`, at least float32)."""
        output, state = self.step_module(x, state)
        logits = self.halting_module(state).squeeze(-1)
        return output, state, logits.to(torch.promote_types(logits.dtype, torch.float32))

    def forward(self, x: Tensor, initial_state: Tensor | None = None) -> PonderOutput:
        """Computes every step (training): the halting-weighted output, and the steps that it weighs."""
        outputs, states, log_probs = self.every_step(x, initial_state)
        probs = log_probs.exp()
        weighted = torch.einsum("bn,bn...->b...", probs.to(outputs.dtype), outputs)
        return PonderOutput(weighted, probs, outputs, states)

    def every_step(self, x: Tensor, initial_state: Tensor | None = None) -> PonderSteps:
        """Computes every step."""
        outputs, states, logits, state = [], [], [], initial_state
        for _ in range(self.max_steps):
            output, state, logit = self.step(x, state)
            outputs.append(output)
            states.append(state)
            logits.append(logit)
        return PonderSteps(torch.stack(outputs, 1), torch.stack(states, 1), halting_log_probs(torch.stack(logits, 1)))

    def act(
        self, x: Tensor, initial_state: Tensor | None = None, halting: str | int = "sample", threshold: float = 0.5
    ) -> Halted:
        """Ponders until each row halts, and computes no step that no row reaches.

        Args:
            halting: `sample`: halt at step n with probability `lambda_n`; `threshold`: at the first step where the
                cumulative `p` reaches `threshold`; a number: at that step, which may be beyond `max_steps`.

        Raises:
            ValueError: `halting` is none of these, or `threshold` isn't above 0 and up to 1.
        """
        if isinstance(halting, int) and halting >= 1:
            return self._ponder_fixed(x, initial_state, halting)
        if halting == "sample":
            # An exponential draw is at most h with probability 1 - exp(-h), as p is up to the step of the hazard h
            return self._ponder_until(x, initial_state, torch.empty(len(x), device=x.device).exponential_())
        if halting == "threshold":
            if not 0 < threshold <= 1:
                raise ValueError(f"`threshold` must be above 0 and up to 1, got {threshold}")
            hazard = -math.log1p(-threshold) if threshold < 1 else math.inf
            return self._ponder_until(x, initial_state, torch.full((len(x),), hazard, device=x.device))
        raise ValueError(f"`halting` must be 'sample', 'threshold' or a number of steps from 1, got {halting!r}")

    def halt_at(self, x: Tensor, steps: Tensor, initial_state: Tensor | None = None) -> HaltedAt:
        """Ponders each row up to a given step: `steps`, `[batch]`, from 1 to `max_steps`."""
        # Compiled code wants shapes that don't depend on the data
        if torch.compiler.is_compiling():
            halted, logits = self._ponder_all(x, initial_state, lambda n, _: steps == n)
            return HaltedAt(halted.output, _log_probs_at(steps, logits))
        return self._ponder_sorted(x, initial_state, steps)

    def _ponder_fixed(self, x: Tensor, state: Tensor | None, last: int) -> Halted:
        """Every row halts at the step `last`, whatever its probability."""
        for _ in range(last):
            output, state = self.step_module(x, state)
        return Halted(output, torch.full((len(x),), last, device=x.device))

    def _ponder_until(self, x: Tensor, state: Tensor | None, hazard: Tensor) -> Halted:
        """Each row halts where its cumulative hazard, `-sum_{i<=n} log(1 - lambda_i)`, reaches `hazard`, `[batch]`."""
        if torch.compiler.is_compiling():
            return self._ponder_all(x, state, lambda _, reached: reached >= hazard)[0]
        return self._ponder_needed(x, state, hazard)

    def _ponder_needed(self, x: Tensor, state: Tensor | None, hazard: Tensor) -> Halted:
        """Computes each step for the rows that reach it only, which it finds out on the way."""
        output, state, logits = self.step(x, state)
        halted, rows = Halted(output, torch.ones(len(x), dtype=torch.long, device=x.device)), None
        for n in range(2, self.max_steps + 1):
            hazard = hazard - F.softplus(logits)  # what is left of it: log(1 - lambda) = -softplus(logit)
            left = (hazard > 0).nonzero().squeeze(1)
            if not len(left):
                break
            rows = left if rows is None else rows.index_select(0, left)
            if len(left) < len(hazard):
                x, state, hazard = (part.index_select(0, left) for part in (x, state, hazard))
            output, state, logits = self.step(x, state)
            halted = Halted(halted.output.index_copy(0, rows, output), halted.steps.index_fill(0, rows, n))
        return halted

    def _ponder_sorted(self, x: Tensor, state: Tensor | None, steps: Tensor) -> HaltedAt:
        """Computes each step for the rows that reach it only: the first ones, where the last to halt comes first."""
        order = steps.argsort(descending=True)
        halting = torch.bincount(steps, minlength=self.max_steps + 1).tolist()
        x, left = x.index_select(0, order), len(x)
        state = None if state is None else state.index_select(0, order)
        outputs, logits = [], []
        for n in range(1, self.max_steps + 1):
            output, state, logit = self.step(x, state)
            left -= halting[n]
            outputs.append(output[left:])
            logits.append(logit)
            if not left:
                break
            x, state = x[:left], state[:left]
        back = order.argsort()
        padded = F.pad(nn.utils.rnn.pad_sequence(logits), (0, self.max_steps - len(logits)))  # [batch, max_steps]
        log_probs = _log_probs_at(steps, padded.index_select(0, back))
        return HaltedAt(torch.cat(outputs[::-1]).index_select(0, back), log_probs)

    def _ponder_all(
        self, x: Tensor, state: Tensor | None, halts: Callable[[int, Tensor], Tensor]
    ) -> tuple[Halted, Tensor]:
        """Computes each step for every row: the same results, in static shapes.

        Args:
            halts: which rows halt at step n if they are still there, from n and their cumulative hazard.

        Returns:
            Where they halt, and the logits of all steps, `[batch, max_steps]`.
        """
        steps = torch.zeros(len(x), dtype=torch.long, device=x.device)
        ponders, hazard = torch.ones_like(steps, dtype=torch.bool), torch.zeros(len(x), device=x.device)
        output, logits = None, []
        for n in range(1, self.max_steps + 1):
            y, state, logit = self.step(x, state)
            output = y if output is None else torch.where(ponders.view(-1, *[1] * (y.dim() - 1)), y, output)
            steps = steps + ponders
            hazard = hazard + F.softplus(logit)
            ponders = ponders & ~halts(n, hazard)
            logits.append(logit)
        return Halted(output, steps), torch.stack(logits, 1)


def _log_probs_at(steps: Tensor, logits: Tensor) -> Tensor:
    """`log p_n` at given steps: `[batch]` and `[batch, N]` to `[batch]`."""
    return halting_log_probs(logits).gather(1, steps.unsqueeze(1) - 1).squeeze(1)


class PonderLoss(nn.Module):
    """The training loss of the paper: `sum_n p_n loss(y_n, y) + beta * KL(p || p_G)`, averaged over rows.

    Args:
        loss_fn: `(y_n, targets) -> [batch, ...]`, one loss per row (`reduction="none"`); averaged over what follows.
        lambda_p: the halting probability of the geometric prior.
        beta: the weight of the regulariser.

    Raises:
        ValueError: `lambda_p` isn't strictly between 0 and 1, or `loss_fn` doesn't return one loss per row.
    """

    def __init__(self, loss_fn: Callable[[Tensor, Tensor], Tensor], lambda_p: float = 0.01, beta: float = 0.01) -> None:
        super().__init__()
        check_lambda_p(lambda_p)
        self.loss_fn = loss_fn
        self.lambda_p = lambda_p
        self.beta = beta

    def forward(self, outputs: Tensor, halting_probs: Tensor, targets: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of every step of a `PonderNet`.

        Args:
            outputs: `[batch, N, output_dim]`.
            halting_probs: `[batch, N]`.
            targets: what `loss_fn` compares each `[batch, output_dim]` output with.

        Returns:
            The total, and the parts detached: `total_loss`, `reconstruction_loss`, `kl_divergence` (nats), `avg_steps`.
        """
        losses = torch.stack([self._row_losses(y, targets) for y in outputs.unbind(1)], 1)  # [batch, N]
        reconstruction = (halting_probs * losses).sum(1)
        # A probability that has underflowed to 0 adds nothing, and nothing to the gradient
        log_probs = torch.where(halting_probs > 0, halting_probs, 1.0).log()
        prior = log_prior(halting_probs.shape[1], self.lambda_p, halting_probs.device)
        kl = (halting_probs * (log_probs - prior)).sum(1)
        total = (reconstruction + self.beta * kl).mean()
        return total, {
            "total_loss": total.detach(),
            "reconstruction_loss": reconstruction.mean().detach(),
            "kl_divergence": kl.mean().detach(),
            "avg_steps": expected_steps(halting_probs).mean().detach(),
        }

    def _row_losses(self, output: Tensor, targets: Tensor) -> Tensor:
        losses = self.loss_fn(output, targets)
        if losses.shape[:1] != output.shape[:1]:
            raise ValueError(
                f"`loss_fn` must return one loss per row (`reduction='none'`), [{len(output)}, ...], "
                f"got {list(losses.shape)}"
            )
        return losses.flatten(1).mean(1) if losses.dim() > 1 else losses
