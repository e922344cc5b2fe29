"""Imagination from some of the states of a batch (`algo.ponder.roots`)."""

import math

import pytest
import torch
from omegaconf import OmegaConf
from sheeprl.utils.utils import dotdict
from test_configs import experiment

from sheeprl_dnp.dreamer_v3_ponder.config import check_ponder_config, root_states
from sheeprl_dnp.dreamer_v3_ponder.dreamer_v3_ponder import draw_roots
from sheeprl_dnp.runs import ConfigError


def algo(roots: str | float) -> dotdict:
    cfg = experiment("exp=dnp_crafter_small", f"algo.ponder.roots={roots}")
    return dotdict(OmegaConf.to_container(cfg.algo, resolve=True))


@pytest.mark.parametrize(
    ("roots", "expected"), [("all", 128), (2, 2), (128, 128), (1.0, 128), (0.25, 32), (0.3, 38), (0.001, 1)]
)
def test_roots_are_all_of_a_batch_or_a_number_or_a_fraction(roots: str | float, expected: int) -> None:
    config = algo(roots)
    check_ponder_config(config)
    assert (config.per_rank_sequence_length, config.per_rank_batch_size) == (32, 4)
    assert root_states(config) == expected


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"learn_halting": False}, 128),
        ({"max_halts": 1}, 128),
        ({"max_halts": 1, "estimator": "marginal"}, 128),
        ({"learn_halting": False, "estimator": "marginal"}, 32),
    ],
)
def test_an_actor_that_never_halts_imagines_from_all_states_or_as_many_as_one_that_does(
    changed: dict[str, object], expected: int
) -> None:
    config = algo(0.25)
    config.ponder.update(changed)
    assert root_states(config) == expected


@pytest.mark.parametrize("roots", [0, 1, -3, 129, 0.0, 1.5, "some", "null", "true", ".nan"])
def test_other_roots_are_refused(roots: str | float) -> None:
    with pytest.raises(ConfigError, match=r"algo\.ponder\.roots="):
        check_ponder_config(algo(roots))


def test_all_roots_are_taken_as_they_are_and_draw_no_random_number() -> None:
    torch.manual_seed(0)
    posteriors, terminated = torch.rand(3, 2, 4, 5), torch.rand(3, 2, 1)
    state = torch.get_rng_state()
    drawn = draw_roots(6, posteriors, terminated)
    assert drawn[0] is posteriors and drawn[1] is terminated
    assert torch.equal(torch.get_rng_state(), state)


def test_each_root_is_drawn_at_most_once_with_all_that_belongs_to_it() -> None:
    numbers = torch.arange(30.0).view(5, 6, 1)
    first, second = draw_roots(12, numbers.unsqueeze(-1), 10 * numbers)
    assert (first.shape, second.shape) == ((1, 12, 1, 1), (1, 12, 1))
    assert len(first.unique()) == 12
    assert torch.equal(10 * first.flatten(), second.flatten())


def test_every_root_is_as_likely_as_any_other() -> None:
    torch.manual_seed(0)
    draws, count, roots = 4000, 12, 3
    numbers = torch.arange(count).view(4, 3, 1)
    seen = torch.cat([draw_roots(roots, numbers)[0].flatten() for _ in range(draws)]).bincount(minlength=count)
    share = roots / count
    deviation = (seen - draws * share) / math.sqrt(draws * share * (1 - share))
    assert deviation.abs().max() < 4
