"""The parity task of the PonderNet paper (section 4.1), with short vectors: learnt, and harder inputs take longer.

A prior that likes one step, and a `beta` that lets each step be tried, make the first step answer what it can; with
the paper's `beta` of 0.01 all inputs settle on the same late step. One GRU step can learn either the easier or the
harder half of vectors this short, so training shows the easier ones more often, and testing shows all alike.
"""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sheeprl_dnp.pondernet import PonderLoss, PonderNet, expected_steps, halting_head

SIZE, HIDDEN, MAX_STEPS, LAMBDA_P, BETA = 8, 64, 6, 0.8, 0.2
BATCH, UPDATES, LEARNING_RATE = 128, 7_000, 2e-3

pytestmark = pytest.mark.slow


class ParityStep(nn.Module):
    """One GRU step that reads the whole vector, and the logit of "odd"."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(SIZE, HIDDEN)
        self.head = nn.Linear(HIDDEN, 1)

    def forward(self, x: Tensor, state: Tensor | None) -> tuple[Tensor, Tensor]:
        state = self.cell(x, state)
        return self.head(state), state


def number_nonzero(rows: int, generator: torch.Generator) -> Tensor:
    return torch.randint(1, SIZE + 1, (rows,), generator=generator)


def parity_task(nonzero: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """`[rows, SIZE]` vectors with that many entries of -1 or 1, and `[rows, 1]`: whether their 1s are odd in number."""
    places = torch.rand(len(nonzero), SIZE, generator=generator).argsort(1)
    signs = torch.randint(0, 2, places.shape, generator=generator) * 2 - 1
    x = signs * (places < nonzero[:, None])
    return x.float(), ((x == 1).sum(1, keepdim=True) % 2).float()


def row_loss(logit: Tensor, target: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(logit, target, reduction="none")


def train(seed: int) -> PonderNet:
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = PonderNet(ParityStep(), halting_head(HIDDEN, LAMBDA_P), MAX_STEPS, LAMBDA_P)
    loss_fn = PonderLoss(row_loss, LAMBDA_P, BETA)
    optimizer = torch.optim.Adam(net.parameters(), LEARNING_RATE)
    for _ in range(UPDATES):
        nonzero = torch.minimum(number_nonzero(BATCH, generator), number_nonzero(BATCH, generator))
        x, target = parity_task(nonzero, generator)
        result = net(x)
        loss, _ = loss_fn(result.outputs, result.halting_probs, target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    return net


def accuracy(logits: Tensor, targets: Tensor) -> float:
    return ((logits > 0) == (targets > 0)).float().mean().item()


@pytest.fixture(scope="module")
def trained() -> PonderNet:
    torch.set_num_threads(1)
    return train(seed=0)


@pytest.fixture(scope="module")
def fresh() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1234)
    nonzero = number_nonzero(20_000, generator)
    return *parity_task(nonzero, generator), nonzero


@torch.no_grad()
def test_parity_is_learnt(trained: PonderNet, fresh: tuple[Tensor, Tensor, Tensor]) -> None:
    x, targets, _ = fresh
    torch.manual_seed(0)
    assert accuracy(trained.act(x).output, targets) > 0.97
    assert accuracy(trained.act(x, halting="threshold", threshold=0.9).output, targets) > 0.97


@torch.no_grad()
def test_one_step_is_not_enough(trained: PonderNet, fresh: tuple[Tensor, Tensor, Tensor]) -> None:
    x, targets, _ = fresh
    assert accuracy(trained.act(x, halting=1).output, targets) < 0.8


@torch.no_grad()
def test_harder_inputs_are_pondered_longer(trained: PonderNet, fresh: tuple[Tensor, Tensor, Tensor]) -> None:
    x, _, nonzero = fresh
    torch.manual_seed(0)
    for steps in (expected_steps(trained(x).halting_probs), trained.act(x).steps.float()):
        easy, hard = steps[nonzero <= 2].mean(), steps[nonzero >= SIZE - 1].mean()
        means = torch.stack([steps[nonzero == n].mean() for n in range(1, SIZE + 1)])
        assert hard > easy + 0.6, (easy, hard)
        assert rank_correlation(means, torch.arange(SIZE)) > 0.9, means
        assert rank_correlation(steps, nonzero) > 0.35


def ranks(values: Tensor) -> Tensor:
    """Equal values share the mean of their ranks."""
    _, place, counts = values.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2)[place]


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Spearman's."""
    return torch.corrcoef(torch.stack((ranks(a), ranks(b))))[0, 1].item()
