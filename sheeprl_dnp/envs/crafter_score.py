"""Crafter's official score (Hafner 2021, arXiv 2109.06780)."""

import numpy as np
from crafter import constants

BUDGET = 1_000_000  # environment steps, of the official protocol
ACHIEVEMENTS = tuple(constants.achievements)
PREFIX = "achievement_"  # in the record of an episode, of how often it unlocked one


def score(success_rates: np.ndarray) -> np.ndarray:
    """`exp(mean_i ln(1 + s_i)) - 1` (section 3.2) of success rates in percent: [..., achievements] to [...]."""
    return np.expm1(np.log1p(success_rates).mean(-1))
