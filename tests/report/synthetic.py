"""A made-up study on disk, as trainings would leave it: three arms on Crafter, Lights Out or Sokoban."""

import csv
import json
import math
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from sheeprl_dnp.envs.crafter_score import ACHIEVEMENTS
from sheeprl_dnp.report.report import report
from sheeprl_dnp.report.results import Results, analyse
from sheeprl_dnp.report.tables import load

ARMS = ("baseline", "ponder", "fixed")
MAX_HALTS = 4
LEVELS = {"lights_out": (1, 2, 3, 4), "sokoban": (2, 7, 15)}  # difficulties; those of Sokoban are pushes
FORCED = (1, 2, 4, 8)
MACHINE = {
    "platform": "Linux",
    "cpu": "Model 1",
    "cores": 2,
    "gpu": None,
    "python": "3.11",
    "torch": "2",
    "sheeprl": "0",
}


def make_study(folder: Path, *, seeds: int = 3, budget: int = 10_000, game: str = "crafter") -> Path:
    """All the runs are finished. The games but Crafter have difficulties, as in `LEVELS`."""
    evaluations = {"episodes": 12, "forced_steps": [*FORCED, "shuffled"], "forced_episodes": 12}
    config = {"arms": list(ARMS), "seeds": list(range(1, seeds + 1)), "overrides": [], "evaluations": evaluations}
    folder.mkdir(parents=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for arm in ARMS:
        for seed in config["seeds"]:
            make_run(folder, arm, seed, budget=budget, game=game)
    return folder


def run_folder(study: Path, arm: str, seed: int) -> Path:
    return study / "runs" / arm / f"seed_{seed}"


def make_run(study: Path, arm: str, seed: int, *, budget: int, game: str) -> None:
    rng = np.random.default_rng((ARMS.index(arm), seed))
    folder, skill = run_folder(study, arm, seed), 0.2 * ARMS.index(arm) + rng.normal(scale=0.1)
    version = folder / "version_0"
    version.mkdir(parents=True)
    (version / "config.yaml").write_text(yaml.safe_dump(run_config(arm, seed, budget)))
    episodes = training_episodes(rng, skill, budget, game)
    (version / "episodes.jsonl").write_text("".join(json.dumps(episode) + "\n" for episode in episodes))
    own_rule = {"baseline": 1, "ponder": "sample", "fixed": MAX_HALTS}[arm]
    rules = {"default": own_rule} | ({} if arm == "baseline" else {n: n for n in FORCED})
    rules |= {"shuffled": "shuffled"} if arm == "ponder" else {}
    for name, steps in rules.items():
        write(folder / f"evaluation_{name}.json", evaluation(rng, skill, steps, game))
    write(folder / "costs.json", run_costs(arm))
    write(folder / "attempt_0.json", attempt(arm, seed, wall_s=3600.0 * seed))
    write(
        folder / "finished.json", {"steps": budget, "gradient_steps": 500, "checkpoint": "version_0/checkpoint/x.ckpt"}
    )
    write_metrics(folder / "metrics.csv", arm, budget, rng)


def write(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content))


def run_config(arm: str, seed: int, budget: int) -> dict[str, Any]:
    config = {
        "seed": seed,
        "run_name": f"seed_{seed}",
        "root_dir": arm,
        "algo": {"name": "dreamer_v3", "total_steps": budget, "horizon": 15},
        "checkpoint": {"resume_from": None},
    }
    if arm != "baseline":
        ponder = {"max_halts": MAX_HALTS, "lambda_p": 0.4, "learn_halting": arm == "ponder", "halting": "sample"}
        config["algo"] |= {"name": "dreamer_v3_ponder", "ponder": ponder}
    return config


def training_episodes(rng: np.random.Generator, skill: float, budget: int, game: str) -> list[dict[str, Any]]:
    episodes, step = [], 0
    while step < budget:
        length = int(rng.integers(100, 240))
        step += length
        episode = {"step": step, "length": length, "env": 0, **world(game, int(rng.integers(2**31)))}
        if game == "crafter":
            counts = achievements(rng, skill + step / budget)
            reward = round(sum(count > 0 for count in counts.values()) - float(rng.choice([0.9, 0.1])), 1)
            counts = {f"achievement_{name}": count for name, count in counts.items()}
            episodes.append(episode | {"reward": reward} | counts)
        else:
            level = LEVELS[game][int(rng.integers(len(LEVELS[game])))]
            episodes.append(episode | {"difficulty": level} | solved(game, rng.random() < 0.5 + skill / 4, "reward"))
    return episodes


def world(game: str, number: int) -> dict[str, int | str]:
    """What an episode records of the world that it began in."""
    return {"sokoban": {"room": f"#{number}.$"}, "lights_out": {"board": number}}.get(game, {"world_seed": number})


def solved(game: str, success: bool, name: str) -> dict[str, float | bool]:
    """A reward, and in Sokoban, where each step costs, what it hides."""
    return {name: success - 0.25, "success": success} if game == "sokoban" else {name: float(success)}


def achievements(rng: np.random.Generator, skill: float) -> dict[str, int]:
    """The easiest is unlocked in most episodes, each further one more rarely."""
    chances = [min(0.97, 0.95 * math.exp(-0.35 * rank / (0.3 + skill))) for rank in range(len(ACHIEVEMENTS))]
    return {name: int(rng.random() < chance) * 2 for name, chance in zip(ACHIEVEMENTS, chances, strict=True)}


def evaluation(rng: np.random.Generator, skill: float, steps: int | str, game: str) -> dict[str, Any]:
    bonus = {"sample": 0, "shuffled": -0.3}.get(steps) if isinstance(steps, str) else -0.6 / steps
    levels, episodes = LEVELS.get(game, (0,)), []
    for index in range(12):
        rank = index % len(levels) + 1  # of its difficulty
        halts = steps if isinstance(steps, int) else 1.4 + 0.3 * rank * (game != "crafter") + 0.1 * rng.random()
        counts = achievements(rng, 1 + skill + bonus)
        episode = {"seed": index, "length": 170, "ponder_steps": halts, **world(game, 5_000_000_000 + index)}
        if game == "crafter":
            value, extra = sum(count > 0 for count in counts.values()) - 0.9, {"achievements": counts}
        else:
            value, first = 4 - rank + skill + bonus, steps if isinstance(steps, int) else 5 - rank
            extra = {"difficulty": levels[rank - 1], "first_ponder_steps": first}
            extra |= {"success": rank + index % 2 < 3} if game == "sokoban" else {}
        episodes.append(episode | {"return": value + rng.normal(scale=0.1)} | extra)
    return summary(episodes) | {"steps": steps, "seed": 0, "num_envs": 4}


def summary(episodes: list[dict[str, Any]]) -> dict[str, Any]:
    plays_crafter = "achievements" in episodes[0]
    counts = {name: [e["achievements"][name] > 0 for e in episodes] for name in ACHIEVEMENTS} if plays_crafter else {}
    rates = {name: 100 * float(np.mean(unlocked)) for name, unlocked in counts.items()}
    return {
        "mean_return": float(np.mean([e["return"] for e in episodes])),
        "mean_length": float(np.mean([e["length"] for e in episodes])),
        "score": math.exp(sum(math.log(1 + rate) for rate in rates.values()) / len(rates)) - 1 if rates else None,
        "success_rates": rates,
        "mean_ponder_steps": float(np.mean([e["ponder_steps"] for e in episodes])),
        "latency_ms_per_action": {"median": 5.0, "p95": 9.0},
        "episodes": episodes,
    }


def run_costs(arm: str) -> dict[str, Any]:
    per_action = [5_000_000] if arm == "baseline" else [4_000_000 + 500_000 * step for step in range(MAX_HALTS)]
    parameters = {
        "agent": 1_700_000 - (arm != "baseline"),
        "world_model": 1_400_000,
        "actor": 100_000,
        "critic": 130_000,
    }
    return {"parameters": parameters, "flops": {"per_action": per_action, "per_gradient_step": 10_000_000_000}}


def attempt(arm: str, seed: int, *, wall_s: float, code: int | None = 0) -> dict[str, Any]:
    when = {"start": "2026-01-01T00:00:00+00:00", "from_step": 0, "exit": code, "wall_s": wall_s, "cpu_s": wall_s / 2}
    command = ["sheeprl", f"exp={arm}", f"seed={seed}"]
    return when | {"command": command, "threads": 1, "commit": "0123456789abcdef", "machine": MACHINE}


def write_metrics(path: Path, arm: str, budget: int, rng: np.random.Generator) -> None:
    """`ponder` comes to halt later; nothing is logged before the learning starts."""
    rows = []
    for step in range(budget // 40, budget + 1, budget // 40):
        row = {"step": step, "Loss/policy_loss": -0.1}
        if arm != "baseline" and step > budget // 10:
            row |= halting_metrics(step / budget, rng) if arm == "ponder" else {"Ponder/player_steps": MAX_HALTS}
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, names)
        writer.writeheader()
        writer.writerows(rows)


def halting_metrics(progress: float, rng: np.random.Generator) -> dict[str, float]:
    halt = 0.4 - 0.25 * progress + rng.normal(scale=0.01)
    mass = [halt * (1 - halt) ** n for n in range(MAX_HALTS - 1)]
    mass.append(1 - sum(mass))
    expected = sum(n * p for n, p in enumerate(mass, 1))
    values = {"Ponder/expected_steps": expected, "Ponder/player_steps": expected + rng.normal(scale=0.05)}
    return values | {f"Ponder/halt_mass_{n:02d}": p for n, p in enumerate(mass, 1)}


def copy_of(study: Path, folder: Path) -> Path:
    """One to be changed."""
    return shutil.copytree(study, folder, ignore=shutil.ignore_patterns("report"))


def report_of(study: Path) -> Results:
    """Its results, which are also reported in its folder, with few resamples: their values matter alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sheeprl_dnp.report.statistics.RESAMPLES", 100)
        return report(study, study / "report")


def results_of(study: Path) -> Results:
    """As `report_of`, without the report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sheeprl_dnp.report.statistics.RESAMPLES", 100)
        return analyse(load(study))


def rows(table: pd.DataFrame, **keys: Any) -> pd.DataFrame:
    """Those with these values; None for NaN."""
    for key, value in keys.items():
        table = table[table[key].isna() if value is None else table[key] == value]
    return table


def row(table: pd.DataFrame, **keys: Any) -> pd.Series:
    """The one row with these values."""
    found = rows(table, **keys)
    assert len(found) == 1, (keys, table)
    return found.iloc[0]


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def change(path: Path, **values: Any) -> None:
    write(path, read(path) | values)


def training(study: Path, arm: str, seed: int, budget: int = 10_000) -> list[dict[str, Any]]:
    lines = (run_folder(study, arm, seed) / "version_0" / "episodes.jsonl").read_text().splitlines()
    return [episode for episode in map(json.loads, lines) if episode["step"] <= budget]


def score_by_hand(episodes: list[dict[str, Any]]) -> float:
    rates = [100 * fmean(e[f"achievement_{name}"] > 0 for e in episodes) for name in ACHIEVEMENTS]
    return math.exp(fmean(math.log(1 + rate) for rate in rates)) - 1
