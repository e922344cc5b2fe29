"""The keys of `algo.ponder`: what is allowed, and what to say when it isn't."""

from collections.abc import Callable
from typing import Any

from sheeprl_dnp.runs import ConfigError

CONTINUATIONS = ("sample", "commit")
HALTING_RULES = ("sample", "threshold")
SHUFFLED = "shuffled"  # a rule of evaluations alone: see `agent.PlayerActor`


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_share(value: Any) -> bool:
    return value == "all" or _is_count(value) or (isinstance(value, float) and 0 < value <= 1)


RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "max_halts": (_is_count, "a whole number from 1"),
    "learn_halting": (lambda v: isinstance(v, bool), "true or false"),
    "lambda_p": (lambda v: _is_number(v) and 0 < v < 1, "a number strictly between 0 and 1"),
    "beta": (lambda v: _is_number(v) and 0 <= v < float("inf"), "a number from 0"),
    "roots": (_is_share, "'all', a whole number from 1 (of states), or a fraction above 0 and up to 1.0"),
    "continuation": (lambda v: v in CONTINUATIONS, "'sample' or 'commit'"),
    "halting": (lambda v: v in HALTING_RULES or _is_count(v), "'sample', 'threshold' or a whole number from 1"),
    "halting_threshold": (lambda v: _is_number(v) and 0 < v <= 1, "a number above 0 and up to 1"),
    "eval_episodes": (_is_count, "a whole number from 1"),
}


def ponders(algo: dict[str, Any]) -> bool:
    """Whether a section `algo`, of either algorithm, is of an actor that takes more than one ponder step."""
    return "ponder" in algo and algo["ponder"]["max_halts"] > 1


def samples_halting(algo: dict[str, Any]) -> bool:
    """Whether it is of an actor that learns to halt, and whose own rule samples the ponder step."""
    return ponders(algo) and algo["ponder"]["learn_halting"] and algo["ponder"]["halting"] == "sample"


def choices(ponder: dict[str, Any]) -> int:
    """How many ponder steps the actor can halt at: one trajectory is imagined for each."""
    return ponder.max_halts if ponder.learn_halting else 1


def batch_states(algo: dict[str, Any]) -> int:
    """M: how many latent states of a batch there are to imagine from."""
    return algo.per_rank_sequence_length * algo.per_rank_batch_size


def root_states(algo: dict[str, Any]) -> int:
    """How many of the M states imagination starts from: `algo.ponder.roots` as a number, at least 1.

    All, for an actor that never halts: it has one trajectory from each.
    """
    roots, states = algo.ponder.roots, batch_states(algo)
    if roots == "all" or not algo.ponder.learn_halting:
        return states
    return max(1, round(roots * states)) if isinstance(roots, float) else roots


def check_ponder_config(algo: dict[str, Any]) -> None:
    """Checks the section `algo.ponder` of a configuration, from the whole section `algo`.

    Raises:
        ConfigError: a key is missing, or has a value that isn't allowed.
    """
    for key, (is_allowed, allowed) in RULES.items():
        value = algo.ponder.get(key)
        if not is_allowed(value):
            raise ConfigError(f"`algo.ponder.{key}={value}` is not allowed: it must be {allowed}.")
    if root_states(algo) > (states := batch_states(algo)):
        raise ConfigError(
            f"`algo.ponder.roots={algo.ponder.roots}` is not allowed: a batch has {states} states "
            f"(`algo.per_rank_sequence_length={algo.per_rank_sequence_length}` times "
            f"`algo.per_rank_batch_size={algo.per_rank_batch_size}`)."
        )
