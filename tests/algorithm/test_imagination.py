"""What the real imagination makes with the real actor, in a process as a world model."""

import math

import pytest
import torch
import torch.nn.functional as F
from tiny_actors import Imagined
from tiny_mdp import imagination_of

CONTINUATIONS = pytest.mark.parametrize("continuation", ["sample", "commit"])


@CONTINUATIONS
def test_row_n_minus_1_times_m_plus_m_is_ponder_step_n_of_root_m(continuation: str) -> None:
    imagined = Imagined(continuation)
    imagination, n, m = imagined.imagination, imagined.max_halts, len(imagined.roots)
    by_step = imagination.trajectories[0].view(n, m, -1)
    assert all(torch.equal(roots, imagined.roots) for roots in by_step)
    assert imagination.halts[0].view(n, m).tolist() == [[step] * m for step in (1, 2, 3)]
    weights = imagination.weights
    torch.testing.assert_close(weights, imagined.halting_probs(imagined.roots).T)
    torch.testing.assert_close(weights.sum(0), torch.ones(m))
    assert not imagination.weights.requires_grad
    assert weights.std() > 0.05


@CONTINUATIONS
def test_the_imagination_records_what_the_world_model_was_given(continuation: str) -> None:
    imagined = Imagined(continuation, batch=60)
    mdp, states = imagined.mdp, imagined.imagination.trajectories[..., :3].argmax(-1)
    actions, halts = imagined.imagination.actions, imagined.imagination.halts
    assert torch.equal(imagined.imagination.trajectories[1:, :, 3:], actions[:-1])
    rows = [tuple(tuple(x.tolist()) for x in row) for row in zip(states.T, actions.argmax(-1).T, halts.T, strict=True)]
    expected = imagination_of(mdp, rows, imagined.imagination.weights, lmbda=0.9)
    assert torch.equal(halts, expected.halts)
    for name in ("values", "lambda_values"):
        ours = getattr(imagined.imagination, name)
        torch.testing.assert_close(ours, getattr(expected, name), check_dtype=False, rtol=1e-5, atol=1e-5)
    # Roots that are terminal count for nothing
    torch.testing.assert_close(imagined.imagination.discount, expected.discount, check_dtype=False)


def test_a_trajectory_that_commits_never_changes_its_ponder_step() -> None:
    halts = Imagined("commit").imagination.halts
    assert torch.equal(halts, halts[:1].expand_as(halts))


@pytest.mark.parametrize("compiles", [False, True])
def test_a_trajectory_that_samples_halts_like_the_deployed_agent(
    compiles: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiles)
    imagined = Imagined("sample", sequence=30, batch=60)
    halts, latents = imagined.imagination.halts[1:], imagined.imagination.trajectories[1:]
    probs = imagined.halting_probs(latents)
    surprise = F.one_hot(halts - 1, 3) - probs  # zero on average, in each state
    for state in range(3):
        there = latents[..., state] == 1
        deviation = surprise[there].mean(0) / (surprise[there].std(0) / math.sqrt(there.sum()))
        assert deviation.abs().max() < 4
    assert (probs.amax((0, 1)) - probs.amin((0, 1))).min() > 0.1  # p isn't the same everywhere


@CONTINUATIONS
def test_each_action_comes_from_its_ponder_step(continuation: str) -> None:
    imagined = Imagined(continuation, sequence=30, batch=60)
    imagination = imagined.imagination
    policies = imagined.actor(imagination.trajectories, at=imagination.halts).policies[0]
    surprise = (imagination.actions - policies.probs)[..., 0].detach()
    for step in (1, 2, 3):
        there = surprise[imagination.halts == step]
        assert (there.mean() / (there.std() / math.sqrt(len(there)))).abs() < 4
