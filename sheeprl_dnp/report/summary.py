"""A short summary of a finished and evaluated run: `python -m sheeprl_dnp.report.summary RUN_FOLDER`."""

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from sheeprl_dnp.episodes import read_episodes

PARTS = 5  # of a training


def training_line(returns: list[float]) -> str:
    if not returns:
        return "Training: no episode ended"
    parts = (
        part for part in np.array_split(returns, [len(returns) * n // PARTS for n in range(1, PARTS)]) if len(part)
    )
    means = " ".join(f"{part.mean():.2f}" for part in parts)
    return f"Training: {len(returns)} episodes; mean return of each fifth of them: {means}"


def evaluation_lines(results: dict[str, Any]) -> list[str]:
    episodes = results["episodes"]
    unlocked = Counter(name for e in episodes for name, count in e.get("achievements", {}).items() if count > 0)
    achievements = ", ".join(f"{name} {count / len(episodes):.0%}" for name, count in unlocked.most_common())
    line = (
        f"Evaluation: {len(episodes)} episodes in worlds never trained in; mean return {results['mean_return']:.2f}, "
        f"length {results['mean_length']:.0f}, ponder steps {results['mean_ponder_steps']:.2f}"
    )
    return [line, f"Achievements: {achievements}"] if achievements else [line]


def summarise(run: Path) -> list[str]:
    """The lines of the summary of the run logged in a folder."""
    evaluations = sorted(run.rglob("*.eval.json"))
    log = next(iter(sorted(run.glob("version_*"))), run)
    return [
        training_line([episode["reward"] for episode in read_episodes(run)]),
        *(line for path in evaluations for line in evaluation_lines(json.loads(path.read_text()))),
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
