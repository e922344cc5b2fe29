"""The control arm: an actor that always takes N steps is DreamerV3 with a deeper actor, and nothing else."""

import copy
from functools import partial

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import TINY_AGENT
from lightning.fabric import Fabric
from omegaconf import OmegaConf
from sheeprl.algos.dreamer_v3 import dreamer_v3
from sheeprl.utils.utils import dotdict
from test_configs import experiment
from torch import Tensor, nn

from sheeprl_dnp.dreamer_v3_ponder.agent import PonderedSteps, build_agent
from sheeprl_dnp.dreamer_v3_ponder.steps import Refine
from sheeprl_dnp.dreamer_v3_ponder.utils import add_ponder_metrics
from sheeprl_dnp.learner import build_learner
from sheeprl_dnp.pondernet import PonderNet

OBSERVATIONS = gym.spaces.Dict({"rgb": gym.spaces.Box(0, 255, (3, 64, 64), np.uint8)})


def configuration(*overrides: str) -> dotdict:
    never_halts = "algo.ponder.learn_halting=False"
    cfg = experiment("exp=dnp_crafter_small", *TINY_AGENT, never_halts, "algo.mlp_keys.encoder=[]", *overrides)
    return dotdict(OmegaConf.to_container(cfg, resolve=True))


class SheepRLsActor(nn.Module):
    """The pondering actor with the interface of SheepRL's."""

    def __init__(self, actor: nn.Module) -> None:
        super().__init__()
        self.actor = actor

    def forward(self, state: Tensor, clip: bool = True) -> tuple:
        pondered = self.actor(state, clip=clip)
        return pondered.actions, pondered.policies


def learned(cfg: dotdict, is_continuous: bool, ours: bool) -> list[Tensor]:
    """The weights of world model, actor and critic after two gradient steps, by our learning or by SheepRL's."""
    fabric = Fabric(accelerator="cpu", devices=1)
    torch.manual_seed(0)
    space = gym.spaces.Box(-1, 1, (3,)) if is_continuous else gym.spaces.Discrete(3)
    learner = build_learner(fabric, cfg, OBSERVATIONS, space, partial(torch.optim.Adam, lr=0.01))
    modules = (learner.world_model, learner.actor, learner.critic)
    target, acting = copy.deepcopy(learner.critic), SheepRLsActor(learner.actor)
    for _ in range(2):
        batch = learner.batch(4, 2)
        if ours:
            learner.step(batch)
        else:
            theirs = (learner.world_model, acting, learner.critic, target, *learner.optimizers)
            dreamer_v3.train(fabric, *theirs, batch, None, cfg, is_continuous, (3,), learner.moments)
    return [weights.detach() for module in modules for weights in module.parameters()]


@pytest.mark.parametrize("is_continuous", [False, True])
def test_its_learning_is_dreamer_v3s_bit_for_bit(is_continuous: bool) -> None:
    cfg = configuration()
    ours, theirs = learned(cfg, is_continuous, ours=True), learned(cfg, is_continuous, ours=False)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(("max_halts", "is_continuous"), [(1, False), (1, True), (4, False)])
def test_the_entropy_of_a_mixture_of_one_step_is_dreamer_v3s_bit_for_bit(max_halts: int, is_continuous: bool) -> None:
    mixture = ["algo.ponder.entropy=mixture", "algo.ponder.estimator=marginal", "algo.actor.objective_mix=1"]
    cfg = configuration(f"algo.ponder.max_halts={max_halts}", *mixture)
    ours, theirs = learned(cfg, is_continuous, ours=True), learned(cfg, is_continuous, ours=False)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_it_has_the_cell_of_the_pondering_actor_and_no_halting_unit() -> None:
    fabric = Fabric(accelerator="cpu", devices=1)
    torch.manual_seed(0)
    fixed = build_agent(fabric, (3,), False, configuration(), OBSERVATIONS)[1].state_dict()
    torch.manual_seed(0)
    ponders = configuration("algo.ponder.learn_halting=True")
    pondering = build_agent(fabric, (3,), False, ponders, OBSERVATIONS)[1].state_dict()
    assert pondering.keys() - fixed.keys() == {"ponder.halting_module.weight", "ponder.halting_module.bias"}
    assert all(torch.equal(weights, pondering[name]) for name, weights in fixed.items())


@pytest.mark.parametrize(("rule", "expected"), [("sample", 4), ("threshold", 4), (1, 1), (7, 7)])
def test_its_player_takes_all_its_steps_unless_it_is_told_a_number(rule: str | int, expected: int) -> None:
    fabric, steps = Fabric(accelerator="cpu", devices=1), PonderedSteps()
    cfg = configuration(f"algo.ponder.halting={rule}", "env.num_envs=2")
    *_, player = build_agent(fabric, (3,), False, cfg, OBSERVATIONS, player_steps=steps)
    player.init_states()
    player.get_actions({"rgb": torch.rand(1, 2, 3, 64, 64)})
    assert steps.compute_and_reset() == expected


def test_a_step_refines_the_features_of_the_one_before() -> None:
    linear = nn.Linear(4, 2)
    step, features = Refine(nn.Sequential(linear, nn.SiLU())), torch.randn(5, 2)
    expected, inputs = features, step.inputs(features, None, None)
    for steps in (1, 2, 3):
        net = PonderNet(step, None, steps)
        for halted in (net.act(inputs), net.act(inputs, halting=torch.ones(5, dtype=torch.long))):
            torch.testing.assert_close(halted.output, expected)
            assert halted.steps.tolist() == [steps] * 5
            assert halted.log_probs.tolist() == [0] * 5
        every = net.every_step(inputs)
        torch.testing.assert_close(every.outputs, expected.unsqueeze(1))
        assert (every.first, every.log_probs.tolist()) == (steps, [[0]] * 5)
        expected = nn.functional.silu(linear(torch.cat((features, expected), -1)))


def test_it_logs_the_steps_of_the_player_and_no_halting() -> None:
    cfg = configuration()
    add_ponder_metrics(cfg)
    assert {name for name in cfg.metric.aggregator.metrics if name.startswith("Ponder/")} == {"Ponder/player_steps"}
