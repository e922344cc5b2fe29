"""In what the resolved configurations of the runs differ: between the arms, seed by seed, and between the seeds."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

# Left out: names and paths, which never change what is computed, and the list of what is logged
LEFT_OUT = (
    "exp_name",
    "run_name",
    "root_dir",
    "log_root",
    "metric.logger.name",
    "metric.logger.root_dir",
    "metric.aggregator.metrics",
    "model_manager.models",
    "checkpoint.resume_from",
)
ABSENT = "(absent)"

Config = Mapping[str, Any]


def differences(configs: Mapping[str, Mapping[int, Config]]) -> list[dict[str, Any]]:
    """Of configurations by arm and seed, the keys that differ between arms of the same seed, or seeds of the same arm.

    A value that is the seed itself may change with it.

    Returns:
        For each: `key`, `seeds` where it differs between the arms (none: only between seeds), and `values`: by arm,
        then by seed, of those seeds, or of all where it differs between seeds.
    """
    flat = {arm: {seed: dict(_leaves(cfg)) for seed, cfg in seeds.items()} for arm, seeds in configs.items()}
    found: dict[str, dict[str, Any]] = {}
    for seed in sorted({seed for seeds in flat.values() for seed in seeds}):
        arms = {arm: seeds[seed] for arm, seeds in flat.items() if seed in seeds}
        for key in dict.fromkeys(key for leaves in arms.values() for key in leaves):
            values = {arm: leaves.get(key, ABSENT) for arm, leaves in arms.items()}
            if len(set(map(_text, values.values()))) > 1:
                entry = found.setdefault(key, {"key": key, "seeds": [], "values": {}})
                entry["seeds"].append(seed)
                for arm, value in values.items():
                    entry["values"].setdefault(arm, {})[seed] = value
    for key, values in _changes(flat).items():
        found.setdefault(key, {"key": key, "seeds": []})["values"] = values
    return sorted(found.values(), key=lambda entry: entry["key"])


def _changes(flat: Mapping[str, Mapping[int, Config]]) -> dict[str, dict[str, dict[int, Any]]]:
    """The keys that differ between seeds of the same arm, with all their values by arm and seed."""
    values: dict[str, dict[str, dict[int, Any]]] = {}
    for arm, seeds in flat.items():
        for key in dict.fromkeys(key for leaves in seeds.values() for key in leaves):
            values.setdefault(key, {})[arm] = {seed: leaves.get(key, ABSENT) for seed, leaves in seeds.items()}
    return {key: arms for key, arms in values.items() if any(map(_changes_by_itself, arms.values()))}


def _changes_by_itself(by_seed: Mapping[int, Any]) -> bool:
    return len(set(map(_text, by_seed.values()))) > 1 and any(value != seed for seed, value in by_seed.items())


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=str)


def compared_seeds(configs: Mapping[str, Mapping[int, Config]]) -> list[int]:
    """Those that at least two arms have."""
    seeds = [seed for arm in configs.values() for seed in arm]
    return sorted({seed for seed in seeds if seeds.count(seed) > 1})


def _leaves(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if key in LEFT_OUT:
        return
    if not isinstance(tree, Mapping) or not tree:
        yield key, tree
        return
    for name, value in tree.items():
        yield from _leaves(value, f"{key}.{name}" if key else str(name))
