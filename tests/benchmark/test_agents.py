"""The agents of the benchmark are those of a training."""

import pytest
import torch
from conftest import TINY_AGENT

from sheeprl_dnp.benchmark.agents import Agent, Settings, variants
from sheeprl_dnp.benchmark.gradient_step import KINDS

SETTINGS = Settings("XS", tuple(TINY_AGENT))


def test_each_variant_has_a_name_of_its_own() -> None:
    assert [*variants([1, 2, 8], actions=6, kinds=KINDS)] == [
        *("n1", "n2_all", "n8_all", "n2_matched", "n8_matched"),
        *("n2_all_commit", "n8_all_commit", "n2_matched_commit", "n8_matched_commit"),
        *("n2_marginal", "n8_marginal", "n2_dream"),
    ]


@pytest.mark.parametrize("validates", ["True", "False"])
def test_what_is_measured_is_what_a_training_runs(validates: str) -> None:
    overrides = (*TINY_AGENT, f"distribution.validate_args={validates}", "float32_matmul_precision=highest")
    agent = Agent(Settings("XS", overrides), variants([2], 17, ["matched"])["n2_matched"])
    cfg = agent.learner.cfg
    assert torch.distributions.Distribution._validate_args == cfg.distribution.validate_args == eval(validates)
    assert torch.get_float32_matmul_precision() == "highest"
    assert (cfg.algo.ponder.estimator, cfg.algo.ponder.roots) == ("trajectories", 0.5)
    agent.step()
    # Each metric that a training logs of a gradient step is computed
    logged = agent.aggregator.compute()
    assert {"Loss/policy_loss", "State/post_entropy", "Ponder/kl", "Ponder/halt_mass_02"} <= logged.keys()


def test_the_default_is_the_configurations_own_setting() -> None:
    Agent(SETTINGS)
    assert torch.distributions.Distribution._validate_args is False


def test_a_matched_budget_imagines_as_many_trajectories_as_dreamer_v3() -> None:
    for kind, trajectories in (("matched_commit", 16), ("all", 64)):
        (ponder,) = variants([4], 17, [kind]).values()
        agent, rows = Agent(SETTINGS, ponder), set()
        agent.learner.critic.register_forward_hook(lambda _, __, output, rows=rows: rows.add(output.shape[1]))
        agent.step()
        assert rows == {trajectories}
