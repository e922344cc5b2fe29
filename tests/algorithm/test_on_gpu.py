"""What is computed on a GPU: the same as on a CPU, and steps that end in numbers; skipped where there is no GPU."""

import pytest
import torch
from conftest import TINY_AGENT
from torch import nn

from sheeprl_dnp.benchmark.agents import KINDS, PLAIN, Agent, Ponder, Settings
from sheeprl_dnp.benchmark.gpu import waits

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

AGENTS: dict[str, Ponder] = {kind: PLAIN | KINDS[kind] | {"max_halts": 3} for kind in ("all", "marginal", "dream")}
LATENTS = 4 * 4 + 16  # of TINY_AGENT: stochastic x discrete, and recurrent


def agent(kind: str, device: str, precision: str = "32-true") -> Agent:
    return Agent(Settings("XS", tuple(TINY_AGENT), device, precision), AGENTS[kind])


def randomize(module: nn.Module) -> None:
    """Weights that are nowhere zero, as the heads of an untrained agent are."""
    generator = torch.Generator().manual_seed(1)
    for parameter in module.parameters():
        parameter.data = (0.3 * torch.randn(parameter.shape, generator=generator)).to(parameter)


@pytest.mark.parametrize("kind", AGENTS)
def test_halting_and_policies_are_those_of_the_cpu(kind: str) -> None:
    found = []
    for device in ("cpu", "cuda"):
        made = agent(kind, device)
        torch.set_float32_matmul_precision("highest")  # the agent's configuration asks for less
        torch.backends.cudnn.allow_tf32 = False
        for module in (made.learner.world_model, made.learner.actor, made.learner.critic):
            randomize(module)
        states = torch.randn(64, LATENTS, generator=torch.Generator().manual_seed(2)).to(made.device)
        with torch.no_grad():
            pondered = made.learner.actor(states, greedy=True, at=3 if kind == "dream" else "every")
        found.append((pondered.policies[0].logits.cpu(), pondered.halts.cpu(), pondered.log_halting))
    (logits, halts, weights), (gpu_logits, gpu_halts, gpu_weights) = found
    assert gpu_halts.equal(halts)
    torch.testing.assert_close(gpu_logits, logits, rtol=1e-3, atol=1e-3)
    if weights is not None:
        torch.testing.assert_close(gpu_weights.cpu(), weights, rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("error:.*on different devices")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("kind", AGENTS)
def test_gradient_steps_end_in_numbers(kind: str, precision: str) -> None:
    made = agent(kind, "cuda", precision)
    before = [parameter.clone() for parameter in made.learner.actor.parameters()]
    for _ in range(3):
        made.step()
    losses = made.aggregator.compute()
    assert all(torch.isfinite(torch.as_tensor(value)).all() for value in losses.values()), losses
    after = list(made.learner.actor.parameters())
    assert all(parameter.isfinite().all() for parameter in after)
    assert any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))


def test_behaviour_learning_waits_for_the_device_nowhere() -> None:
    made = agent("marginal", "cuda", "bf16-mixed")
    made.step()
    assert waits(made)["first_wait"] == "none"
