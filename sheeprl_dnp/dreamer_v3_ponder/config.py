"""The keys of `algo.ponder`: what is allowed, and what to say when it isn't."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator
from sheeprl.algos.dreamer_v2.utils import reinforce_weight
from sheeprl.utils.utils import dotdict

from sheeprl_dnp.checks import Checked, check
from sheeprl_dnp.halting import is_whole_number
from sheeprl_dnp.runs import ConfigError

ALGORITHMS = ("dreamer_v3", "dreamer_v3_ponder")
HALTING_RULES = ("sample", "threshold")
RULES_WITHOUT_ONE_HEAD = {"step": "refine", "entropy": "steps"}
SHUFFLED = "shuffled"  # a rule of evaluations alone: see `agent.PlayerActor`

Count = Annotated[int, Field(strict=True, ge=1)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]

COUNT = "a whole number from 1"


class Ponder(Checked):
    """The section `algo.ponder`; keys that only another version knows have no effect."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    max_halts: Count = Field(description=COUNT)
    learn_halting: bool = Field(strict=True, description="true or false")
    lambda_p: Number = Field(gt=0, lt=1, description="a number strictly between 0 and 1")
    beta: Number = Field(ge=0, description="a number from 0")
    step: Literal["refine", "dream"] = Field(description="'refine' or 'dream'")
    estimator: Literal["trajectories", "marginal"] = Field(description="'trajectories' or 'marginal'")
    entropy: Literal["steps", "mixture"] = Field(description="'steps' or 'mixture'")
    roots: Literal["all"] | Annotated[int, Field(strict=True)] | Number = Field(
        description="'all', a whole number from 2 (of states), or a fraction above 0 and up to 1.0 (with its point: 1.0"
        " is all)"
    )
    continuation: Literal["sample", "commit"] = Field(description="'sample' or 'commit'")
    halting: Literal["sample", "threshold"] | Count = Field(description=f"'sample', 'threshold' or {COUNT}")
    halting_threshold: Number = Field(gt=0, le=1, description="a number above 0 and up to 1")
    eval_episodes: Count = Field(description=COUNT)

    @field_validator("roots")
    @classmethod
    def _is_share(cls, roots: str | float) -> str | float:
        # The integer 1 would be one state, where a sweep 0.25,0.5,1 means all of them
        if isinstance(roots, str) or (roots >= 2 if isinstance(roots, int) else 0 < roots <= 1):
            return roots
        raise ValueError


def ponders(algo: dotdict) -> bool:
    """Whether a section `algo`, of either algorithm, is of an actor that takes more than one ponder step."""
    return "ponder" in algo and algo["ponder"]["max_halts"] > 1


def samples_halting(algo: dotdict) -> bool:
    """Whether it is of an actor that learns to halt, and whose own rule samples the ponder step."""
    return ponders(algo) and algo["ponder"]["learn_halting"] and algo["ponder"]["halting"] == "sample"


def choices(ponder: dotdict) -> int:
    """How many ponder steps the actor can halt at."""
    return ponder.max_halts if ponder.learn_halting else 1


def halting_rule(ponder: dotdict) -> str | int:
    """By what the player's ponder step is chosen: `halting`, but always the last one where the actor never halts."""
    return ponder.halting if ponder.learn_halting or is_whole_number(ponder.halting) else ponder.max_halts


def trajectories(ponder: dotdict) -> int:
    """How many trajectories are imagined from each root."""
    return choices(ponder) if ponder.estimator == "trajectories" else 1


def estimator(ponder: dotdict) -> str:
    """That of the gradient: with one trajectory from each root the two are the same, so that it is the cheaper one."""
    return "marginal" if trajectories(ponder) == 1 else ponder.estimator


def entropy(ponder: dotdict) -> str:
    """Whose is rewarded: where the actor can halt at one step, that step's policy is the one that is played."""
    return "steps" if choices(ponder) == 1 else ponder.entropy


def batch_states(algo: dotdict) -> int:
    """M: how many latent states of a batch there are to imagine from."""
    return algo.per_rank_sequence_length * algo.per_rank_batch_size


def root_states(algo: dotdict) -> int:
    """How many of the M states imagination starts from: `algo.ponder.roots` as a number, at least 1.

    All, for an actor that has one ponder step, or never halts where the estimator would take N trajectories from each
    of fewer: it imagines what DreamerV3 does.
    """
    ponder, states = algo.ponder, batch_states(algo)
    roots, never_halts = ponder.roots, choices(ponder) == 1
    if roots == "all" or ponder.max_halts == 1 or (never_halts and ponder.estimator == "trajectories"):
        return states
    return max(1, round(roots * states)) if isinstance(roots, float) else roots


def check_ponder_config(algo: dotdict) -> None:
    """Raises a ConfigError where a key of `algo.ponder` is missing, or has a value that it can't have in `algo`."""
    check(Ponder, dict(algo.ponder), "algo.ponder.")
    check_estimator(algo)
    ponder = algo.ponder
    if not ponder.learn_halting and is_whole_number(ponder.halting) and ponder.halting != ponder.max_halts:
        raise ConfigError(
            f"`algo.ponder.halting={ponder.halting}` can't be with `algo.ponder.learn_halting=False`, where the actor "
            f"learns at step {ponder.max_halts} alone (`algo.ponder.max_halts`): it must be 'sample'."
        )
    if root_states(algo) > (states := batch_states(algo)):
        raise ConfigError(
            f"`algo.ponder.roots={algo.ponder.roots}` must be at most the {states} states of a batch "
            f"(`algo.per_rank_sequence_length={algo.per_rank_sequence_length}` times "
            f"`algo.per_rank_batch_size={algo.per_rank_batch_size}`)."
        )


def check_estimator(algo: dotdict) -> None:
    """Raises a ConfigError where the gradient can't be estimated as it is configured."""
    ponder, mix = algo.ponder, algo.actor.objective_mix
    if ponder.estimator == "marginal":
        if ponder.continuation != "sample":
            raise ConfigError(
                f"`algo.ponder.continuation={ponder.continuation}` can't be with `algo.ponder.estimator=marginal`, "
                "where an actor halts at each state anew: it must be 'sample', or the estimator 'trajectories'."
            )
        if mix not in (None, 1):
            raise ConfigError(
                f"`algo.actor.objective_mix={mix}` can't be with `algo.ponder.estimator=marginal`, which takes "
                "REINFORCE: it must be 1 (or null, for discrete actions), or the estimator 'trajectories'."
            )
    elif ponder.entropy == "mixture":
        raise ConfigError(
            "`algo.ponder.entropy=mixture` can't be with `algo.ponder.estimator=trajectories`: it must be 'steps', or "
            "the estimator 'marginal'."
        )


def check_actions(algo: dotdict, actions_dim: Sequence[int], is_continuous: bool) -> None:
    """Raises a ConfigError where an actor of these actions can't ponder as it is configured to."""
    ponder = algo.ponder
    if ponder.max_halts == 1:
        return
    kind = "continuous actions" if is_continuous else f"{len(actions_dim)} action heads"
    if ponder.estimator == "marginal" and reinforce_weight(algo.actor.objective_mix, is_continuous) < 1:
        raise ConfigError(
            f"`algo.actor.objective_mix={algo.actor.objective_mix}` learns {kind} by dynamics backpropagation, which "
            "`algo.ponder.estimator=marginal` can't: it must be 1, or the estimator 'trajectories'."
        )
    one_head = has_one_head(algo, actions_dim, is_continuous)
    for key, value in (("step", "dream"), ("entropy", "mixture")):
        if ponder[key] == value and not one_head:
            raise ConfigError(
                f"`algo.ponder.{key}={value}` is for one head of discrete actions without masks, not for {kind} of "
                f"`{algo.actor.cls}`: it must be '{RULES_WITHOUT_ONE_HEAD[key]}'."
            )
    for key in ("max_halts", "halting"):
        check_steps(ponder[key], algo, actions_dim, f"algo.ponder.{key}")


def check_steps(steps: Any, algo: dotdict, actions_dim: Sequence[int], key: str) -> None:
    """Raises a ConfigError where `steps` (asked for by `key`), if a number, dream of more actions than there are."""
    if algo.ponder.step == "dream" and is_whole_number(steps) and steps - 1 > actions_dim[0]:
        raise ConfigError(
            f"`{key}={steps}` would dream of more actions than there are: with `algo.ponder.step=dream` it must be at "
            f"most {actions_dim[0] + 1}."
        )


def has_one_head(algo: dotdict, actions_dim: Sequence[int], is_continuous: bool) -> bool:
    """Whether an actor has one head of discrete actions, none of which is ever masked."""
    return not is_continuous and len(actions_dim) == 1 and not algo.actor.cls.endswith("MinedojoActor")


def check_dream(
    count: int, algo: dotdict, actions_dim: Sequence[int], is_continuous: bool, key: str = "--dream"
) -> None:
    """Raises a ConfigError where a player can't take the best of so many actions, as is asked for by `key`."""
    if not has_one_head(algo, actions_dim, is_continuous):
        raise ConfigError(f"`{key}={count}` is for agents with one head of discrete actions without masks.")
    if count > actions_dim[0]:
        raise ConfigError(f"`{key}={count}` must be at most {actions_dim[0]}, the number of actions.")
