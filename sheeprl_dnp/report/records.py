"""Reads the runs of a study that runs, and says which of them, or which of their files, are missing or damaged."""

import errno
import json
from collections.abc import Callable, Iterator
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import pandas as pd
import yaml
from pydantic import BaseModel, Field

from sheeprl_dnp.checks import check
from sheeprl_dnp.envs.crafter_score import PREFIX
from sheeprl_dnp.episodes import read_episodes, versions
from sheeprl_dnp.studies import Evaluations, Plan, Run

T = TypeVar("T")
# Of each table, the columns that a study always has
NEEDED = {
    "runs": ["steps", "gradient_steps", "wall_s", "cpu_s", "machines", "flops_per_action", "flops_per_gradient_step"],
    "training": ["step", "length", "reward"],
    "evaluation": ["rule", "episode", "return"],
    "metrics": ["step"],
}
PONDER_KEYS = ("max_halts", "learn_halting", "halting", "lambda_p")  # of a configuration, those that a report reads
CONFIG = "config."
# Left out: names and paths, which never change what is computed, and the list of what is logged
LEFT_OUT = (
    "exp_name run_name root_dir log_root metric.logger.name metric.logger.root_dir metric.aggregator.metrics "
    "model_manager.models checkpoint.resume_from"
).split()

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
    cpu_s: Finite | None = None
    machine: dict[str, Any]
    threads: int | None = None
    commit: str | None = None

    def description(self) -> str:
        """One line about the machine, the threads of a run, and the commit of this project."""
        facts = {key: value for key, value in self.machine.items() if value is not None}
        parts = [facts.pop("cpu", "unknown CPU"), f"{facts.pop('cores', '?')} cores", facts.pop("gpu", "no GPU")]
        parts += [f"{name} {value}" for name, value in facts.items()]
        return ", ".join([*parts, f"threads of a run: {self.threads}, commit {self.commit}"])


def read_runs(study: Path, plan: Plan) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """The tables of a study (see `tables.Study`), and its problems: `run`, `reason`."""
    parts: dict[str, list[pd.DataFrame]] = {name: [] for name in NEEDED}
    problems: list[tuple[str, str]] = []
    for run in plan.runs(study):
        reasons: list[str] = []
        for name, table in read_run(run, plan.evaluations, reasons):
            parts[name].append(table.assign(arm=run.arm.label, seed=run.seed))
        problems += [(run.name, reason) for reason in reasons]
    tables = {}
    for name, found in parts.items():
        table = pd.concat(found, ignore_index=True) if found else pd.DataFrame()
        first = ["arm", "seed", *NEEDED[name]]
        tables[name] = table.reindex(columns=[*first, *(column for column in table if column not in first)])
    return tables, pd.DataFrame([*problems, *_strangers(study, plan)], columns=["run", "reason"])


def read_run(run: Run, evaluations: Evaluations, reasons: list[str]) -> Iterator[tuple[str, pd.DataFrame]]:
    """What there is of a run: parts of the tables, by their names; `reasons` gets what is wrong with it."""

    def part(name: str, load: Callable[[], T]) -> T | None:
        content, error = tried(load)
        if isinstance(error, OSError):
            reasons.append(f"finished, but without `{name}`: reported without it")
        elif error:
            reasons.append(f"`{name}` is corrupt ({describe(error)}): reported without it")
        return content

    if problem := _unfinished(run):
        reasons.append(problem)
        config, _ = tried(lambda: newest_config(run))
        yield "runs", pd.DataFrame([_configuration(config) if config else {}])
        return
    config = part("config.yaml", lambda: newest_config(run))
    row = check(Finished, run.load("finished.json")).model_dump() | (_configuration(config) if config else {})
    row |= part("costs.json", lambda: _costs(run)) or {}
    row |= part("attempt_<n>.json", lambda: _attempts(run)) or {}
    tables = [
        ("runs", pd.DataFrame([row])),
        ("training", part("episodes.jsonl", lambda: _episodes(run))),
        ("metrics", part("metrics.csv", lambda: _metrics(run))),
    ]
    for played in evaluations.of(config["algo"] if config else None):
        name = f"evaluation_{played.name}.json"
        table = part(name, partial(_evaluation, run, name, played.episodes))
        here = {"rule": played.rule, "environment": played.environment}
        tables.append(("evaluation", None if table is None else table.assign(**here)))
    yield from ((name, table) for name, table in tables if table is not None)


def tried(load: Callable[[], Any]) -> tuple[Any, Exception | None]:
    """What it gives, or the error of a file that is missing or damaged."""
    try:
        return load(), None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError, yaml.YAMLError) as error:
        return None, error


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
    values = pd.json_normalize(config, sep=".").to_dict("records")[0]
    left_out = tuple(f"{key}." for key in LEFT_OUT)
    return {
        f"{CONFIG}{key}": value if isinstance(value, str) else json.dumps(value, default=str).replace('"', "")
        for key, value in values.items()
        if not f"{key}.".startswith(left_out)
    }


def _costs(run: Run) -> dict[str, Any]:
    costs = check(Costs, run.load("costs.json"))
    return {
        **{f"parameters_{name}": count for name, count in costs.parameters.items()},
        "flops_per_action": " ".join(f"{flops:.12g}" for flops in costs.flops.per_action),
        "flops_per_gradient_step": costs.flops.per_gradient_step,
    }


def _attempts(run: Run) -> dict[str, Any]:
    """Times are sums over the attempts, unknown if one of them doesn't say."""
    attempts = load_attempts(run)
    times = pd.DataFrame([attempt.model_dump(include={"wall_s", "cpu_s"}) for attempt in attempts], dtype=float)
    machines = dict.fromkeys(attempt.description() for attempt in attempts)
    return {**times.sum(skipna=False), "machines": " | ".join(machines) or None}


def load_attempts(run: Run) -> list[Attempt]:
    """The attempts at a run, the first first; for errors see `tried`."""
    names = sorted((path.name for path in run.folder.glob("attempt_*.json")), key=lambda name: int(name[8:-5]))
    return [check(Attempt, run.load(name)) for name in names]


def _episodes(run: Run) -> pd.DataFrame:
    if not any((folder / "episodes.jsonl").is_file() for folder in versions(run.folder)):
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
    checked(metrics, ["step"])
    if not metrics.select_dtypes(exclude="number").empty:
        raise ValueError("a value is not a number")
    return metrics.replace([np.inf, -np.inf], np.nan)


def _evaluation(run: Run, name: str, count: int) -> pd.DataFrame:
    """The episodes, with a column for each achievement, as in training."""
    content = run.load(name)
    if len(content["episodes"]) != count:
        raise ValueError(f"it has {len(content['episodes'])} episodes, `study.yaml` asks for {count}")
    episodes = pd.DataFrame(content["episodes"]).rename(columns={"seed": "episode"})
    checked(episodes, ["episode", "return", "length", "ponder_steps"])
    for name in episodes.columns.intersection(["difficulty", "success", "first_ponder_steps"]):
        checked(episodes.dropna(subset=name), [name])
    if "achievements" in episodes:
        counts = [count if isinstance(count, dict) else {} for count in episodes.pop("achievements")]
        episodes = episodes.join(pd.DataFrame(counts, episodes.index).add_prefix(PREFIX))
    latency = checked(pd.DataFrame([content["latency_ms_per_action"]]), ["median"])
    return episodes.assign(latency_ms=latency["median"].iloc[0])


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
    if not run.folder.is_dir():
        return "missing: it was never started"
    if run.is_finished:
        _, error = tried(lambda: check(Finished, run.load("finished.json")))
        return f"corrupt: `finished.json` can't be read ({describe(error)})" if error else None
    progress, error = tried(lambda: _progress(run))
    progress = progress or f"how far it came is unknown ({describe(error)})"
    return f"unfinished: {progress}; {_last_attempt(run)}"


def _progress(run: Run) -> str:
    episodes, total = read_episodes(run.folder), newest_config(run)["algo"]["total_steps"]
    return f"its last episode ended at step {episodes[-1]['step'] if episodes else 0:,} of {total:,}"


def _last_attempt(run: Run) -> str:
    attempts, _ = tried(lambda: load_attempts(run))
    if not attempts:
        return "there is no record of an attempt"
    if attempts[-1].exit is None:
        return "its last attempt is still running or was killed"
    failed = f"its last attempt ended with exit code {attempts[-1].exit}"
    return failed if attempts[-1].exit else "its training has ended, its evaluation has not"


def _strangers(study: Path, plan: Plan) -> list[tuple[str, str]]:
    """The runs in the folder that `study.yaml` doesn't name."""
    known = {run.folder for run in plan.runs(study)}
    folders = sorted(set(study.glob("runs/*/seed_*")) - known)
    return [(f"{f.parent.name} {f.name.replace('_', ' ')}", "not in `study.yaml`: left out") for f in folders]


def describe(error: Exception | None) -> str:
    """One line about what went wrong in reading a file."""
    if isinstance(error, KeyError):
        return f"it has no {error}"
    if isinstance(error, OSError):
        return error.strerror or "a file is missing"
    return " ".join(str(error).split()).rstrip(".")
