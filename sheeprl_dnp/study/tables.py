"""The tables of a report, in Markdown and CSV."""

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED

Results = dict[str, Any]
NONE = "–"  # noqa: RUF001


@dataclass(frozen=True)
class Row:
    label: str
    path: str  # of the value in the results of an arm
    show: Callable[[Any], str]


def estimate(value: Results | None, scale: float = 1, digits: int = 2) -> str:
    """With its 95 % interval."""
    if value is None:
        return NONE
    text = f"{value['value'] * scale:,.{digits}f}"
    if value["low"] is None:
        return f"{text} (1 seed)"
    return f"{text} [{value['low'] * scale:,.{digits}f}, {value['high'] * scale:,.{digits}f}]"


def number(digits: int = 0, scale: float = 1) -> Callable[[float | None], str]:
    return lambda value: NONE if value is None else f"{value * scale:,.{digits}f}"


def main_rows(results: Results) -> list[Row | str]:
    """The rows of the main table; a string is the heading of those after it."""
    first = next(iter(results["arms"]))
    official = " (the official protocol of Crafter)" if results["plays_crafter"] else ""
    fewest = f"score of {results['fewest_episodes']} episodes a run, drawn at random (%)"
    return [
        f"Training episodes within the first {results['budget']:,} steps{official}",
        Row("episodes a run", "training.episodes.mean.value", number()),
        *_comparison("score (%)", "training.score", first),
        Row(fewest, "training.score_of_equal_episodes.mean", estimate),
        *_comparison("reward of an episode", "training.reward", first),
        Row("length of an episode (steps)", "training.length.mean.value", number(1)),
        "Frozen policy (not comparable with the above)",
        *_comparison("score (%)", "frozen.score", first),
        *_comparison("reward of an episode", "frozen.reward", first),
        Row("length of an episode (steps)", "frozen.length.mean.value", number(1)),
        Row("ponder steps of an action", "frozen.ponder_steps.mean", estimate),
        "Cost",
        Row("parameters of the agent", "cost.parameters.agent", number()),
        Row("parameters of the actor", "cost.parameters.actor", number()),
        Row("MFLOPs per action, at the mean ponder steps", "cost.flops_per_action", number(3, 1e-6)),
        Row("GFLOPs per gradient step", "cost.flops_per_gradient_step", number(3, 1e-9)),
        Row("gradient steps", "cost.gradient_steps", number()),
        Row("wall time of a training (h)", "cost.wall_s", number(2, 1 / 3600)),
        Row("CPU time of a training (h)", "cost.cpu_s", number(2, 1 / 3600)),
        Row("time of a decision, evaluated (ms, median)", "frozen.latency_ms.mean", estimate),
    ]


def main_table(results: Results) -> list[str]:
    arms, finished = results["arms"], results["runs"]["of"] // len(results["arms"])
    lines = [*_header(["", *(f"`{arm}`" for arm in arms)])]
    lines.append(_line(["seeds finished", *(f"{len(arm['seeds'])} of {finished}" for arm in arms.values())]))
    for row in main_rows(results):
        if isinstance(row, str):
            lines.append(_line([f"**{row}**", *("" for _ in arms)]))
            continue
        cells = [row.show(_at(arm, row.path)) for arm in arms.values()]
        if set(cells) != {NONE}:
            lines.append(_line([row.label, *cells]))
    return lines


def pairs_table(pairs: Sequence[Results]) -> list[str]:
    """A line for each arm, a column for each of those before it: the difference of the line's arm from the column's."""
    arms, others = (list(dict.fromkeys(pair[key] for pair in pairs)) for key in ("arm", "than"))
    differences = {(pair["arm"], pair["than"]): pair["difference"] for pair in pairs}
    lines = _header(["less", *(f"`{other}`" for other in others)])
    for arm in arms:
        cells = [estimate(differences[arm, other]) if (arm, other) in differences else "" for other in others]
        lines.append(_line([f"`{arm}`", *cells]))
    return lines


def forced_table(results: Results) -> list[str]:
    """Return against the number of ponder steps, by the own rule, and with its steps shuffled."""
    arms = {name: arm for name, arm in results["arms"].items() if arm["forced_steps"] or arm["shuffled"]}
    steps = sorted({entry["steps"] for arm in arms.values() for entry in arm["forced_steps"]})
    paths = {"own rule": "frozen.reward.mean"}
    if any(arm["shuffled"] for arm in arms.values()):
        paths["shuffled"] = "shuffled.reward"
    lines = [*_header(["arm", *paths, *(f"{n} step{'s' * (n > 1)}" for n in steps)])] if arms else []
    for name, arm in arms.items():
        forced = {entry["steps"]: entry["reward"] for entry in arm["forced_steps"]}
        values = (*(_at(arm, path) for path in paths.values()), *(forced.get(n) for n in steps))
        cells = [estimate(value) for value in values]
        lines.append(_line([f"`{name}` (trained with N = {arm['trained_steps']})", *cells]))
    return lines


def difficulty_table(results: Results) -> list[str]:
    keys = {
        "reward": "reward of an episode",
        "reward_difference": f"difference from `{next(iter(results['arms']))}`",
        "success": "success",
        "ponder_steps": "ponder steps of an action",
        "first_ponder_steps": "of the first action",
    }
    arms = {name: arm["difficulty"] for name, arm in results["arms"].items() if arm["difficulty"]}
    used = told_apart([level for arm in arms.values() for level in arm["levels"]], keys)
    lines = [*_header(["arm", "difficulty", "episodes (worlds)", *(keys[key] for key in used)])] if arms else []
    for name, arm in arms.items():
        for level in arm["levels"]:
            episodes = f"{level['episodes']:,} ({number()(level['worlds'])})"
            cells = [f"{level['difficulty']:g}", episodes, *(estimate(level.get(key)) for key in used)]
            lines.append(_line([f"`{name}`", *cells]))
    return lines


def told_apart(levels: Sequence[Results], keys: Iterable[str]) -> list[str]:
    """Of the keys those that the levels have, without a `success` that is the same as the `reward`."""
    used = [key for key in keys if any(key in level for level in levels)]
    same = all(level.get("success") == level["reward"] for level in levels)
    return [key for key in used if key != "success" or not same]


def gains_table(results: Results) -> list[str]:
    """What more ponder steps, and their choice, bring: a line for each arm and pair, a column for each difficulty."""
    arms = {name: arm["forced_gains"] for name, arm in results["arms"].items() if arm["forced_gains"]}
    levels = sorted({gain["difficulty"] for gains in arms.values() for gain in gains} - {None})
    heading = ["arm", "return with", "all episodes", *(f"difficulty {level:g}" for level in levels)]
    lines = _header(heading) if arms else []
    for name, gains in arms.items():
        for less, more in dict.fromkeys((gain["from"], gain["to"]) for gain in gains):
            by_level = {g["difficulty"]: g["reward"] for g in gains if (g["from"], g["to"]) == (less, more)}
            cells = [estimate(by_level.get(level)) for level in (None, *levels)]
            pair = (
                "own rule less that with its steps shuffled"
                if less == SHUFFLED
                else f"{more} steps less that with {less}"
            )
            lines.append(_line([f"`{name}`", pair, *cells]))
    return lines


def differences_table(results: Results) -> list[str]:
    """A line for each key that differs, a column for each arm."""
    configuration, arms = results["configuration"], list(results["arms"])
    lines = [*_header(["key", *(f"`{arm}`" for arm in arms)])]
    for entry in configuration["differences"]:
        note = ""
        if not entry["seeds"]:
            note = " (between seeds)"
        elif entry["seeds"] != configuration["seeds"]:
            note = f" ({_seeds(entry['seeds'])} only)"
        key = f"`{entry['key']}`{note}"
        lines.append(_line([key, *(_values(entry["values"].get(arm, {})) for arm in arms)]))
    return lines


def _values(by_seed: Results) -> str:
    """The value, or the different ones with their seeds."""
    seeds: dict[str, list[int]] = {}
    for seed, value in by_seed.items():
        seeds.setdefault(_compact(value), []).append(seed)
    if len(seeds) == 1:
        return f"`{next(iter(seeds))}`"
    return ", ".join(f"`{value}` ({_seeds(which)})" for value, which in seeds.items()) or NONE


def _seeds(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def machine(entry: Results) -> str:
    """One line about a machine, the threads of each run, and the commit of this project."""
    facts = {key: value for key, value in entry["machine"].items() if value is not None}
    parts = [facts.pop("cpu", "unknown CPU"), f"{facts.pop('cores', '?')} cores", facts.pop("gpu", "no GPU")]
    parts += [f"{name} {value}" for name, value in facts.items()]
    return ", ".join([*parts, f"threads of a run: {entry['threads']}, commit {entry['commit']}"])


def csv_table(results: Results) -> str:
    """One line for each arm, with every number of the main table: `training_score_mean_low` and so on."""
    rows = []
    for name, arm in results["arms"].items():
        values = {"arm": name, "seeds_finished": len(arm["seeds"])}
        for key in ("training", "frozen", "cost"):
            values |= dict(_leaves(arm[key], key))
        rows.append(values)
    columns = list(dict.fromkeys(key for row in rows for key in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _comparison(label: str, path: str, first: str) -> list[Row]:
    name = label.split(" (")[0]
    return [
        Row(f"{label}: mean", f"{path}.mean", estimate),
        Row(f"{name}: standard deviation over seeds", f"{path}.std", number(2)),
        Row(f"{name}: interquartile mean", f"{path}.iqm", estimate),
        Row(f"{name}: difference from `{first}`", f"{path}.difference", estimate),
        Row(f"{name}: probability of improvement over `{first}`", f"{path}.probability_of_improvement", estimate),
    ]


def _at(tree: Any, path: str) -> Any:
    """The value of a nested dict at `key.key`; None where there is none."""
    for key in path.split("."):
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _leaves(tree: Any, name: str) -> Iterator[tuple[str, Any]]:
    if not isinstance(tree, dict):
        yield name, tree
        return
    for key, value in tree.items():
        yield from _leaves(value, f"{name}_{key}")


def _compact(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value).replace('"', "")


def _header(cells: list[str]) -> list[str]:
    return [_line(cells), _line(["---", *("--:" for _ in cells[1:])])]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
