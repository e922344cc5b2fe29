"""The pondering actor: a wrapper of SheepRL's, for all of its kinds of actions, with no more parameters."""

import copy
import pickle
from collections.abc import Sequence
from typing import Any
from unittest import mock

import gymnasium as gym
import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from omegaconf import OmegaConf
from sheeprl.algos.dreamer_v3.agent import build_agent as build_dreamer_v3_agent
from sheeprl.utils.utils import dotdict, unwrap_fabric
from test_configs import experiment

from sheeprl_dnp.dreamer_v3_ponder.agent import PlayerActor, PonderActor, PonderedSteps, build_agent
from sheeprl_dnp.dreamer_v3_ponder.parameters import count_parameters

OBSERVATIONS = gym.spaces.Dict(
    {"rgb": gym.spaces.Box(0, 255, (3, 64, 64), np.uint8), "reward": gym.spaces.Box(-np.inf, np.inf, (1,))}
)
MINEDOJO_ACTIONS = (19, 5, 6)


def config(*overrides: str) -> Any:
    cfg = experiment("exp=dnp_crafter_small", *overrides)
    return dotdict(OmegaConf.to_container(cfg, resolve=True))


def fabric() -> Fabric:
    return Fabric(accelerator="cpu", devices=1)


def agent(cfg: Any, actions: Sequence[int] = (17,), is_continuous: bool = False, build: Any = build_agent) -> tuple:
    torch.manual_seed(0)
    return build(fabric(), actions, is_continuous, cfg, OBSERVATIONS)


def test_an_actor_that_was_registered_acts_by_its_own_weights() -> None:
    cfg = config()
    _, actor, *_ = agent(cfg)
    loaded = pickle.loads(pickle.dumps(unwrap_fabric(actor)))  # as MLflow keeps it
    with torch.no_grad():
        loaded.mlp_heads[0].bias[3] = 100.0
    assert (loaded(latents(cfg, 5)).actions[0].argmax(-1) == 3).all()


def latents(cfg: Any, *shape: int) -> torch.Tensor:
    world_model = cfg.algo.world_model
    size = world_model.stochastic_size * world_model.discrete_size + world_model.recurrent_model.recurrent_state_size
    return torch.randn(*shape, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("size", "actions", "is_continuous"),
    [
        *((None, *kind) for kind in (((17,), False), ((3, 4), False), ((6,), True))),
        *((size, (17,), False) for size in ("XS", "S", "M", "L", "XL")),
    ],
)
def test_a_pondering_agent_has_no_more_parameters_than_dreamer_v3(
    size: str | None, actions: tuple[int, ...], is_continuous: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    sized = [] if size is None else ["exp=dreamer_v3", "env=dnp_crafter", f"algo=dreamer_v3_ponder_{size}"]
    keys = ["algo.mlp_keys.encoder=[reward]", "algo.world_model.encoder.cnn_channels_multiplier=2"]
    cfg = dotdict(OmegaConf.to_container(experiment(*(sized or ["exp=dnp_crafter_small"]), *keys), resolve=True))
    with mock.patch("torch.nn.init.trunc_normal_"):  # slow, and only the shapes matter here
        _, actor, *_ = agent(cfg, actions, is_continuous)
        printed = capsys.readouterr().out
        stock = build_dreamer_v3_agent(fabric(), actions, is_continuous, cfg, OBSERVATIONS)
    theirs, ours = count_parameters(stock[1]), count_parameters(actor)
    assert 0.85 * theirs < ours <= theirs
    assert f"of the actor: {ours:,} (DreamerV3: {theirs:,})" in printed
    whole = count_parameters(*stock[:3])
    assert f"of the agent: {whole - theirs + ours:,} (DreamerV3: {whole:,})" in printed


def test_with_one_ponder_step_the_agent_is_sheeprls_weight_for_weight() -> None:
    cfg = config("algo.ponder.max_halts=1")
    ours, theirs = agent(cfg), agent(cfg, build=build_dreamer_v3_agent)
    for left, right in zip(ours[:4], theirs[:4], strict=True):
        left, right = left.state_dict(), right.state_dict()
        assert list(left) == list(right)
        assert all(torch.equal(left[name], right[name]) for name in left)


def test_the_ponder_net_disturbs_no_other_initialisation_and_no_other_draw() -> None:
    cfg = config()
    fitted = copy.deepcopy(cfg)
    fitted.algo.actor.update(dense_units=128, mlp_layers=1)  # what pays for the cell
    ours = agent(cfg)
    draw = torch.rand(1)
    theirs = agent(fitted, build=build_dreamer_v3_agent)
    assert torch.equal(draw, torch.rand(1))
    for left, right in zip(ours[:4], theirs[:4], strict=True):
        left, right = left.state_dict(), right.state_dict()
        assert all(torch.equal(left[name], right[name]) for name in right)


def test_the_ponder_net_is_the_same_for_the_same_seed_only() -> None:
    cells = [agent(config(f"seed={seed}"))[1].ponder.step_module.from_step.weight for seed in (1, 1, 2)]
    assert torch.equal(cells[0], cells[1])
    assert not torch.equal(cells[0], cells[2])


def test_halting_starts_at_lambda_p_whatever_the_state() -> None:
    cfg = config("algo.ponder.lambda_p=0.3", "algo.ponder.max_halts=3")
    actor = agent(cfg)[1]
    for step, p in enumerate((0.3, 0.7 * 0.3, 0.7 * 0.7), start=1):
        halts = torch.full((5,), step)
        log_halting = actor(latents(cfg, 5), at=halts).log_halting
        torch.testing.assert_close(log_halting.exp(), torch.full((5,), p))


@pytest.mark.parametrize(
    ("overrides", "actions", "is_continuous"),
    [
        ([], (17,), False),
        ([], (3, 4, 5), False),
        ([], (6,), True),
        (["distribution.type=tanh_normal"], (6,), True),
        (["distribution.type=normal"], (6,), True),
        (["algo.actor.cls=sheeprl.algos.dreamer_v3.agent.MinedojoActor"], MINEDOJO_ACTIONS, False),
    ],
    ids=["discrete", "multi-discrete", "continuous", "tanh", "normal", "minedojo"],
)
def test_every_kind_of_sheeprls_actor_ponders(
    overrides: list[str], actions: tuple[int, ...], is_continuous: bool
) -> None:
    cfg = config(*overrides)
    actor = agent(cfg, actions, is_continuous)[1]
    states = latents(cfg, 2, 7)
    drawn = actor(states)
    assert torch.cat(drawn.actions, -1).shape == (2, 7, sum(actions))
    assert drawn.halts.shape == (2, 7) and drawn.log_halting is None
    # The policy at a halting step is the heads' on the features of that step
    again = actor(states, at=drawn.halts)
    assert again.log_halting.shape == (2, 7) and (again.log_halting < 0).all()
    for action, left, right in zip(drawn.actions, drawn.policies, again.policies, strict=True):
        torch.testing.assert_close(left.log_prob(action), right.log_prob(action))
    first, last = (actor(states, at=torch.full((2, 7), n)).policies[0].log_prob(drawn.actions[0]) for n in (1, 4))
    assert not torch.allclose(first, last)


def test_the_first_ponder_step_is_sheeprls_actor() -> None:
    cfg = config()
    actor = agent(cfg)[1].module
    stock = copy.deepcopy(actor._heads[0])
    stock.model = actor.model
    states = latents(cfg, 1, 6)
    ours = actor(states, at=torch.ones(1, 6, dtype=torch.long)).policies[0]
    assert torch.equal(ours.logits, stock(states)[1][0].logits)


def test_masked_actions_of_minedojo_are_never_taken_however_long_it_ponders() -> None:
    cfg = config("algo.actor.cls=sheeprl.algos.dreamer_v3.agent.MinedojoActor")
    actor = agent(cfg, MINEDOJO_ACTIONS)[1]
    mask = {
        "mask_action_type": torch.arange(19) == 3,
        "mask_craft_smelt": torch.ones(5, dtype=torch.bool),
        "mask_destroy": torch.ones(6, dtype=torch.bool),
        "mask_equip_place": torch.ones(6, dtype=torch.bool),
    }
    drawn = actor(latents(cfg, 1, 32), mask=mask)
    assert drawn.halts.unique().numel() > 1
    assert (drawn.actions[0].argmax(-1) == 3).all()


def observations(num_envs: int) -> dict[str, torch.Tensor]:
    return {"rgb": torch.rand(1, num_envs, 3, 64, 64) - 0.5, "reward": torch.zeros(1, num_envs, 1)}


@pytest.mark.parametrize(("halting", "expected"), [("1", 1), ("3", 3), ("6", 6), ("threshold", 2)])
def test_the_player_halts_by_the_configured_rule(halting: str, expected: int) -> None:
    cfg = config(f"algo.ponder.halting={halting}", "algo.ponder.lambda_p=0.4")
    steps = PonderedSteps()
    torch.manual_seed(0)
    *_, player = build_agent(fabric(), (17,), False, cfg, OBSERVATIONS, player_steps=steps)
    player.init_states()
    for _ in range(3):
        player.get_actions(observations(cfg.env.num_envs))
    assert steps.compute_and_reset() == expected
    assert steps.compute_and_reset() is None


def test_shuffled_ponder_steps_are_those_of_the_next_environment() -> None:
    cfg, steps = config(), PonderedSteps()
    actor, states = agent(cfg)[1].module, latents(cfg, 1, 40)
    torch.manual_seed(1)
    own = actor(states).halts
    torch.manual_seed(1)
    _, (policy,) = PlayerActor(actor, steps, "shuffled", 0.5)(states)
    (expected,) = actor(states, at=torch.cat((own[:, 1:], own[:, :1]), -1)).policies
    torch.testing.assert_close(policy.probs, expected.probs)
    (unshuffled,) = actor(states, at=own).policies
    assert not torch.allclose(policy.probs, unshuffled.probs)
    assert steps.compute_and_reset() == pytest.approx(own.float().mean().item())


def test_the_player_stops_computing_when_every_environment_has_halted() -> None:
    cfg = config("algo.ponder.max_halts=20", "algo.ponder.lambda_p=0.9")
    *_, player = agent(cfg)
    player.init_states()
    computed: list[int] = []
    cell = player.actor.actor.ponder.step_module
    cell.register_forward_hook(lambda _, inputs, __: computed.append(len(inputs[0][0])))
    steps = player.actor.steps
    for _ in range(50):
        computed.clear()
        player.get_actions(observations(cfg.env.num_envs))
        mean = steps.compute_and_reset()
        assert sum(computed) == mean * cfg.env.num_envs  # each environment computes its own steps, and no more
        assert len(computed) < 20


def test_the_players_halting_frequencies_match_the_halting_probabilities() -> None:
    cfg = config("algo.ponder.lambda_p=0.3", "env.num_envs=500")
    *_, player = agent(cfg)
    states = latents(cfg, 1, 500)
    actor: PonderActor = player.actor.actor
    torch.manual_seed(3)
    halts = torch.cat([actor(states).halts.flatten() for _ in range(40)])
    frequencies = torch.bincount(halts, minlength=5)[1:] / len(halts)
    torch.testing.assert_close(frequencies, torch.tensor([0.3, 0.21, 0.147, 0.343]), atol=0.012, rtol=0)


def test_the_player_acts_with_the_weights_that_are_trained() -> None:
    _, actor, _, _, player = agent(config())
    with torch.no_grad():
        for weights in actor.parameters():
            weights.add_(1.0)
    for weights, player_weights in zip(actor.parameters(), player.actor.parameters(), strict=True):
        assert torch.equal(weights, player_weights)


def test_an_actor_too_small_to_pay_for_a_cell_is_refused() -> None:
    with pytest.raises(ValueError, match=r"algo\.actor\.dense_units=4"):
        agent(config("algo.actor.dense_units=4", "algo.actor.mlp_layers=1", "algo.mlp_layers=1"))
