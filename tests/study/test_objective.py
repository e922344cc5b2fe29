"""What a trial is worth."""

import math

import pytest

from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.study.objective import measured

EVALUATION = {
    "mean_return": 2.0,
    "score": None,
    "success_rates": {"collect_coal": 25.0},
    "episodes": [{"return": 1.0, "length": 3, "room": "a"}, {"return": 3.0, "length": 4, "room": "b"}],
}
SOLVED = [{"return": 0.0, "success": True}, {"return": 1.0, "success": False}]


def test_the_objective_is_success_or_else_the_return_or_what_is_asked_for() -> None:
    assert measured(EVALUATION, None) == ("return", 2.0)
    assert measured({"episodes": SOLVED}, None) == ("success", 0.5)
    assert measured(EVALUATION, "length") == ("length", 3.5)
    assert measured(EVALUATION, "success_rates.collect_coal") == ("success_rates.collect_coal", 25.0)
    diverged = {"episodes": [{"return": math.nan, "depth": None}, {"return": 1.0, "depth": 2}]}
    assert math.isnan(measured(diverged, None)[1])
    with pytest.raises(ConfigError, match="must be one of return"):
        measured(diverged, "depth")
    with pytest.raises(ConfigError, match="`objective=room` is not measured here: it must be one of mean_return, "):
        measured(EVALUATION, "room")
