"""The folder of a study: what is where, and what state each run is in.

<study>/
  study.yaml                  arms, seeds, overrides, evaluations: see `StudyConfig`
  arms/<arm>.yaml             the configuration that its runs are started with
  runs/<arm>/seed_<s>/        one run, in SheepRL's own layout:
    version_<n>/              one for each time it was started: config.yaml, episodes.jsonl, checkpoint/
    attempt_<n>.json          when it was started, for how long it ran, on what machine
    costs.json                parameters and FLOPs
    metrics.csv               what was logged, by step: the pondering and the losses
    evaluation_<steps>.json   frozen policy, by the rule that chose the ponder steps
    finished.json             written last: the run is whole
  report/                     made from all this by `scripts/report`
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED, ponders, samples_halting
from sheeprl_dnp.envs.episodes import checkpoint_step, versions
from sheeprl_dnp.runs import MAX_SEED, ConfigError, replace_file


@dataclass(frozen=True)
class Evaluations:
    """The evaluations of the last checkpoint of each run.

    Raises:
        ConfigError: a value isn't allowed.
    """

    episodes: int = 100  # with the halting rule of the training
    # Tried in turn on agents that ponder: numbers of ponder steps, and `shuffled` on those that sample them
    forced_steps: tuple[int | str, ...] = ()
    forced_episodes: int = 50  # for each of them
    worlds: str = "evaluation"

    def __post_init__(self) -> None:
        _check("episodes", self.episodes, _is_number(self.episodes, 1), "a whole number from 1")
        _check("forced_episodes", self.forced_episodes, _is_number(self.forced_episodes, 1), "a whole number from 1")
        valid = _are_different(self.forced_steps)
        valid = valid and all(steps == SHUFFLED or _is_number(steps, 1) for steps in self.forced_steps)
        _check("forced_steps", self.forced_steps, valid, f"a list of whole numbers from 1 and `{SHUFFLED}`, each once")
        if SHUFFLED in self.forced_steps:
            enough = self.forced_episodes > 1
            _check("forced_episodes", self.forced_episodes, enough, f"from 2, since `forced_steps` has `{SHUFFLED}`")

    def forced_on(self, algo: dict[str, Any]) -> list[int | str]:
        """Of `forced_steps`, those for an agent of this configuration."""
        if not ponders(algo):
            return []
        return [steps for steps in self.forced_steps if steps != SHUFFLED or samples_halting(algo)]


@dataclass(frozen=True)
class StudyConfig:
    """What `study.yaml` says.

    Raises:
        ConfigError: a value isn't allowed.
    """

    arms: tuple[str, ...]  # experiments (`exp=`): the first is what the others are compared with
    seeds: tuple[int, ...]
    overrides: tuple[str, ...] = ()  # of Hydra, for all the runs
    evaluations: Evaluations = field(default_factory=Evaluations)

    def __post_init__(self) -> None:
        valid = self.arms and _are_different(self.arms) and all(map(_is_text, self.arms))
        _check("arms", self.arms, valid, "the names of one experiment or more, each once")
        valid = self.seeds and _are_different(self.seeds) and all(_is_number(n, 0, MAX_SEED) for n in self.seeds)
        _check("seeds", self.seeds, valid, f"one whole number or more from 0 to {MAX_SEED}, each once")
        valid = isinstance(self.overrides, tuple) and all(map(_is_text, self.overrides))
        _check("overrides", self.overrides, valid, "a list of overrides of Hydra, `key=value`")


@dataclass(frozen=True)
class Run:
    """One arm with one seed."""

    study: Path
    arm: str
    seed: int

    @property
    def folder(self) -> Path:
        return self.study / "runs" / self.arm / f"seed_{self.seed}"

    @property
    def name(self) -> str:
        return f"{self.arm} seed {self.seed}"

    @property
    def is_finished(self) -> bool:
        return (self.folder / "finished.json").is_file()

    def checkpoints(self) -> list[Path]:
        """From the oldest to the newest."""
        found = [path for folder in versions(self.folder) for path in folder.glob("checkpoint/*.ckpt")]
        return sorted(found, key=checkpoint_step)

    def load(self, name: str) -> Any:
        """The content of one of the JSON files of the run.

        Raises:
            OSError, ValueError: it is missing or damaged.
        """
        return json.loads((self.folder / name).read_text())


def _check(key: str, value: Any, valid: Any, allowed: str) -> None:
    if not valid:
        shown = ",".join(map(str, value)) if isinstance(value, tuple) else value
        raise ConfigError(f"`{key}={shown}` must be {allowed}.")


def _is_number(value: Any, least: int, greatest: float = math.inf) -> bool:
    return type(value) is int and least <= value <= greatest


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _are_different(values: Any) -> bool:
    return isinstance(values, tuple) and all(values.count(value) == 1 for value in values)


def save_config(study: Path, config: StudyConfig, arms: Mapping[str, DictConfig]) -> None:
    """Writes `study.yaml`, and the configuration that the runs of each arm are started with."""
    (study / "arms").mkdir(parents=True, exist_ok=True)
    for arm, cfg in arms.items():
        replace_file(study / "arms" / f"{arm}.yaml", OmegaConf.to_yaml(cfg))
    content = yaml.safe_dump(json.loads(json.dumps(asdict(config))), sort_keys=False)
    replace_file(study / "study.yaml", content)


def load_config(study: Path) -> StudyConfig:
    """
    Raises:
        ConfigError: there is no study in the folder, or its `study.yaml` isn't one.
    """
    path = study / "study.yaml"
    try:
        content = _tuples(yaml.safe_load(path.read_text()))
        return StudyConfig(**content | {"evaluations": Evaluations(**content.get("evaluations", {}))})
    except ConfigError as error:
        raise ConfigError(f"`{path}`: {error}") from error
    except OSError as error:
        raise ConfigError(f"`{study}` is not a study: it must be a folder with a `study.yaml`.") from error
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(f"`{path}` is not the configuration of a study: {' '.join(str(error).split())}.") from error


def _tuples(tree: Any) -> Any:
    """With tuples for lists."""
    if isinstance(tree, dict):
        return {key: _tuples(value) for key, value in tree.items()}
    return tuple(tree) if isinstance(tree, list) else tree


def load_arm(study: Path, arm: str) -> DictConfig:
    return OmegaConf.load(study / "arms" / f"{arm}.yaml")


def runs(study: Path, config: StudyConfig) -> list[Run]:
    """All the runs, one seed after another, so that a study that was cut short has whole comparisons."""
    return [Run(study, arm, seed) for seed in config.seeds for arm in config.arms]
