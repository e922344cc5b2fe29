"""A short summary of a finished and evaluated run: `python -m sheeprl_dnp.report.summary RUN_FOLDER`."""

import json
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path
from statistics import fmean
from typing import Any

from sheeprl_dnp.episodes import read_episodes

PARTS = 5  # of a training


def training_lines(episodes: list[dict[str, Any]]) -> list[str]:
    if not episodes:
        return ["Training: no episode ended"]
    returns = [episode["reward"] for episode in episodes]
    bounds = [len(returns) * part // PARTS for part in range(PARTS + 1)]
    means = " ".join(f"{fmean(returns[i:j]):.2f}" for i, j in pairwise(bounds) if j > i)
    return [f"Training: {len(returns)} episodes; mean return of each fifth of them: {means}"]


def evaluation_lines(results: dict[str, Any]) -> list[str]:
    episodes = results["episodes"]
    unlocked = Counter(name for e in episodes for name, count in e.get("achievements", {}).items() if count > 0)
    achievements = ", ".join(f"{name} {count / len(episodes):.0%}" for name, count in unlocked.most_common())
    lines = [
        f"Evaluation: {len(episodes)} episodes in worlds never trained in; mean return {results['mean_return']:.2f}, "
        f"length {results['mean_length']:.0f}, ponder steps {results['mean_ponder_steps']:.2f}"
    ]
    return [*lines, f"Achievements: {achievements}"] if achievements else lines


def summarise(run: Path) -> list[str]:
    """The lines of the summary of the run logged in a folder."""
    evaluations = sorted(run.rglob("*.eval.json"))
    evaluated = [line for path in evaluations for line in evaluation_lines(json.loads(path.read_text()))]
    log = next(iter(sorted(run.glob("version_*"))), run)
    return [
        *training_lines(read_episodes(run)),
        *evaluated,
        f"Results: {log}/ (episodes.jsonl, config.yaml, checkpoint/)",
        *(f"         {path}" for path in evaluations),
        f"Curves:  tensorboard --logdir {run}",
    ]


def main() -> None:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("Usage: python -m sheeprl_dnp.report.summary RUN_FOLDER: the folder of a run, which must exist.")
    print("\n".join(summarise(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
