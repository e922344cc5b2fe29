"""The run of a trial: a study of one arm and one seed, validated where nothing is trained or told of."""

import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from omegaconf import OmegaConf
from sheeprl.utils.utils import dotdict

from sheeprl_dnp.episodes import versions
from sheeprl_dnp.evaluation import Record, make_environments, results
from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.studies import Evaluations, Run
from sheeprl_dnp.study.plan import compose_arm, compose_arms, save_plan
from sheeprl_dnp.study.pool import played_steps
from sheeprl_dnp.study.trials import Outcome, Trial
from sheeprl_dnp.study.tuned_arms import TunedArm
from sheeprl_dnp.study.tuning import Tuning

WORLDS = "validation"
LARGE = ("checkpoint", "memmap_buffer")  # folders of a run that nobody needs when its trial has ended


def prepare(trial: Trial, tuning: Tuning) -> Run:
    """Makes the folder of a trial.

    Raises:
        ConfigError: it can't be trained with its settings.
    """
    evaluations = Evaluations(episodes=tuning.episodes, worlds=WORLDS)
    plan = tuning.study.model_copy(update={"arms": (trial.arm,), "seeds": (trial.seed,), "evaluations": evaluations})
    save_plan(trial.folder, plan, compose_arms(plan))
    return run_of(trial)


def run_of(trial: Trial) -> Run:
    return Run(trial.folder, trial.arm, trial.seed)


def outcome(run: Run, objective: str | None, error: str) -> Outcome:
    """How the run of a trial ended; `error`: what it said, should it have failed.

    Raises:
        ConfigError: an evaluation has no such objective.
    """
    if not run.is_finished:
        return Outcome(reason=error, steps=played_steps(run), cpu_s=cpu_seconds(run))
    finished = run.load("finished.json")
    measure, value = measured(run.load("evaluation_default.json"), objective)
    costs = {"steps": finished["steps"], "updates": finished["gradient_steps"], "cpu_s": cpu_seconds(run)}
    if not math.isfinite(value):
        return Outcome(measure=measure, reason=f"its {measure} is {value}", **costs)
    return Outcome(value, measure, **costs)


def cpu_seconds(run: Run) -> float:
    """Of all its attempts; of one that was killed, how long it ran."""
    attempts = [json.loads(path.read_text()) for path in run.folder.glob("attempt_*.json")]
    return round(sum(attempt["wall_s"] if attempt["cpu_s"] is None else attempt["cpu_s"] for attempt in attempts), 1)


def measured(evaluation: Record, objective: str | None) -> tuple[str, float]:
    """What is measured, and its value: of the evaluation, or else the mean of its episodes.

    Raises:
        ConfigError: there is no such objective.
    """
    values = dict(_numbers({key: value for key, value in evaluation.items() if key != "episodes"}))
    episodes = evaluation["episodes"]
    for key in episodes[0]:
        if all(isinstance(episode.get(key), bool | int | float) for episode in episodes):
            values.setdefault(key, fmean(float(episode[key]) for episode in episodes))
    name = objective or ("success" if "success" in values else "return")
    if name not in values:
        raise ConfigError(f"`objective={name}` is not measured here: it must be one of {', '.join(values)}.")
    return name, values[name]


def _numbers(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{key}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            yield prefix + key, float(value)


def check_objective(tuned: Sequence[TunedArm], tuning: Tuning) -> None:
    """Checks the objective on an episode of random actions of the first arm's environment.

    Raises:
        ConfigError: it isn't measured.
    """
    if tuning.objective is None:
        return
    cfg = dotdict(OmegaConf.to_container(compose_arm(tuned[0].arm, tuning.study.overrides), resolve=True))
    cfg.env.capture_video = False
    envs = make_environments(cfg, episodes=1, num_envs=1, log_dir="", worlds=WORLDS)
    try:
        envs.reset()
        info: dict[str, Any] = {}
        while "ended" not in info:
            *_, info = envs.step(envs.action_space.sample())
    finally:
        envs.close()
    played = json.loads(info["ended"][0]) | {"ponder_steps": 1, "first_ponder_steps": 1}
    measured(results([played], [0.0]), tuning.objective)


def remove_checkpoints(run: Run) -> None:
    for version in versions(run.folder):
        for name in LARGE:
            shutil.rmtree(version / name, ignore_errors=True)
