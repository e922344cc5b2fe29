"""`scripts/score FILE...`: the official score of training episodes on Crafter (Hafner 2021, arXiv 2109.06780).

Episodes that end within the budget of environment steps count; one that crosses it is dropped. The published standard
deviations over seeds are those of the population (`ddof=0`), and so are these.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, Field, create_model

from sheeprl_dnp.arguments import command_parser, count, one_sentence
from sheeprl_dnp.checks import check
from sheeprl_dnp.envs.crafter_score import ACHIEVEMENTS, BUDGET, PREFIX, score
from sheeprl_dnp.episodes import FILE_NAME, read_versions, resume_checkpoint, resumed_from
from sheeprl_dnp.report.lineage import trainings
from sheeprl_dnp.runs import ConfigError

COLUMNS = [PREFIX + name for name in ACHIEVEMENTS]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False, description="a finite number")]
Count = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, description="a number from 0")]
Length = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=1, description="a number from 1")]
FIELDS: dict[str, Any] = {"length": (Length, ...), "reward": (Finite, ...), "step": (Count, 0)}
FIELDS |= dict.fromkeys(COLUMNS, (Count, ...))
Episode: type[BaseModel] = create_model("Episode", **FIELDS)


def unlocked(episodes: pd.DataFrame) -> pd.DataFrame:
    """Which achievements each episode unlocked at least once: 0 or 1 [episodes, achievements]."""
    return (episodes[COLUMNS] >= 1).astype(float).set_axis(list(ACHIEVEMENTS), axis=1)


def within_budget(episodes: pd.DataFrame, budget: int) -> pd.DataFrame:
    """Those that ended by the step `budget`: by their `step`, or else by the running sum of their lengths."""
    ends = episodes["length"].cumsum()
    return episodes[episodes.get("step", ends).fillna(ends) <= budget]


def summarise(episodes: pd.DataFrame) -> dict[str, Any]:
    """Their number, score and success rates in percent, and mean reward (the records' own) and length in steps."""
    rates = 100 * unlocked(episodes).mean()
    means = episodes[["reward", "length"]].mean().to_dict()
    numbers = {"episodes": len(episodes), "score": float(score(rates.to_numpy())), **means}
    return numbers | {"success_rates": rates.to_dict()}


def score_files(paths: Sequence[Path], budget: int) -> dict[str, Any]:
    """The `summarise` of each file (of each seed, in results of several), and mean and standard deviation over them.

    Raises:
        ConfigError: a file can't be read, or has no episode within the budget.
    """
    files = {}
    for name, records in read_records(paths):
        episodes = within_budget(pd.DataFrame(records, columns=None if records else ["length"]), budget)
        if episodes.empty:
            raise ConfigError(f"`{name}` has no episode that ended within the budget of {budget:,} steps.")
        files[name] = summarise(episodes)
    numbers = pd.DataFrame(list(files.values()))
    rates = pd.DataFrame(numbers.pop("success_rates").tolist())
    mean = numbers.mean().to_dict() | {"success_rates": rates.mean().to_dict()}
    std = numbers.std(ddof=0).to_dict() | {"success_rates": rates.std(ddof=0).to_dict()}
    return {"budget": budget, "files": files, "mean": mean, "std": std}


def read_records(paths: Sequence[Path]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The episodes of each seed that files have, with a name for it.

    Args:
        paths: records, one JSON object a line; `.json`, official results of one or more seeds; or folders of runs of
            ours: of those that go on from each other the episodes are put together.

    Raises:
        ConfigError: one can't be read, or has something else.
    """
    runs = [path for path in paths if _is_of_a_run(path)]
    yield from _read_runs(runs)
    for path in paths:
        if path not in runs:
            yield from _read_file(path)


def _is_of_a_run(path: Path) -> bool:
    """Whether it is the folder of a run of ours, one of its versions, or the file of episodes of one."""
    return path.is_dir() or (path.name == FILE_NAME and (path.parent / "config.yaml").is_file())


def _read_runs(paths: Sequence[Path]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    try:
        found = [(name, folders[0], read_versions(folders)) for name, folders in trainings(paths)]
    except ConfigError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        which = ("one of " if len(paths) > 1 else "") + ", ".join(f"`{path}`" for path in paths)
        raise ConfigError(f"{which} has a damaged record of its episodes: {error}.") from error
    for name, first, episodes in found:
        if start := resumed_from(first):
            note = f"`{name}` begins at step {start:,}, from `{resume_checkpoint(first)}`: name that run, too."
            print(note, file=sys.stderr)
        yield name, [_checked(record, f"`{name}`, episode {n}") for n, record in enumerate(episodes, 1)]


def _read_file(path: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    try:
        content = path.read_text()
    except OSError as error:
        raise ConfigError(f"`{path}` can't be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"`{path}` is not text: it must have the record of an episode a line.") from error
    if path.suffix == ".json":
        yield from _read_results(_json(content, f"`{path}`"), path)
    else:
        lines = {f"`{path}`, line {n}": line for n, line in enumerate(content.split("\n"), 1) if line.strip()}
        yield str(path), [_checked(_json(line, where), where) for where, line in lines.items()]


def _read_results(content: Any, path: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Of a dict of lists for each seed: `xs` (end steps), `length`, `reward`, `achievement_...`."""
    keys = {"xs": "step"} | {key: key for key in ("length", "reward", *COLUMNS)}
    for index, seed in enumerate(content if isinstance(content, list) else [content]):
        where = f"`{path}`, seed {index}"
        if not isinstance(seed, dict) or not all(isinstance(seed.get(key), list) for key in keys):
            allowed = f"it needs lists `xs`, `length`, `reward`, `{PREFIX}…`"
            raise ConfigError(f"{where} is not a result of Crafter: {allowed}.")
        if len({len(seed[key]) for key in keys}) > 1:
            raise ConfigError(f"{where} is damaged: its lists differ in length.")
        episodes = pd.DataFrame({name: seed[key] for key, name in keys.items()}, dtype=object).to_dict("records")
        yield f"{path}, seed {index}", [_checked(e, f"{where}, episode {n}") for n, e in enumerate(episodes, 1)]


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigError(f"{where} is damaged: it is not JSON ({error.msg}).") from error


def _checked(record: Any, where: str) -> dict[str, Any]:
    """
    Raises:
        ConfigError: it isn't the record of an episode on Crafter, which `where` names.
    """
    if not isinstance(record, dict):
        raise ConfigError(f"{where} is damaged: it is not a JSON object.")
    try:
        check(Episode, record)
    except ConfigError as error:
        raise ConfigError(f"{where} is not the record of an episode on Crafter: {error}") from error
    return record


EPILOG = """examples:
  scripts/score logs/runs/dreamer_v3_ponder/crafter_reward/RUN            a run of ours
  scripts/score seed1/stats.jsonl seed2/stats.jsonl                       seeds of another program
  scripts/score human.json --budget 100000                                an official result, at another budget

Prints episodes, score (%), reward, length (steps) and success rates (%) of each file, then mean and standard deviation
over the files, in seconds. The official protocol takes training episodes within 1M steps: it is not comparable with the
score of a frozen policy (scripts/evaluate). Few episodes bias the score low: compare equal numbers of them.
"""


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = command_parser(
        "score", "The official Crafter score of training episodes, of any program, as JSON.", EPILOG
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


@one_sentence()
def main(arguments: list[str] | None = None) -> None:
    options = parse_arguments(arguments)
    print(json.dumps(score_files(options.files, options.budget), indent=1, allow_nan=False))


if __name__ == "__main__":
    main()
