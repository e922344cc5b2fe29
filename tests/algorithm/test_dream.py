"""`step: dream`: what a dream is, what it does to the policy, and when the actor goes on dreaming."""

import copy
import io
import math

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import TINY_AGENT
from lightning.fabric import Fabric
from omegaconf import OmegaConf
from sheeprl.utils.utils import dotdict, unwrap_fabric
from test_configs import experiment
from tiny_actors import DreamingActor, GivenGains
from tiny_mdp import flat_gradient
from torch import Tensor, nn

from sheeprl_dnp.dreamer_v3_ponder.agent import PonderedSteps, build_agent
from sheeprl_dnp.dreamer_v3_ponder.lookahead import Lookahead
from sheeprl_dnp.dreamer_v3_ponder.steps import FIRST_KAPPA, Dream
from sheeprl_dnp.dreamer_v3_ponder.utils import WeightedMoments, build_moments
from sheeprl_dnp.pondernet import PonderNet
from sheeprl_dnp.runs import ConfigError

OBSERVATIONS = gym.spaces.Dict({"rgb": gym.spaces.Box(0, 255, (3, 64, 64), np.uint8)})
LAMBDA_P = 0.3


def configuration(*overrides: str) -> dotdict:
    steps = ("algo.ponder.step=dream", "algo.ponder.estimator=marginal")
    cfg = experiment("exp=dnp_crafter_small", *TINY_AGENT, *steps, "algo.mlp_keys.encoder=[]", *overrides)
    return dotdict(OmegaConf.to_container(cfg, resolve=True))


def agent(cfg: dotdict, actions: tuple[int, ...] = (5,), is_continuous: bool = False, **kwargs: object) -> tuple:
    torch.manual_seed(0)
    world_model, actor, critic, target, player = build_agent(
        Fabric(accelerator="cpu", devices=1), actions, is_continuous, cfg, OBSERVATIONS, **kwargs
    )
    # Their last layers start at zero: nothing would gain anything
    for module in (world_model.reward_model, critic):
        nn.init.normal_(module.model[-1].weight, std=0.3)
    return world_model, actor, critic, target, player


def latents(rows: int = 6) -> Tensor:
    stochastic = torch.eye(4)[torch.randint(4, (rows, 4))].flatten(1)
    return torch.cat((stochastic, torch.randn(rows, 16)), -1)


# What a dream is


def test_a_gain_is_that_of_the_most_probable_outcome_by_the_agents_own_world_model_and_critic() -> None:
    cfg, moments = configuration(), WeightedMoments(0.99, 1.0, 0.05, 0.95)
    moments.high = torch.tensor(4.0)
    world_model, actor, critic, *_ = agent(cfg, moments=moments)
    states, actions = latents(), torch.tensor([[4, 0, 2]]).repeat(6, 1)
    gains = actor.ponder.step_module.lookahead.gains(states, actions)
    value = lambda z: two_hot_mean(critic(z))  # noqa: E731
    for row in range(6):
        for column, action in enumerate((4, 0, 2)):
            stochastic, recurrent = states[row, :16].view(1, 1, -1), states[row, 16:].view(1, 1, -1)
            inputs = torch.cat((stochastic, torch.eye(5)[action].view(1, 1, -1)), -1)
            recurrent = world_model.rssm.recurrent_model(inputs, recurrent)
            logits = world_model.rssm.prior_logits(recurrent).view(4, 4)
            outcome = torch.cat((torch.eye(4)[logits.argmax(-1)].view(1, 1, -1), recurrent), -1)
            goes_on = (world_model.continue_model(outcome) > 0).float()
            after = two_hot_mean(world_model.reward_model(outcome)) + cfg.algo.gamma * goes_on * value(outcome)
            expected = (after - value(states[row].view(1, 1, -1))) / 4.0
            torch.testing.assert_close(gains[row, column], expected.view(()), atol=1e-5, rtol=1e-4)
    assert gains.std() > 0.001 and not gains.requires_grad


def two_hot_mean(logits: Tensor) -> Tensor:
    """The number that 255 bins of symlog numbers from -20 to 20 stand for (DreamerV3, equation 9)."""
    place = (logits.softmax(-1) * torch.linspace(-20, 20, 255)).sum(-1)
    return place.sign() * place.abs().expm1()


def test_the_gradient_of_the_actor_reaches_neither_world_model_nor_critic() -> None:
    world_model, actor, critic, *_ = agent(configuration())
    pondered = actor(latents(), at="every")
    (pondered.policies[0].logits[:, -1, 0].sum() + pondered.log_halting.sum()).backward()
    assert actor.ponder.step_module.log_kappa.grad.abs() > 0
    assert all(weights.grad is None for module in (world_model, critic) for weights in module.parameters())


def test_the_gains_are_in_units_of_the_scale_that_the_returns_have_now() -> None:
    moments = build_moments(configuration().algo.actor.moments)
    _, actor, *_ = agent(configuration(), moments=moments)
    lookahead, states = actor.ponder.step_module.lookahead, latents()
    before = lookahead.gains(states, torch.zeros(6, 1, dtype=torch.long))
    moments.high = torch.tensor(8.0)
    torch.testing.assert_close(lookahead.gains(states, torch.zeros(6, 1, dtype=torch.long)), before / 8)


def test_a_gain_of_a_tenth_of_the_scale_at_first_more_than_doubles_a_probability() -> None:
    assert math.exp(0.1 * FIRST_KAPPA) > 2
    step = Dream(GivenGains(torch.tensor([[0.0, 0.1]])), 1, 2, halts=False)
    policies, _ = step.unroll((torch.tensor([[0.9, 0.1]]).log(), torch.ones(1, 1), torch.zeros(1, 1)), None, 3)
    odds = policies.exp()[0, -1, 1] / policies.exp()[0, -1, 0]
    assert odds.item() == pytest.approx(math.exp(1) / 9, rel=1e-5)


# The steps, one by one and all at once


def step_of(gains: Tensor, max_steps: int) -> tuple[Dream, tuple[Tensor, ...]]:
    torch.manual_seed(3)
    rows, actions = len(gains), gains.shape[1]
    step = Dream(GivenGains(gains), 4, max_steps, halts=True)
    nn.init.normal_(step.from_features.weight)
    return step, (torch.randn(rows, actions).log_softmax(-1), torch.eye(rows), torch.randn(rows, 1))


@pytest.mark.parametrize("max_steps", [1, 2, 4, 6])
def test_steps_that_are_dreamed_at_once_are_those_that_are_dreamed_one_by_one(max_steps: int) -> None:
    step, inputs = step_of(torch.randn(7, 5), max_steps)
    policies, seen = step.unroll(inputs, None, max_steps)
    state = None
    for n in range(max_steps):
        policy, state = step(inputs, state)
        torch.testing.assert_close(policy, policies[:, n])
        torch.testing.assert_close(state[:, :4], seen[:, n])


def test_the_most_probable_actions_are_dreamed_of_first_and_of_equal_ones_the_lower_number() -> None:
    step, inputs = step_of(torch.zeros(2, 4), 5)
    log_policy = torch.tensor([[0.1, 0.4, 0.4, 0.1], [0.25, 0.25, 0.25, 0.25]]).log()
    dreams = step.look_ahead((log_policy, *inputs[1:]), 5)
    assert dreams.actions.tolist() == [[1, 2, 0, 3], [0, 1, 2, 3]]
    assert [step.look_ahead((log_policy, *inputs[1:]), n).actions.shape[1] for n in (1, 2, 3)] == [0, 1, 2]


def test_a_dream_draws_no_random_number_and_two_of_one_state_are_equal() -> None:
    _, actor, *_ = agent(configuration())
    states = latents()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    step = actor.ponder.step_module
    inputs = step.inputs(actor.model(states), states, actor._heads[0])
    first, second = (step.unroll(inputs, None, 4) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(torch.get_rng_state(), before)
    policies = [actor(states, at=3).policies[0].logits for _ in range(2)]
    assert torch.equal(*policies)


@pytest.mark.parametrize("at", [1, 3, "every", "given"])
def test_known_dreams_and_new_ones_give_the_same_policies(at: object) -> None:
    _, actor, *_ = agent(configuration())
    states = latents().view(2, 3, -1)
    given = torch.tensor([[1, 4, 2], [3, 3, 1]])
    at = given if at == "given" else at
    known = actor(states, at="sample", ahead=True).dreams
    assert known.gains.shape == known.actions.shape == (2, 3, 3)
    if isinstance(at, int):
        assert actor(states, at=at).dreams is None
        at = torch.full((2, 3), at)
    new, old = actor(states, at=at), actor(states, at=at, dreams=known)
    torch.testing.assert_close(new.policies[0].logits, old.policies[0].logits)
    torch.testing.assert_close(new.log_halting, old.log_halting)


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_in_low_precision_the_gains_of_the_imagination_are_those_of_the_loss(precision: str) -> None:
    fabric = Fabric(accelerator="cpu", devices=1, precision=precision)
    torch.manual_seed(0)
    world_model, actor, critic, *_ = build_agent(fabric, (5,), False, configuration(), OBSERVATIONS)
    for module in (world_model.reward_model, critic):
        nn.init.normal_(module.model[-1].weight, std=0.3)
    states = latents().view(1, 6, -1)
    imagined = actor(states, at="every", ahead=True)
    in_the_loss = actor(states, at="every", dreams=imagined.dreams)
    assert torch.equal(imagined.policies[0].logits, in_the_loss.policies[0].logits)
    assert torch.equal(imagined.log_halting, in_the_loss.log_halting)
    assert imagined.dreams.gains.std() > 0.1


def test_static_shapes_give_what_the_rows_that_need_it_give() -> None:
    _, actor, *_ = agent(configuration())
    states, given = latents(), torch.tensor([1, 4, 2, 3, 3, 1])
    needed = actor(states, at=given)
    actor.ponder.static = True
    torch.testing.assert_close(actor(states, at=given).policies[0].logits, needed.policies[0].logits)


def test_a_copy_of_an_actor_dreams_with_the_world_model_that_is_trained() -> None:
    world_model, actor, _, _, player = agent(configuration())
    copied = copy.deepcopy(actor.module)
    assert copied.ponder.step_module.lookahead.world_model is world_model
    assert player.actor.actor.ponder.step_module.lookahead.world_model is world_model
    assert not [name for name, _ in actor.named_parameters() if "lookahead" in name]


def test_an_actor_that_was_registered_is_loaded_on_another_device_with_what_it_dreams_by() -> None:
    _, actor, *_ = agent(configuration())
    torch.save(unwrap_fabric(actor), saved := io.BytesIO())  # as MLflow keeps it
    saved.seek(0)
    elsewhere = torch.load(saved, map_location="meta", weights_only=False)
    ahead = elsewhere.ponder.step_module.lookahead
    modules = (elsewhere, ahead.world_model, ahead.critic, ahead.moments)
    tensors = [tensor for module in modules for tensor in module.state_dict().values()]
    assert tensors and all(tensor.device.type == "meta" for tensor in tensors)


def test_halting_starts_at_lambda_p_whatever_was_dreamed() -> None:
    _, actor, *_ = agent(configuration("algo.ponder.lambda_p=0.3", "algo.ponder.max_halts=3"))
    expected = torch.tensor([0.3, 0.21, 0.49]).expand(6, 3)
    torch.testing.assert_close(actor(latents(), at="every").log_halting.exp(), expected)


@pytest.mark.parametrize(("at", "expected"), [("sample", None), (1, 1), (4, 4), (6, 6)])
def test_the_player_dreams_as_often_as_it_ponders(at: str | int, expected: int | None) -> None:
    steps = PonderedSteps()
    cfg = configuration(f"algo.ponder.halting={at}", "env.num_envs=3")
    *_, player = agent(cfg, player_steps=steps)
    lookahead, dreamed = player.actor.actor.ponder.step_module.lookahead, []
    gains = lookahead.gains
    lookahead.gains = lambda latents, actions: (dreamed.append(actions.numel()), gains(latents, actions))[1]
    player.init_states()
    player.get_actions({"rgb": torch.rand(1, 3, 3, 64, 64)})
    mean = steps.compute_and_reset()
    assert sum(dreamed) == (mean - 1) * 3
    if expected:
        assert mean == expected
        assert len(dreamed) == (expected > 1), "a fixed number of steps is one batch of dreams"


# What it is refused for


@pytest.mark.parametrize(
    ("overrides", "actions", "is_continuous", "named"),
    [
        ([], (3, 4), False, "step=dream"),
        (["algo.actor.objective_mix=1.0"], (3,), True, "step=dream"),
        (["algo.actor.cls=sheeprl.algos.dreamer_v3.agent.MinedojoActor"], (19, 5, 6), False, "step=dream"),
        (["algo.ponder.max_halts=7"], (5,), False, "max_halts=7"),
        (["algo.ponder.halting=7"], (5,), False, "halting=7"),
        (["algo.ponder.step=refine"], (3,), True, "estimator=marginal"),
        (["algo.ponder.step=refine", "algo.ponder.entropy=mixture"], (3, 4), False, "entropy=mixture"),
    ],
)
def test_what_actions_dont_allow_is_refused_with_a_sentence(
    overrides: list[str], actions: tuple[int, ...], is_continuous: bool, named: str
) -> None:
    with pytest.raises(ConfigError, match=rf"`algo\.(ponder|actor)\..*{named}|{named}.*must be"):
        agent(configuration(*overrides), actions, is_continuous)


def test_as_many_dreams_as_there_are_actions_are_allowed() -> None:
    _, actor, *_ = agent(configuration("algo.ponder.max_halts=6"))
    assert actor(latents(), at="every").policies[0].logits.shape == (6, 6, 5)


def test_an_actor_that_never_halts_takes_all_its_dreams() -> None:
    _, actor, *_ = agent(configuration("algo.ponder.learn_halting=False"))
    states = latents()
    every, last = actor(states, at="every"), actor(states, at=4)
    torch.testing.assert_close(every.policies[0].logits[:, 0], last.policies[0].logits)
    assert actor(states, at="sample", ahead=True).halts.tolist() == [4] * 6
    assert [name for name, _ in actor.module.named_parameters() if "ponder" in name] == ["ponder.step_module.log_kappa"]
    assert isinstance(actor.ponder, PonderNet) and isinstance(actor.ponder.step_module.lookahead, Lookahead)


def test_the_gradient_to_every_weight_of_a_dreaming_actor_is_finite() -> None:
    actor = DreamingActor(torch.randn(3, 4).double() * 20, 4)
    pondered = actor(torch.eye(3).double(), at="every")
    gradient = flat_gradient(pondered.policies[0].entropy().sum() + pondered.log_halting.sum(), actor)
    assert gradient.isfinite().all() and gradient.abs().sum() > 0
