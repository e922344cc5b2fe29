"""Observations of symbols: what is there, in place of how it looks."""

import numpy as np

# The value of a symbol that is there, where 0 is one that isn't. Of ones DreamerV3's world model keeps little: a thing
# that it misses costs a squared error of log(2)^2 = 0.5, with 8 one of log(9)^2 = 4.8, more than its latent costs in KL
PRESENT = 8.0


def one_hot(numbers: np.ndarray, size: int) -> np.ndarray:
    """bool [..., size]."""
    return numbers[..., None] == np.arange(size)
