"""What a tuning means for each arm: its keys, their own values, how long its trials are."""

from dataclasses import replace

import pytest
from tunings import CRITIC_LR, ENT_COEF, LR, MAX_HALTS, TUNING

from sheeprl_dnp.study.plan import compose_arm
from sheeprl_dnp.study.tuned_arms import TunedArm, tuned_arms
from sheeprl_dnp.study.tuning import Tuning


@pytest.fixture(scope="module")
def tuned() -> list[TunedArm]:
    return tuned_arms(Tuning.model_validate(TUNING))


def test_an_arm_is_tuned_in_the_keys_that_it_has_and_starts_with_its_own_settings(tuned: list[TunedArm]) -> None:
    baseline, ponder = tuned
    assert list(baseline.space) == [ENT_COEF, LR] and list(ponder.space) == [ENT_COEF, LR, MAX_HALTS]
    assert all(baseline.space[key] == ponder.space[key] for key in baseline.space)
    assert baseline.own == {key: ponder.own[key] for key in baseline.own}
    assert ponder.own[LR] == 1e-3 and ponder.own[MAX_HALTS] == 4
    assert baseline.total_steps == ponder.total_steps == 15000


def test_a_setting_goes_to_the_keys_that_have_the_same_value(tuned: list[TunedArm]) -> None:
    own = tuned[1].arm.model_copy(update={"overrides": ("algo.horizon=4", f"{LR}=0.001")})
    arm = replace(tuned[1], arm=own, total_steps=80).in_trial({LR: 2e-3, MAX_HALTS: 3})
    settings = (f"{LR}=0.002", f"{CRITIC_LR}=0.002", f"{MAX_HALTS}=3")
    assert arm.overrides == ("algo.horizon=4", *settings, "algo.total_steps=80")
    cfg = compose_arm(arm)
    assert cfg.algo.actor.optimizer.lr == cfg.algo.critic.optimizer.lr == 2e-3
    assert (cfg.algo.ponder.max_halts, cfg.algo.total_steps) == (3, 80)
