"""A short summary of a run that has ended: `python -m sheeprl_dnp.report.summary RUN_FOLDER`."""

import sys
from pathlib import Path

import numpy as np

from sheeprl_dnp.episodes import read_episodes, versions

PARTS = 5  # of a training


def training_line(returns: list[float]) -> str:
    if not returns:
        return "Training: no episode ended"
    parts = (
        part for part in np.array_split(returns, [len(returns) * n // PARTS for n in range(1, PARTS)]) if len(part)
    )
    means = " ".join(f"{part.mean():.2f}" for part in parts)
    return f"Training: {len(returns)} episodes; mean return of each fifth of them: {means}"


def summarise(run: Path) -> list[str]:
    """The lines of the summary of the run logged in a folder."""
    log = next(iter(versions(run)), run)
    return [
        training_line([episode["reward"] for episode in read_episodes(run)]),
        f"Results: {log}/ (episodes.jsonl, config.yaml, checkpoint/)",
        f"Curves:  tensorboard --logdir {run}",
    ]


def main() -> None:
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit("Usage: python -m sheeprl_dnp.report.summary RUN_FOLDER: the folder of a run, which must exist.")
    print("\n".join(summarise(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
