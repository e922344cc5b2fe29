"""What a checkpoint is of: the configuration of its run, and its agent, for whoever plays it."""

import argparse
import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from lightning.fabric import Fabric
from omegaconf import DictConfig, OmegaConf
from sheeprl.algos.dreamer_v3.agent import PlayerDV3, WorldModel
from sheeprl.utils.env import make_env
from sheeprl.utils.utils import dotdict
from torch import nn
from torch.distributions import Distribution

from sheeprl_dnp.accelerators import evaluation_fabric
from sheeprl_dnp.arguments import count
from sheeprl_dnp.dreamer_v3_ponder.config import (
    ALGORITHMS,
    HALTING_RULES,
    SHUFFLED,
    check_steps,
    ponders,
    samples_halting,
)
from sheeprl_dnp.dreamer_v3_ponder.utils import WeightedMoments, action_sizes, build_moments
from sheeprl_dnp.envs.worlds import check_training_seed
from sheeprl_dnp.halting import is_whole_number
from sheeprl_dnp.learner import agent_builder
from sheeprl_dnp.runs import MAX_SEED, ConfigError, causes, load_checkpoint, load_run_config

SET_BY_EVALUATIONS = tuple(
    f"env.{key}" for key in ("num_envs", "sync_env", "capture_video", "wrapper.worlds", "wrapper.seed", "wrapper.rank")
)


def steps_argument(value: str) -> str | int:
    rules = (*HALTING_RULES, SHUFFLED)
    if value in rules:
        return value
    try:
        return count(value)
    except argparse.ArgumentTypeError as error:
        raise argparse.ArgumentTypeError(f"{error}, nor one of {', '.join(rules)}") from error


def seed_argument(value: str) -> int:
    if not value.isdecimal() or int(value) > MAX_SEED:
        raise argparse.ArgumentTypeError(f"{value!r} is not a whole number from 0 to {MAX_SEED}")
    return int(value)


class Opened(NamedTuple):
    """What plays a checkpoint: a device, the configuration of its run, and its state."""

    fabric: Fabric
    cfg: dotdict
    state: dict[str, Any]


def open_checkpoint(
    checkpoint: str,
    steps: str | int | None = None,
    video: bool = False,
    overrides: Sequence[str] = (),
    accelerator: str | None = None,
) -> Opened:
    """
    Args:
        steps: see `evaluation.Settings`.
        overrides: see `overridden`.
        accelerator: see `evaluation_fabric`.

    Raises:
        ConfigError: the checkpoint is missing or damaged, or can't be played so.
    """
    cfg = load_config(checkpoint, steps, video, overrides)
    return Opened(evaluation_fabric(cfg.fabric, accelerator), cfg, load_checkpoint(checkpoint, "CKPT"))


def load_config(
    checkpoint: str, steps: str | int | None = None, video: bool = False, overrides: Sequence[str] = ()
) -> dotdict:
    """The configuration of the run of a checkpoint, for its evaluation.

    Raises:
        ConfigError: there is none, it is of another algorithm, `steps` is asked of an agent that doesn't ponder,
            `shuffled` of one that doesn't sample its ponder steps, or a number that would dream of more actions than
            there are, it was trained with seeds kept for evaluations, or an override can't be (see `overridden`).
    """
    run_config = overridden(load_run_config(checkpoint, "CKPT"), overrides)
    cfg = dotdict(OmegaConf.to_container(run_config, resolve=True))
    if cfg.algo.name not in ALGORITHMS:
        raise ConfigError(
            f"`CKPT={checkpoint}` is of the algorithm `{cfg.algo.name}`: it must be of one of {', '.join(ALGORITHMS)}."
        )
    if steps is not None:
        if not ponders(cfg.algo):
            kind = "max_halts=1" if "ponder" in cfg.algo else "dreamer_v3"
            raise ConfigError(f"`--steps={steps}` is for agents that ponder: `CKPT={checkpoint}` is of `{kind}`.")
        if steps == SHUFFLED and not samples_halting(cfg.algo):
            kind = f"halting={cfg.algo.ponder.halting}" if cfg.algo.ponder.learn_halting else "learn_halting=False"
            raise ConfigError(
                f"`--steps={steps}` is for agents that sample their ponder steps: `CKPT={checkpoint}` is of `{kind}`."
            )
        cfg.algo.ponder.halting = steps
        if cfg.algo.ponder.step == "dream" and is_whole_number(steps):
            check_steps(steps, cfg.algo, action_sizes(spaces(run_config)[1]), "--steps")
    check_training_seed(cfg)
    cfg.env.capture_video = video
    return cfg


def overridden(cfg: DictConfig, overrides: Sequence[str], said: str = "--override", whose: str = "") -> DictConfig:
    """The configuration of a run whose policy is to play another environment than it was trained in.

    Args:
        overrides: of the environment, `env.key=value`, as Hydra reads them.
        said: what the user says them by.
        whose: observations and actions it says that they change, for the user of several runs.

    Raises:
        ConfigError: one is of something else, or its policy can't play there.
    """
    changed = copy.deepcopy(cfg)
    for override in overrides:
        try:
            parsed = OverridesParser.create().parse_override(override)
            if parsed.is_sweep_override():
                raise HydraException("several values")
        except HydraException as error:
            raise ConfigError(f"`{said}={override}` must be `env.key=value`.") from error
        key = parsed.key_or_group
        if not key.startswith("env.") or OmegaConf.select(cfg, key, default=override) is override:
            raise ConfigError(f"`{said}={override}` must be of a key `env.…` that the run has.")
        if key in SET_BY_EVALUATIONS:
            keys = ", ".join(f"`{name}`" for name in SET_BY_EVALUATIONS)
            raise ConfigError(f"`{said}={override}` can't be: an evaluation sets {keys} itself.")
        OmegaConf.update(changed, key, parsed.value(), merge=False)
    if overrides and spaces(changed) != spaces(cfg):
        raise ConfigError(
            f"`{said}={','.join(overrides)}` must leave the observations and actions {whose}as they were."
        )
    return changed


def spaces(cfg: DictConfig) -> tuple[gym.Space, gym.Space]:
    """Of the observations and actions of a configuration.

    Raises:
        ConfigError: an environment doesn't allow it.
    """
    resolved = dotdict(OmegaConf.to_container(cfg, resolve=True))
    try:
        env = make_env(resolved, 0, 0)()
    except Exception as error:  # whatever an environment may raise
        refused = next((cause for cause in causes(error) if isinstance(cause, ConfigError)), None)
        reason = " ".join(str(error).split())
        raise refused or ConfigError(f"`env.id={cfg.env.id}` can't be made: {reason}.") from error
    env.close()
    return env.observation_space, env.action_space


class Agent(NamedTuple):
    """The parts of a trained agent: modules of Fabric, `moments` those of the returns."""

    world_model: WorldModel
    actor: nn.Module
    critic: nn.Module
    moments: WeightedMoments
    player: PlayerDV3


def build_agent(fabric: Fabric, cfg: dotdict, envs: gym.vector.VectorEnv, state: dict[str, Any], steps: Any) -> Agent:
    """The agent of a checkpoint (`state`).

    Args:
        steps: its `update` gets the ponder steps of the player.
    """
    Distribution.set_default_validate_args(cfg.distribution.validate_args)
    space = envs.single_action_space
    arguments = (fabric, action_sizes(space), isinstance(space, gym.spaces.Box), cfg, envs.single_observation_space)
    moments = build_moments(cfg.algo.actor.moments).to(fabric.device)
    moments.load_state_dict(state["moments"])
    states = (state["world_model"], state["actor"], state["critic"])
    world_model, actor, critic, _, player = agent_builder(cfg, steps, moments)(*arguments, *states)
    player.num_envs = envs.num_envs
    return Agent(world_model, actor, critic, moments, player)
