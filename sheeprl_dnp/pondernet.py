"""PonderNet in plain PyTorch (Banino et al. 2021, arXiv 2107.05407): a network that chooses how long to compute.

A step module is applied up to N = `max_steps` times. After step n it halts with probability `lambda_n`, so that it
halts at step n with probability `p_n = lambda_n * prod_{i<n} (1 - lambda_i)`, the last step taking what is left.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sheeprl_dnp.halting import (
    check_lambda_p,
    check_rule,
    drawn_hazard,
    expected_steps,
    halting_log_probs,
    is_whole_number,
    log_prior,
)
from sheeprl_dnp.halting import halting_head as halting_head  # a part of what a user builds a net from

Inputs: TypeAlias = "Tensor | tuple[Tensor, ...]"  # [batch, ...] each


class PonderOutput(NamedTuple):
    """Every ponder step of a batch, and their mean."""

    output: Tensor  # [batch, output_dim], sum_n p_n y_n
    halting_probs: Tensor  # [batch, max_steps]
    outputs: Tensor  # [batch, max_steps, output_dim]
    states: Tensor  # [batch, max_steps, hidden_size]


class PonderSteps(NamedTuple):
    """Each ponder step of a batch at which it can halt: all N, or the last alone where nothing halts before."""

    outputs: Tensor  # [batch, N, output_dim]
    logits: Tensor  # [batch, N], of lambda_n; the last one has no effect
    first: int  # the number of the first of them

    @property
    def log_probs(self) -> Tensor:
        """`log p_n`, `[batch, N]`."""
        return halting_log_probs(self.logits)


class Halted(NamedTuple):
    """Where each row of a batch halted."""

    output: Tensor  # [batch, output_dim], y_n
    steps: Tensor  # [batch], n, from 1
    log_probs: Tensor | None  # [batch], log p_n of given steps; None where a rule chose them


class PonderNet(nn.Module):
    """A step module applied until it halts.

    Args:
        step_module: `(x, state) -> (output, state)`: inputs (`[batch, ...]`, or a tuple of such) and the state of the
            step before (`[batch, hidden_size]`) to `[batch, output_dim]` outputs. At the first step the state is
            `initial_state`; where that isn't given, zeros if the module has a `hidden_size`, else `None`. A module that
            computes several steps at once has `unroll(x, state, steps)`, which gives outputs and states
            `[batch, steps, ...]`; one that computes a step without all those before has `last(x, state, steps)`.
        halting_module: `[batch, hidden_size] -> [batch, 1]`, logits of `lambda_n`; `None`: halts at the last step only.
        max_steps: N, the last step, which always halts.
        lambda_p: the halting probability of the geometric prior, to be given to the loss: it changes nothing here.

    Raises:
        ValueError: `max_steps` is below 1, or `lambda_p` isn't strictly between 0 and 1.
    """

    def __init__(
        self, step_module: nn.Module, halting_module: nn.Module | None, max_steps: int = 20, lambda_p: float = 0.01
    ) -> None:
        super().__init__()
        if max_steps < 1:
            raise ValueError(f"`max_steps` must be at least 1, got {max_steps}")
        check_lambda_p(lambda_p)
        self.step_module = step_module
        self.halting_module = halting_module
        self.max_steps = max_steps
        self.lambda_p = lambda_p
        # Whether each step is computed for all rows, not those alone that reach it; `None`: on a device that is no CPU,
        # and in compiled code, which want shapes that don't depend on the data
        self.static: bool | None = None

    def forward(self, x: Inputs, initial_state: Tensor | None = None) -> PonderOutput:
        """Computes every step (training): the halting-weighted output, and the steps that it weighs."""
        outputs, states = self._unroll(x, initial_state)
        every = self.weigh(outputs, states)
        probs = F.pad(every.log_probs.exp(), (every.first - 1, 0))
        weighted = torch.einsum("bn,bn...->b...", probs.to(outputs.dtype), outputs)
        return PonderOutput(weighted, probs, outputs, states)

    def every_step(self, x: Inputs, initial_state: Tensor | None = None) -> PonderSteps:
        """Computes every step at which it can halt, with its probability."""
        if self.halting_module is None:
            output = self._ponder_fixed(x, initial_state, self.max_steps).output.unsqueeze(1)
            return self.weigh(output, output)
        return self.weigh(*self._unroll(x, initial_state))

    def weigh(self, outputs: Tensor, states: Tensor) -> PonderSteps:
        """As `every_step`, of outputs and states of all the steps, `[batch, N, ...]`."""
        if self.halting_module is None:
            return PonderSteps(outputs[:, -1:], torch.zeros(len(outputs), 1, device=outputs.device), self.max_steps)
        return PonderSteps(outputs, self._halting_logits(states.flatten(0, 1)).view(outputs.shape[:2]), 1)

    def _unroll(self, x: Inputs, initial_state: Tensor | None) -> tuple[Tensor, Tensor]:
        """The outputs and the states of every step, `[batch, N, ...]`."""
        steps, state = [], self._first_state(x, initial_state)
        if hasattr(self.step_module, "unroll"):
            return self.step_module.unroll(x, state, self.max_steps)
        for _ in range(self.max_steps):
            output, state = self.step_module(x, state)
            steps.append((output, state))
        outputs = torch.stack([output for output, _ in steps], 1)
        same = all(output is state for output, state in steps)
        return outputs, outputs if same else torch.stack([state for _, state in steps], 1)

    def act(
        self,
        x: Inputs,
        initial_state: Tensor | None = None,
        halting: str | int | Tensor = "sample",
        threshold: float = 0.5,
    ) -> Halted:
        """Ponders until each row halts, and (where it isn't `static`) computes no step that no row reaches.

        Args:
            halting: `sample`: halt at step n with probability `lambda_n`; `threshold`: at the first step where the
                cumulative `p` reaches `threshold`; a number: at that step, which may be beyond `max_steps`; a tensor
                `[batch]`: at these steps, from 1 to `max_steps` (not checked: that would wait for a GPU).

        Raises:
            ValueError: `halting` is none of these, or `threshold` isn't above 0 and up to 1.
        """
        if not isinstance(halting, Tensor):
            check_rule(halting, threshold)
        if is_whole_number(halting):
            return self._ponder_fixed(x, initial_state, int(halting))
        if self.halting_module is None:
            halted = self._ponder_fixed(x, initial_state, self.max_steps)
            return halted._replace(log_probs=torch.zeros(halted.steps.shape, device=halted.steps.device))
        if self._is_static(x):
            return self.choose(self.every_step(x, initial_state), halting, threshold)
        state = self._first_state(x, initial_state)
        if isinstance(halting, Tensor):
            return self._ponder_sorted(x, state, halting)
        return self._ponder_needed(x, state, drawn_hazard(batch_of(x), halting, threshold))

    @staticmethod
    def choose(every: PonderSteps, halting: str | Tensor = "sample", threshold: float = 0.5) -> Halted:
        """Where each row halts, of steps that are all computed; arguments and results are those of `act`."""
        if every.logits.shape[1] == 1:  # nothing to choose, and nothing to draw
            log_probs = every.log_probs.squeeze(1)
            steps = torch.full_like(log_probs, every.first, dtype=torch.long)
            return Halted(every.outputs.squeeze(1), steps, log_probs)
        if isinstance(halting, Tensor):
            index = (halting - every.first).unsqueeze(1)
            log_probs = every.log_probs.gather(1, index).squeeze(1)
        else:
            hazard, log_probs = drawn_hazard(every.outputs, halting, threshold), None
            index = (F.softplus(every.logits[:, :-1]).cumsum(1) < hazard.unsqueeze(1)).sum(1, keepdim=True)
        outputs = every.outputs.flatten(2)
        output = outputs.gather(1, index.unsqueeze(2).expand(-1, -1, outputs.shape[2]))
        return Halted(output.view(len(index), *every.outputs.shape[2:]), index.squeeze(1) + every.first, log_probs)

    def _is_static(self, x: Inputs) -> bool:
        needed = torch.compiler.is_compiling() or batch_of(x).device.type != "cpu"
        return needed if self.static is None else self.static

    def _first_state(self, x: Inputs, initial_state: Tensor | None) -> Tensor | None:
        if initial_state is None and isinstance(size := getattr(self.step_module, "hidden_size", None), int):
            own = batch_of(x)
            return own.new_zeros(len(own), size, dtype=None if own.is_floating_point() else torch.get_default_dtype())
        return initial_state

    def _halting_logits(self, states: Tensor) -> Tensor:
        """The logits of `lambda_n`, `[batch]`, at least float32."""
        assert self.halting_module is not None
        logits = self.halting_module(states).squeeze(-1)
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _ponder_fixed(self, x: Inputs, state: Tensor | None, last: int) -> Halted:
        """Every row halts at the step `last`, whatever its probability."""
        state = self._first_state(x, state)
        if hasattr(self.step_module, "last"):
            output = self.step_module.last(x, state, last)
        else:
            for _ in range(last):
                output, state = self.step_module(x, state)
        return Halted(output, torch.full(output.shape[:1], last, device=output.device), None)

    def _ponder_needed(self, x: Inputs, state: Tensor | None, hazard: Tensor) -> Halted:
        """Each row halts where its cumulative hazard, `-sum_{i<=n} log(1 - lambda_i)`, reaches `hazard`, `[batch]`.

        Computes each step for the rows that reach it only, which it finds out on the way.
        """
        output, state = self.step_module(x, state)
        halted, rows = Halted(output, torch.ones(len(output), dtype=torch.long, device=output.device), None), None
        for n in range(2, self.max_steps + 1):
            # What is left of it: log(1 - lambda) = -softplus(logit)
            hazard = hazard - F.softplus(self._halting_logits(state))
            left = (hazard > 0).nonzero().squeeze(1)
            if not len(left):
                break
            rows = left if rows is None else rows.index_select(0, left)
            if len(left) < len(hazard):
                x, state, hazard = (rows_of(part, left) for part in (x, state, hazard))
            output, state = self.step_module(x, state)
            halted = Halted(halted.output.index_copy(0, rows, output), halted.steps.index_fill(0, rows, n), None)
        return halted

    def _ponder_sorted(self, x: Inputs, state: Tensor | None, steps: Tensor) -> Halted:
        """Computes each step for the rows that reach it only: the first ones, where the last to halt comes first."""
        order = steps.argsort(descending=True)
        halting = torch.bincount(steps, minlength=self.max_steps + 1).tolist()
        x, left = rows_of(x, order), len(steps)
        state = None if state is None else rows_of(state, order)
        outputs, logits = [], []
        for n in range(1, self.max_steps + 1):
            output, state = self.step_module(x, state)
            left -= halting[n]
            outputs.append(output[left:])
            logits.append(self._halting_logits(state))
            if not left:
                break
            x, state = rows_of(x, slice(left)), state[:left]
        back = order.argsort()
        padded = F.pad(nn.utils.rnn.pad_sequence(logits), (0, self.max_steps - len(logits)))  # [batch, max_steps]
        log_probs = halting_log_probs(padded.index_select(0, back)).gather(1, steps.unsqueeze(1) - 1).squeeze(1)
        return Halted(torch.cat(outputs[::-1]).index_select(0, back), steps, log_probs)


def batch_of(x: Inputs) -> Tensor:
    return x if isinstance(x, Tensor) else x[0]


def rows_of(x: Inputs, rows: Tensor | slice) -> Inputs:
    if isinstance(x, tuple):
        return tuple(rows_of(part, rows) for part in x)
    return x[rows] if isinstance(rows, slice) else x.index_select(0, rows)


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
