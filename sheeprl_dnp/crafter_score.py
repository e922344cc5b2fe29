"""`scripts/score FILE...`: the official score of training episodes on Crafter (Hafner 2021, arXiv 2109.06780).

Episodes that end within the budget of environment steps count; one that crosses it is dropped. The published standard
deviations over seeds are those of the population (`ddof=0`), and so are these.
"""

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from crafter import constants

from sheeprl_dnp.arguments import count

BUDGET = 1_000_000  # environment steps, of the official protocol
PREFIX = "achievement_"
ACHIEVEMENTS = tuple(constants.achievements)
KEYS = ("length", "reward", *(PREFIX + name for name in ACHIEVEMENTS))

Record = dict[str, Any]


class RecordError(ValueError):
    """Bad input of the user, in one sentence."""


def unlocked(records: Sequence[Record]) -> np.ndarray:
    """Which achievements each episode unlocked at least once: bool [episodes, achievements]."""
    return np.array([[record[PREFIX + name] >= 1 for name in ACHIEVEMENTS] for record in records])


def score(success_rates: np.ndarray) -> np.ndarray:
    """`exp(mean_i ln(1 + s_i)) - 1` (section 3.2) of success rates in percent: [..., achievements] to [...]."""
    return np.expm1(np.log1p(success_rates).mean(-1))


def within_budget(records: Sequence[Record], budget: int) -> list[Record]:
    """The episodes that ended by the step `budget`: by their `step`, or else by the running sum of their lengths."""
    ends = np.cumsum([record["length"] for record in records])
    return [record for record, end in zip(records, ends, strict=True) if record.get("step", end) <= budget]


def summarise(records: Sequence[Record]) -> dict[str, Any]:
    """Their number, score and success rates in percent, and mean reward (the records' own) and length in steps."""
    rates = 100 * unlocked(records).mean(0)
    return {
        "episodes": len(records),
        "score": float(score(rates)),
        "reward": float(np.mean([record["reward"] for record in records])),
        "length": float(np.mean([record["length"] for record in records])),
        "success_rates": dict(zip(ACHIEVEMENTS, rates.tolist(), strict=True)),
    }


def read_records(paths: Sequence[Path]) -> Iterator[tuple[str, list[Record]]]:
    """The episodes of each seed that files have, with a name for it.

    Args:
        paths: records, one JSON object a line; `.json`, official results of one or more seeds; or folders of runs of
            ours: of those that go on from each other the episodes are put together.

    Raises:
        RecordError: one can't be read, or has something else.
    """
    runs = [path for path in paths if _is_of_a_run(path)]
    if runs:
        yield from _read_runs(runs)
    for path in paths:
        if path not in runs:
            yield from _read_file(path)


def score_files(paths: Sequence[Path], budget: int) -> dict[str, Any]:
    """The `summarise` of each file (of each seed, in results of several), and mean and standard deviation over them.

    Raises:
        RecordError: a file can't be read, or has no episode within the budget.
    """
    files = {}
    for name, records in read_records(paths):
        episodes = within_budget(records, budget)
        if not episodes:
            raise RecordError(f"`{name}` has no episode that ended within the budget of {budget:,} steps.")
        files[name] = summarise(episodes)
    results = list(files.values())
    return {"budget": budget, "files": files, "mean": _over(results, np.mean), "std": _over(results, np.std)}


def _over(results: list[dict[str, Any]], statistic: Callable[[list[float]], np.floating]) -> dict[str, Any]:
    """A statistic of each number in `results`, which all have the same keys."""
    return {
        key: _over([r[key] for r in results], statistic)
        if isinstance(results[0][key], dict)
        else float(statistic([r[key] for r in results]))
        for key in results[0]
    }


def _is_of_a_run(path: Path) -> bool:
    """Whether it is the folder of a run of ours, one of its versions, or the file of episodes of one."""
    return path.is_dir() or (path.name == "episodes.jsonl" and (path.parent / "config.yaml").is_file())


def _read_runs(paths: Sequence[Path]) -> Iterator[tuple[str, list[Record]]]:
    from sheeprl_dnp.lineage import trainings  # here, since PyTorch takes seconds to import
    from sheeprl_dnp.runs import ConfigError

    try:
        found = [(training, training.episodes()) for training in trainings(paths)]
    except ConfigError as error:
        raise RecordError(str(error)) from error
    except (ValueError, KeyError, TypeError) as error:
        which = ("one of " if len(paths) > 1 else "") + ", ".join(f"`{path}`" for path in paths)
        raise RecordError(f"{which} has a damaged record of its episodes: {error}.") from error
    for training, episodes in found:
        name = " + ".join(map(str, training.paths))
        if training.start:
            note = f"`{name}` begins at step {training.start:,}, from `{training.resumes}`: name that run, too."
            print(note, file=sys.stderr)
        yield name, [_check(record, f"`{name}`, episode {n}") for n, record in enumerate(episodes, 1)]


def _read_file(path: Path) -> Iterator[tuple[str, list[Record]]]:
    try:
        if path.suffix == ".json":
            yield from _read_results(path)
        else:
            yield str(path), _read_lines(path)
    except OSError as error:
        raise RecordError(f"`{path}` can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise RecordError(
            f"`{path}` is not text: it must have one JSON object a line, the record of an episode."
        ) from error


def _read_lines(path: Path) -> list[Record]:
    lines = enumerate(path.read_text().split("\n"), 1)
    return [_parse(line, f"`{path}`, line {n}") for n, line in lines if line.strip()]


def _read_results(path: Path) -> Iterator[tuple[str, list[Record]]]:
    """Of a dict of lists for each seed: `xs` (end steps), `length`, `reward`, `achievement_...`."""
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise RecordError(f"`{path}` is damaged: {error}.") from error
    for index, seed in enumerate(content if isinstance(content, list) else [content]):
        where = f"`{path}`, seed {index}"
        if not isinstance(seed, dict) or not all(isinstance(seed.get(key), list) for key in ("xs", *KEYS)):
            raise RecordError(
                f"{where} is not a result of Crafter: it needs lists `xs`, `length`, `reward`, `{PREFIX}…`."
            )
        if len({len(seed[key]) for key in ("xs", *KEYS)}) > 1:
            raise RecordError(f"{where} is damaged: its lists differ in length.")
        columns = zip(*(seed[key] for key in ("xs", *KEYS)), strict=True)
        records = [dict(zip(("step", *KEYS), values, strict=True)) for values in columns]
        yield f"{path}, seed {index}", [_check(record, f"{where}, episode {n}") for n, record in enumerate(records, 1)]


def _parse(line: str, where: str) -> Record:
    try:
        return _check(json.loads(line), where)
    except json.JSONDecodeError as error:
        raise RecordError(f"{where} is damaged: it is not a JSON object ({error.msg}).") from error


def _check(record: Any, where: str) -> Record:
    """
    Raises:
        RecordError: it isn't the record of an episode on Crafter, which `where` names.
    """
    if not isinstance(record, dict):
        raise RecordError(f"{where} is damaged: it is not a JSON object.")
    for key in KEYS:
        if key not in record:
            raise RecordError(f"{where} is not a record of Crafter: it has no `{key}`.")
    for key in (*KEYS, *record.keys() & {"step"}):
        if not _is_valid(key, record[key]):
            raise RecordError(f"{where} is damaged: `{key}` can't be {json.dumps(record[key])}.")
    return record


def _is_valid(key: str, value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return False
    return key == "reward" or value >= (1 if key == "length" else 0)


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/score",
        description="The official Crafter score of training episodes, of any program, as JSON: episodes, score (%), "
        "reward, length (steps) and success rates (%) of each file, then mean and standard deviation over the files.",
        epilog="The official protocol takes training episodes within 1M steps: it is not comparable with the score of "
        "a frozen policy (scripts/evaluate). Few episodes bias the score low: compare equal numbers of them.",
    )
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="Crafter's record of episodes, one JSON object a line (stats.jsonl, our episodes.jsonl), a file for each "
        "seed; or an official result (.json: each of its seeds counts as a file); or the folder of a run; runs that go "
        "on from each other count as one",
    )
    parser.add_argument(
        "--budget",
        type=count,
        default=BUDGET,
        metavar="STEPS",
        help=f"environment steps; an episode that ends later is left out (default: {BUDGET})",
    )
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    try:
        print(json.dumps(score_files(options.files, options.budget), indent=1, allow_nan=False))
    except RecordError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
