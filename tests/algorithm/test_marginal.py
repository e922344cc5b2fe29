"""`estimator: marginal`: the gradient of the branching tree, with less variance than one trajectory for each step."""

import pytest
import torch
from test_mdp import expected_loss, our_loss, tree_gradient
from tiny_actors import DreamingActor, Imagined, RealActor, TabularActor, gains_of
from tiny_mdp import TinyMDP, TinyWorldModel, flat_gradient, random_mdp
from torch import Tensor, nn

from sheeprl_dnp.dreamer_v3_ponder.imagination import imagine

MARGINAL = {"estimator": "marginal"}
HORIZON, ETA = 2, 0.4


def exactly(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, atol=1e-12, rtol=1e-12)
    assert expected.abs().max() > 0.01


def marginal_gradient(actor: nn.Module, mdp: TinyMDP, horizon: int = HORIZON, **kwargs: object) -> Tensor:
    """Of what is maximised; the loss is averaged over the horizon."""
    return -horizon * flat_gradient(expected_loss(actor, mdp, horizon, "sample", our_loss, **MARGINAL, **kwargs), actor)


@pytest.mark.parametrize(
    ("states", "max_halts", "horizon", "eta"), [(2, 2, 2, 0.0), (2, 2, 2, ETA), (2, 2, 3, ETA), (3, 3, 2, ETA)]
)
@pytest.mark.parametrize("entropy", ["steps", "mixture"])
def test_its_expected_gradient_is_that_of_the_branching_tree(
    states: int, max_halts: int, horizon: int, eta: float, entropy: str
) -> None:
    mdp, actor = random_mdp(states), TabularActor(states, max_halts)
    ours = marginal_gradient(actor, mdp, horizon, eta=eta, entropy=entropy)
    exactly(ours, tree_gradient(actor, mdp, horizon, "sample", eta, entropy))


@pytest.mark.parametrize("entropy", ["steps", "mixture"])
def test_steps_that_have_common_weights_get_it_too(entropy: str) -> None:
    mdp, actor = random_mdp(3), RealActor(3, 3)
    ours = marginal_gradient(actor, mdp, eta=ETA, entropy=entropy)
    exactly(ours, tree_gradient(actor, mdp, HORIZON, "sample", ETA, entropy))


@pytest.mark.parametrize("max_halts", [2, 3])
@pytest.mark.parametrize(
    ("estimator", "entropy"), [("trajectories", "steps"), ("marginal", "steps"), ("marginal", "mixture")]
)
def test_an_actor_that_dreams_gets_it_by_either_estimator(max_halts: int, estimator: str, entropy: str) -> None:
    mdp = random_mdp(3)
    actor = DreamingActor(gains_of(mdp, 4.0), max_halts)
    settings = {"estimator": estimator, "entropy": entropy, "eta": ETA}
    ours = -HORIZON * flat_gradient(expected_loss(actor, mdp, HORIZON, "sample", our_loss, **settings), actor)
    exactly(ours, tree_gradient(actor, mdp, HORIZON, "sample", ETA, entropy))


def wrong_sign(actor: nn.Module, imagination: object, *args: object, **kwargs: object) -> Tensor:
    """The advantages reversed."""
    reversed_ = imagination._replace(lambda_values=2 * imagination.values[:-1] - imagination.lambda_values)
    return our_loss(actor, reversed_, *args, **kwargs)


def without_halting(actor: nn.Module, imagination: object, *args: object, **kwargs: object) -> Tensor:
    """`log pibar` without `log p`."""

    def deaf(*inputs: object, **options: object) -> object:
        pondered = actor(*inputs, **options)
        return pondered._replace(log_halting=torch.zeros_like(pondered.log_halting))

    return our_loss(deaf, imagination, *args, **kwargs)


def without_gradient_to_halting(actor: nn.Module, imagination: object, *args: object, **kwargs: object) -> Tensor:
    def deaf(*inputs: object, **options: object) -> object:
        pondered = actor(*inputs, **options)
        return pondered._replace(log_halting=pondered.log_halting.detach())

    return our_loss(deaf, imagination, *args, **kwargs)


@pytest.mark.parametrize("mutant", [wrong_sign, without_halting, without_gradient_to_halting])
@pytest.mark.parametrize("dreams", [False, True])
def test_an_error_in_the_loss_would_be_seen(mutant: object, dreams: bool) -> None:
    mdp = random_mdp(3)
    actor = DreamingActor(gains_of(mdp, 4.0), 3) if dreams else TabularActor(3, 3)
    ours = -HORIZON * flat_gradient(expected_loss(actor, mdp, HORIZON, "sample", mutant, **MARGINAL, eta=ETA), actor)
    expected = tree_gradient(actor, mdp, HORIZON, "sample", ETA)
    assert (ours - expected).norm() > 0.05 * expected.norm()


def test_one_trajectory_starts_from_each_root_and_halts_like_the_deployed_agent_from_the_first_action_on() -> None:
    imagined = Imagined("sample", sequence=30, batch=60, copies=1)
    imagination = imagined.imagination
    assert imagination.trajectories.shape[1] == 1800
    assert imagination.weights.tolist() == [[1.0] * 1800]
    first, probs = imagination.halts[0], imagined.halting_probs(imagined.roots)
    for step in (1, 2, 3):
        surprise = (first == step).double() - probs[:, step - 1]
        assert (surprise.mean() / (surprise.std() / 1800**0.5)).abs() < 4


def test_its_gradient_varies_less_than_that_of_as_many_trajectories() -> None:
    torch.manual_seed(0)
    of, draws = Imagined("sample", sequence=1, batch=3), 400
    actor, world, gradients = of.actor, TinyWorldModel(of.mdp), {}
    # From each root three trajectories, one for each ponder step of the first action, or three by chance
    for estimator, copies, times in (("trajectories", 3, 1), ("marginal", 1, 3)):
        posteriors = torch.eye(3)[of.states].repeat(times, 1).view(1, -1, 1, 3)
        roots = (posteriors, of.recurrent.repeat(1, times, 1), of.terminated.repeat(1, times, 1))
        rollout = {"horizon": 4, "gamma": of.mdp.gamma, "lmbda": 0.95, "continuation": "sample"}
        drawn = []
        for _ in range(draws):
            with torch.no_grad():
                imagined = imagine(world, actor, world.critic, *roots, copies=copies, **rollout)
            drawn.append(flat_gradient(our_loss(actor, imagined, continuation="sample", estimator=estimator), actor))
        gradients[estimator] = torch.stack(drawn)
    means = [drawn.mean(0) for drawn in gradients.values()]
    error = (sum(drawn.var(0) for drawn in gradients.values()) / draws).sqrt()
    assert ((means[0] - means[1]).abs() < 4.5 * error + 1e-7).all()
    names = [name for name, weights in actor.named_parameters() for _ in range(weights.numel())]
    halting = torch.tensor(["halting_module" in name for name in names])
    variances = {name: drawn.var(0) for name, drawn in gradients.items()}
    for part, most in ((halting, 0.1), (~halting, 0.3)):
        ratio = variances["marginal"][part].sum() / variances["trajectories"][part].sum()
        print(f"variance of {int(part.sum())} weights: {ratio:.3f} times that of `trajectories`")
        assert ratio < most
