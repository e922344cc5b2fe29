"""Reads the runs of a study that runs, and says which of them, or which of their files, are missing or damaged."""

import errno
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, Field

from sheeprl_dnp.checks import check
from sheeprl_dnp.envs.crafter_score import PREFIX
from sheeprl_dnp.episodes import FILE_NAME, read_episodes, versions
from sheeprl_dnp.studies import Evaluation, Plan, Run

PONDER_KEYS = ("max_halts", "learn_halting", "halting", "lambda_p")  # of a configuration, those that a report reads
CONFIG = "config."
# Left out: names and paths, which never change what is computed, and the list of what is logged
LEFT_OUT = (
    "exp_name run_name root_dir log_root metric.logger.name metric.logger.root_dir metric.aggregator.metrics "
    "model_manager.models checkpoint.resume_from"
).split()
# What reading a damaged file raises
ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, yaml.YAMLError)

Finite = Annotated[float, Field(allow_inf_nan=False, description="a finite number")]
Number = Annotated[int, Field(description="a whole number")]


class Finished(BaseModel):
    steps: Number
    gradient_steps: Number | None = None


class Flops(BaseModel):
    per_action: Annotated[list[Finite], Field(min_length=1, description="those at ponder step 1, 2, ...")]
    per_gradient_step: Finite


class Costs(BaseModel):
    parameters: dict[str, Number]
    flops: Flops


class Attempt(BaseModel):
    exit: int | None
    wall_s: Finite
    cpu_s: Finite
    machine: dict[str, Any]
    threads: int | None = None
    commit: str | None = None

    @property
    def description(self) -> str:
        """One line about the machine, the threads of a run, and the commit of this project."""
        facts = {key: value for key, value in self.machine.items() if value is not None}
        parts = [facts.pop("cpu", "unknown CPU"), f"{facts.pop('cores', '?')} cores", facts.pop("gpu", "no GPU")]
        parts += [f"{name} {value}" for name, value in facts.items()]
        return ", ".join([*parts, f"threads of a run: {self.threads}, commit {self.commit}"])


def read_runs(study: Path, plan: Plan) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """The tables of a study (see `tables.Study`), and its problems: `run`, `reason`."""
    runs, problems = plan.runs(study), []
    names = ("runs", "training", "evaluation", "metrics")
    parts: dict[str, list[pd.DataFrame]] = {name: [pd.DataFrame()] for name in names}
    for run in runs:
        found, reasons = read_run(run, plan)
        problems += [(run.name, reason) for reason in reasons]
        for name, part in found:
            parts[name].append(part.assign(arm=run.arm.label, seed=run.seed))
    for folder in sorted(set(study.glob("runs/*/seed_*")) - {run.folder for run in runs}):
        name = f"{folder.parent.name} {folder.name.replace('_', ' ')}"
        problems.append((name, "not in `study.yaml`: left out"))
    tables = {name: pd.concat(found, ignore_index=True) for name, found in parts.items()}
    return tables, pd.DataFrame(problems, columns=["run", "reason"])


def read_run(run: Run, plan: Plan) -> tuple[list[tuple[str, pd.DataFrame]], list[str]]:
    """What there is of a run, parts of the tables by their names, and what is wrong with it."""
    reasons: list[str] = []

    def part(name: str, load: Callable[..., Any], *arguments: Any) -> Any:
        content, error = tried(load, run, *arguments)
        if isinstance(error, OSError):
            reasons.append(f"finished, but without `{name}`: reported without it")
        elif error:
            reasons.append(f"`{name}` is corrupt ({describe(error)}): reported without it")
        return content

    if problem := _unfinished(run):
        config, _ = tried(newest_config, run)
        return [("runs", pd.DataFrame([_configuration(config or {})]))], [problem]
    config = part("config.yaml", newest_config)
    row = _finished(run).model_dump() | _configuration(config or {})
    row |= part("costs.json", _costs) or {}
    row |= part("attempt_<n>.json", _times) or {}
    tables = [("runs", pd.DataFrame([row]))]
    tables += [("training", part(FILE_NAME, _episodes)), ("metrics", part("metrics.csv", _metrics))]
    for played in plan.evaluations.of(config["algo"] if config else None):
        tables.append(("evaluation", part(f"evaluation_{played.name}.json", _evaluation, played)))
    return [(name, table) for name, table in tables if table is not None], reasons


def tried(load: Callable[..., Any], run: Run, *arguments: Any) -> tuple[Any, Exception | None]:
    """What it gives, or the error of a file that is missing or damaged."""
    try:
        return load(run, *arguments), None
    except ERRORS as error:
        return None, error


def describe(error: Exception | None) -> str:
    """One line about what went wrong in reading a file."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    if isinstance(error, OSError):
        return error.strerror or "a file is missing"
    return " ".join(str(error).split()).rstrip(".")


def newest_config(run: Run) -> dict[str, Any]:
    """The resolved configuration of a run, as it was last started; for errors see `tried`."""
    folders = versions(run.folder)
    if not folders:
        raise FileNotFoundError(errno.ENOENT, "it has no configuration yet")
    config = yaml.safe_load((folders[-1] / "config.yaml").read_text())
    for key in PONDER_KEYS if "ponder" in config["algo"].keys() else ():
        config["algo"]["ponder"][key]
    if config["seed"] != run.seed:
        raise ValueError(f"its `seed` is {config['seed']}")
    return config


def _configuration(config: dict[str, Any]) -> dict[str, str]:
    """Its keys with their values as JSON, but for strings, which stay as they are."""
    values = pd.json_normalize(config, sep=".").to_dict("records")[0] if config else {}  # pandas 2 makes no row of {}
    left_out = tuple(f"{key}." for key in LEFT_OUT)
    return {
        f"{CONFIG}{key}": value if isinstance(value, str) else json.dumps(value, default=str).replace('"', "")
        for key, value in values.items()
        if not f"{key}.".startswith(left_out)
    }


def _finished(run: Run) -> Finished:
    return check(Finished, run.load("finished.json"))


def _costs(run: Run) -> dict[str, Any]:
    costs = check(Costs, run.load("costs.json"))
    return {
        **{f"parameters_{name}": count for name, count in costs.parameters.items()},
        "flops_per_action": " ".join(f"{flops:.12g}" for flops in costs.flops.per_action),
        "flops_per_gradient_step": costs.flops.per_gradient_step,
    }


def _attempts(run: Run) -> list[Attempt]:
    """Those at a run, the first first."""
    names = sorted((path.name for path in run.folder.glob("attempt_*.json")), key=lambda name: int(name[8:-5]))
    return [check(Attempt, run.load(name)) for name in names]


def _times(run: Run) -> dict[str, Any]:
    """Sums over the attempts, and the machines."""
    attempts = _attempts(run)
    times = pd.DataFrame([attempt.model_dump(include={"wall_s", "cpu_s"}) for attempt in attempts], dtype=float)
    machines = dict.fromkeys(attempt.description for attempt in attempts)
    return {**times.sum(), "machines": " | ".join(machines) or None}


def _episodes(run: Run) -> pd.DataFrame:
    if not any((folder / FILE_NAME).is_file() for folder in versions(run.folder)):
        raise FileNotFoundError
    episodes = pd.DataFrame(read_episodes(run.folder))
    if episodes.empty:
        raise ValueError("no episode ended")
    return checked(episodes, ["step", "length", "reward"])


def _metrics(run: Run) -> pd.DataFrame:
    content = (run.folder / "metrics.csv").read_text()
    metrics = pd.read_csv(StringIO(content))
    if metrics.empty or not content.endswith("\n"):
        raise ValueError("it has no line" if metrics.empty else "its last line is cut")
    if not metrics.select_dtypes(exclude="number").empty:
        raise ValueError("a value is not a number")
    return checked(metrics, ["step"]).replace([np.inf, -np.inf], np.nan)


def _evaluation(run: Run, played: Evaluation) -> pd.DataFrame:
    """The episodes, with a column for each achievement, as in training."""
    content = run.load(f"evaluation_{played.name}.json")
    if len(content["episodes"]) != played.episodes:
        raise ValueError(f"it has {len(content['episodes'])} episodes, `study.yaml` asks for {played.episodes}")
    episodes = pd.DataFrame(content["episodes"]).rename(columns={"seed": "episode"})
    checked(episodes, ["episode", "return", "length", "ponder_steps"])
    for name in episodes.columns.intersection(["difficulty", "success", "first_ponder_steps"]):
        checked(episodes.dropna(subset=name), [name])
    if "achievements" in episodes:
        counts = [count if isinstance(count, dict) else {} for count in episodes.pop("achievements")]
        episodes = episodes.join(pd.DataFrame(counts, episodes.index).add_prefix(PREFIX))
    latency = checked(pd.DataFrame([content["latency_ms_per_action"]]), ["median"])["median"].iloc[0]
    return episodes.assign(latency_ms=latency, rule=played.rule, environment=played.environment)


def checked(table: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """
    Raises:
        KeyError, ValueError: one of the columns is missing, or has what isn't a finite number.
    """
    finite = np.isfinite(table[columns].to_numpy(float))
    if not finite.all():
        raise ValueError(f"`{columns[finite.all(axis=0).argmin()]}` is not always a finite number")
    return table


def _unfinished(run: Run) -> str | None:
    """Why a run can't be reported, if it can't."""
    if not run.folder.is_dir():
        return "missing: it was never started"
    if run.is_finished:
        _, error = tried(_finished, run)
        return f"corrupt: `finished.json` can't be read ({describe(error)})" if error else None
    progress, error = tried(_progress, run)
    attempts, _ = tried(_attempts, run)
    if not attempts:
        last = "there is no record of an attempt"
    elif attempts[-1].exit is None:
        last = "its last attempt is still running or was killed"
    elif attempts[-1].exit:
        last = f"its last attempt ended with exit code {attempts[-1].exit}"
    else:
        last = "its training has ended, its evaluation has not"
    return f"unfinished: {progress or f'how far it came is unknown ({describe(error)})'}; {last}"


def _progress(run: Run) -> str:
    episodes, total = read_episodes(run.folder), newest_config(run)["algo"]["total_steps"]
    return f"its last episode ended at step {episodes[-1]['step'] if episodes else 0:,} of {total:,}"
