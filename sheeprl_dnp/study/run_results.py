"""Reads the results of the runs of a study, and says which runs, or which files of them, are missing or damaged."""

import csv
import errno
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeVar

import yaml

from sheeprl_dnp.crafter_score import ACHIEVEMENTS, PREFIX
from sheeprl_dnp.dreamer_v3_ponder.config import ponders
from sheeprl_dnp.envs.episodes import read_episodes, versions
from sheeprl_dnp.study.layout import Run, StudyConfig, runs

T = TypeVar("T")
DAMAGE = (ValueError, KeyError, TypeError, AttributeError, IndexError, yaml.YAMLError)
PONDER_KEYS = ("max_halts", "learn_halting", "halting", "lambda_p")  # of a configuration, those that a report reads
DEFAULT = "default"  # the evaluation by the agent's own halting rule


@dataclass(frozen=True)
class Problem:
    run: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """A frozen policy: means over its episodes."""

    reward: float
    length: float
    score: float | None  # of Crafter, in percent
    success_rates: dict[str, float]  # in percent
    ponder_steps: float
    latency_ms: float  # median of a decision for all its environments
    episodes: list[dict[str, Any]]


@dataclass(frozen=True)
class Costs:
    parameters: dict[str, int]
    flops_per_action: list[float]  # at ponder step 1, 2, ...
    flops_per_gradient_step: float

    def flops_at(self, ponder_steps: float) -> float:
        """Of an action, interpolated (each further ponder step costs the same), and beyond N extrapolated."""
        flops = self.flops_per_action
        if len(flops) == 1:
            return flops[0]
        return flops[0] + (flops[-1] - flops[0]) / (len(flops) - 1) * (ponder_steps - 1)


@dataclass
class RunResults:
    """What a finished run has; None or empty where it is missing or damaged."""

    run: Run
    steps: int  # of the environment
    gradient_steps: int | None
    episodes: list[dict[str, Any]] | None = None
    costs: Costs | None = None
    metrics: dict[str, list[tuple[int, float]]] = field(default_factory=dict)  # by name: step, value
    evaluations: dict[str, Evaluation] = field(
        default_factory=dict
    )  # by rule: `DEFAULT`, or what `Evaluations.forced_steps` names
    config: dict[str, Any] | None = None
    attempts: list[dict[str, Any]] = field(default_factory=list)

    @property
    def ponders(self) -> bool:
        return bool(self.config) and ponders(self.config["algo"])


def load_study(study: Path, config: StudyConfig) -> tuple[list[RunResults], list[Problem]]:
    """The finished runs, and all that is wrong with those and the others."""
    found, problems = [], []
    for run in runs(study, config):
        problem = _unfinished(run)
        if problem:
            problems.append(Problem(run.name, problem))
        else:
            found.append(_load_run(run, config, problems))
    return found, problems + _strangers(study, config)


def newest_config(run: Run) -> dict[str, Any]:
    """The resolved configuration of a run, as it was last started.

    Raises:
        OSError, or one of `DAMAGE`: there is none, or it is damaged.
    """
    folders = versions(run.folder)
    if not folders:
        raise FileNotFoundError(errno.ENOENT, "it has no configuration yet")
    config = yaml.safe_load((folders[-1] / "config.yaml").read_text())
    if "ponder" in config["algo"].keys():
        itemgetter(*PONDER_KEYS)(config["algo"]["ponder"])
    if config["seed"] != run.seed:
        raise ValueError(f"its `seed` is {config['seed']}")
    return config


def world_of(episode: Mapping[str, Any]) -> int | None:
    """What tells the world in which an episode began from others; None if its record doesn't say."""
    return next((episode[key] for key in ("board", "world_seed") if key in episode), None)


def attempts(run: Run) -> list[dict[str, Any]]:
    """The attempts at a run, the first first.

    Raises:
        One of `DAMAGE`: a file is damaged.
    """
    names = sorted((path.name for path in run.folder.glob("attempt_*.json")), key=lambda name: int(name[8:-5]))
    found = [run.load(name) for name in names]
    for attempt in found:
        _number(attempt["wall_s"]), attempt["machine"].keys()
    return found


def _load_run(run: Run, config: StudyConfig, problems: list[Problem]) -> RunResults:
    def part(name: str, load: Callable[[], T], default: T) -> T:
        try:
            return load()
        except OSError:
            problems.append(Problem(run.name, f"finished, but without `{name}`: reported without it"))
        except DAMAGE as error:
            problems.append(Problem(run.name, f"`{name}` is corrupt ({_describe(error)}): reported without it"))
        return default

    results = RunResults(run, **_finished(run))
    results.config = part("config.yaml", lambda: newest_config(run), None)
    results.episodes = part("episodes.jsonl", lambda: _episodes(run), None)
    results.costs = part("costs.json", lambda: _costs(run.load("costs.json")), None)
    results.metrics = part("metrics.csv", lambda: _metrics(run.folder / "metrics.csv"), {})
    results.attempts = part("attempt_<n>.json", lambda: attempts(run), [])
    wanted = config.evaluations
    forced = wanted.forced_on(results.config["algo"]) if results.config else []
    for rule, episodes in {DEFAULT: wanted.episodes, **{str(n): wanted.forced_episodes for n in forced}}.items():
        name = f"evaluation_{rule}.json"
        if evaluation := part(name, lambda name=name, count=episodes: _evaluation(run.load(name), count), None):
            results.evaluations[rule] = evaluation
    return results


def _unfinished(run: Run) -> str | None:
    if not run.folder.is_dir():
        return "missing: it was never started"
    if run.is_finished:
        try:
            _finished(run)
            return None
        except (OSError, *DAMAGE) as error:
            return f"corrupt: `finished.json` can't be read ({_describe(error)})"
    return f"unfinished: {_progress(run)}; {_last_attempt(run)}"


def _progress(run: Run) -> str:
    try:
        episodes = read_episodes(run.folder)
        total = newest_config(run)["algo"]["total_steps"]
        return f"its last episode ended at step {episodes[-1]['step'] if episodes else 0:,} of {total:,}"
    except (OSError, *DAMAGE) as error:
        return f"how far it came is unknown ({_describe(error)})"


def _last_attempt(run: Run) -> str:
    try:
        last = attempts(run)[-1]["exit"]
    except (OSError, *DAMAGE):
        return "there is no record of an attempt"
    if last is None:
        return "its last attempt is still running or was killed"
    return f"its last attempt ended with exit code {last}" if last else "its training has ended, its evaluation has not"


def _strangers(study: Path, config: StudyConfig) -> list[Problem]:
    """The runs in the folder that `study.yaml` doesn't name."""
    known = {run.folder for run in runs(study, config)}
    folders = sorted(set(study.glob("runs/*/seed_*")) - known)
    return [Problem(f"{f.parent.name} {f.name.replace('_', ' ')}", "not in `study.yaml`: left out") for f in folders]


def _finished(run: Run) -> dict[str, Any]:
    content = run.load("finished.json")
    gradient_steps = content.get("gradient_steps")
    return {"steps": int(_number(content["steps"])), "gradient_steps": gradient_steps and int(_number(gradient_steps))}


def _episodes(run: Run) -> list[dict[str, Any]]:
    if not any((folder / "episodes.jsonl").is_file() for folder in versions(run.folder)):
        raise FileNotFoundError
    episodes = read_episodes(run.folder)
    if not episodes:
        raise ValueError("no episode ended")
    plays_crafter = any(key.startswith(PREFIX) for key in episodes[0])  # and so each of its episodes
    keys = ("step", "length", "reward", *((PREFIX + name for name in ACHIEVEMENTS) if plays_crafter else ()))
    for episode in episodes:
        for key in keys:
            _number(episode[key])
    return episodes


def _costs(content: Any) -> Costs:
    parameters = {key: int(_number(content["parameters"][key])) for key in ("agent", "world_model", "actor", "critic")}
    flops = content["flops"]
    per_action = [_number(value) for value in flops["per_action"]]
    if not per_action:
        raise ValueError("no FLOPs per action")
    return Costs(parameters, per_action, _number(flops["per_gradient_step"]))


def _metrics(path: Path) -> dict[str, list[tuple[int, float]]]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file, strict=True))
    if not rows:
        raise ValueError("it has no line")
    names = [name for name in rows[0] if name != "step"]
    table = {name: [(int(row["step"]), float(row[name])) for row in rows if row[name] != ""] for name in names}
    return {name: [point for point in points if math.isfinite(point[1])] for name, points in table.items()}


def _evaluation(content: Any, episodes: int) -> Evaluation:
    if len(content["episodes"]) != episodes:
        raise ValueError(f"it has {len(content['episodes'])} episodes, `study.yaml` asks for {episodes}")
    for episode in content["episodes"]:
        for key in (
            "seed",
            "return",
            "ponder_steps",
            *episode.keys() & {"difficulty", "success", "first_ponder_steps"},
        ):
            _number(episode[key])
    score = content.get("score")
    return Evaluation(
        reward=_number(content["mean_return"]),
        length=_number(content["mean_length"]),
        score=None if score is None else _number(score),
        success_rates={name: _number(rate) for name, rate in content["success_rates"].items()},
        ponder_steps=_number(content["mean_ponder_steps"]),
        latency_ms=_number(content["latency_ms_per_action"]["median"]),
        episodes=content["episodes"],
    )


def _number(value: Any) -> float:
    number = float(value)
    if not math.isfinite(number):
        raise ValueError(f"{value} is not a finite number")
    return number


def _describe(error: Exception) -> str:
    """One line about what went wrong in reading a file."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    if isinstance(error, OSError):
        return error.strerror or "a file is missing"
    return " ".join(str(error).split())
