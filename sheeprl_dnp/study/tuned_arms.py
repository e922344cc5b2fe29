"""What a tuning means for each arm of the study: its keys, their own values, how long its trials are."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf

from sheeprl_dnp.checks import shown
from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.studies import Arm
from sheeprl_dnp.study.plan import compose_arm, steps_at_once
from sheeprl_dnp.study.tuning import STEPS_KEY, Range, Tuning, Value

Settings = Mapping[str, Value]  # by key of the space


@dataclass(frozen=True)
class TunedArm:
    """What is tuned of an arm."""

    arm: Arm
    space: Mapping[str, Range]  # what all the arms share is first
    own: Settings  # those that the experiment has
    total_steps: int  # of each trial

    def overrides(self, settings: Settings) -> list[str]:
        return [
            f"{each}={'null' if value is None else value}"
            for key, value in settings.items()
            for each in (key, *self.space[key].also)
        ]

    def with_settings(self, settings: Settings) -> Arm:
        """The arm with these settings, in place of its own."""
        new = self.overrides(settings)
        keys = {override.split("=")[0] for override in new}
        kept = [override for override in self.arm.overrides if override.split("=")[0] not in keys]
        return self.arm.model_copy(update={"overrides": (*kept, *new)})

    def tried(self, drawn: Settings) -> Settings:
        """What is tried in place of what was drawn: the arm's own value, or else that, rounded."""
        return {
            key: drawn[key] if drawn[key] == self.own[key] else values.rounded(drawn[key])
            for key, values in self.space.items()
        }

    def in_trial(self, settings: Settings) -> Arm:
        """The arm with these settings, for as many steps as a trial has."""
        arm = self.with_settings(settings)
        return arm.model_copy(update={"overrides": (*arm.overrides, f"{STEPS_KEY}={self.total_steps}")})


def tuned_arms(tuning: Tuning) -> list[TunedArm]:
    """
    Raises:
        ConfigError: an arm can't be tuned, or not be trained with all the values of the space.
    """
    configs = {arm.label: compose_arm(arm, tuning.study.overrides) for arm in tuning.tuned}
    spaces = {arm.label: _space(arm, configs[arm.label], tuning) for arm in tuning.tuned}
    if unused := [key for key in tuning.space if not any(key in space for space in spaces.values())]:
        raise ConfigError(f"`space.{unused[0]}` is not a key of any arm's configuration.")
    if without := [label for label, space in spaces.items() if not space]:
        raise ConfigError(f"`space` has no key for the arm `{without[0]}`: leave it out of `arms`.")
    shared = set.intersection(*map(set, spaces.values()))
    found = []
    for arm in tuning.tuned:
        cfg = configs[arm.label]
        space = dict(sorted(spaces[arm.label].items(), key=lambda item: item[0] not in shared))
        found.append(TunedArm(arm, space, _own(arm, cfg, space), _total_steps(arm, cfg, tuning)))
        _check_ends(found[-1], tuning)
    return found


def _space(arm: Arm, cfg: DictConfig, tuning: Tuning) -> dict[str, Range]:
    """What is tuned of an arm: what the file has for it by its label, and of all else the keys that it has."""
    space = {}
    for key, values in tuning.space.items():
        if values.arms and arm.label not in values.arms:
            continue
        missing = [each for each in (key, *values.also) if OmegaConf.select(cfg, each, default=tuning) is tuning]
        if missing and (values.arms or missing != [key, *values.also]):
            raise ConfigError(f"`space.{key}`: the arm `{arm.label}` has no key `{missing[0]}`.")
        if not missing:
            space[key] = values
    return space


def _own(arm: Arm, cfg: DictConfig, space: Mapping[str, Range]) -> dict[str, Value]:
    """The settings of an arm as its experiment has them: a point of the space."""
    own = {key: OmegaConf.select(cfg, key) for key in space}
    for key, values in space.items():
        for each in (key, *values.also):
            value = OmegaConf.select(cfg, each)
            if not values.has(value) or value != own[key]:
                raise ConfigError(
                    f"`space.{key}` must have the arm's own value in it, which its first trial has: the arm "
                    f"`{arm.label}` has `{each}={value}`, not {values}"
                    f"{' and the same for ' + shown((key, *values.also)) if values.also else ''}."
                )
    return own


def _total_steps(arm: Arm, cfg: DictConfig, tuning: Tuning) -> int:
    at_once = steps_at_once(cfg)
    steps = math.floor(cfg.algo.total_steps * tuning.length / at_once) * at_once
    if steps <= cfg.algo.learning_starts:
        raise ConfigError(
            f"`length={tuning.length:g}` leaves the arm `{arm.label}` {steps} steps: it must leave more than the "
            f"`algo.learning_starts={cfg.algo.learning_starts}` before the first gradient step."
        )
    return steps


def _check_ends(tuned: TunedArm, tuning: Tuning) -> None:
    """Checks that the arm can be trained with the lowest and highest values, and with each choice."""
    ends = [values.ends for values in tuned.space.values()]
    for index in range(max(map(len, ends), default=0)):
        settings = {key: values[min(index, len(values) - 1)] for key, values in zip(tuned.space, ends, strict=True)}
        compose_arm(tuned.in_trial(settings), tuning.study.overrides)
