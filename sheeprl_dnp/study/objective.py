"""What a trial is worth: the objective of its tuning, measured in worlds in which nothing is trained or told of."""

import json
import math
from statistics import fmean
from typing import Any

import pandas as pd
from omegaconf import OmegaConf
from sheeprl.utils.utils import dotdict

from sheeprl_dnp.evaluation import Record, make_environments, results
from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.studies import Run
from sheeprl_dnp.study.plan import compose_arm
from sheeprl_dnp.study.pool import played_steps
from sheeprl_dnp.study.trials import Outcome
from sheeprl_dnp.study.tuning import Tuning

WORLDS = "validation"


def outcome(run: Run, objective: str | None, error: str) -> Outcome:
    """How the run of a trial ended; `error`: what it said, should it have failed.

    Raises:
        ConfigError: an evaluation has no such objective.
    """
    cpu_s = round(sum(run.load(path.name)["cpu_s"] for path in run.folder.glob("attempt_*.json")), 1)
    if not run.is_finished:
        return Outcome(reason=error, steps=played_steps(run), cpu_s=cpu_s)
    finished = run.load("finished.json")
    costs = {"steps": finished["steps"], "updates": finished["gradient_steps"], "cpu_s": cpu_s}
    measure, value = measured(run.load("evaluation_default.json"), objective)
    if not math.isfinite(value):
        return Outcome(measure=measure, reason=f"its {measure} is {value}", **costs)
    return Outcome(value, measure, **costs)


def measured(evaluation: Record, objective: str | None) -> tuple[str, float]:
    """What is measured, and its value: of the evaluation, or else the mean of its episodes.

    Raises:
        ConfigError: there is no such objective.
    """
    whole = pd.json_normalize({key: value for key, value in evaluation.items() if key != "episodes"})
    values = {str(name): float(column[0]) for name, column in whole.select_dtypes("number").items()}
    episodes = evaluation["episodes"]
    for key in episodes[0]:
        if all(isinstance(episode.get(key), bool | int | float) for episode in episodes):
            values.setdefault(key, fmean(float(episode[key]) for episode in episodes))
    name = objective or ("success" if "success" in values else "return")
    if name not in values:
        raise ConfigError(f"`objective={name}` is not measured here: it must be one of {', '.join(values)}.")
    return name, values[name]


def check_objective(tuning: Tuning) -> None:
    """Raises a ConfigError where an episode of the first arm's environment doesn't measure the objective."""
    if tuning.objective is None:
        return
    cfg = dotdict(OmegaConf.to_container(compose_arm(tuning.tuned[0], tuning.study.overrides), resolve=True))
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
