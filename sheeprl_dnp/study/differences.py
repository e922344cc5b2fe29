"""In what the resolved configurations of the arms differ, seed by seed."""

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
    """Of configurations by arm and seed, the keys that differ between arms of the same seed.

    Returns:
        For each: `key`, `seeds` where it differs, and `values` in those seeds: by arm, then by seed.
    """
    flat = {arm: {seed: dict(_leaves(cfg)) for seed, cfg in seeds.items()} for arm, seeds in configs.items()}
    found: dict[str, dict[str, Any]] = {}
    for seed in sorted({seed for seeds in flat.values() for seed in seeds}):
        arms = {arm: seeds[seed] for arm, seeds in flat.items() if seed in seeds}
        for key in dict.fromkeys(key for leaves in arms.values() for key in leaves):
            values = {arm: leaves.get(key, ABSENT) for arm, leaves in arms.items()}
            if len({json.dumps(value, sort_keys=True, default=str) for value in values.values()}) > 1:
                entry = found.setdefault(key, {"key": key, "seeds": [], "values": {}})
                entry["seeds"].append(seed)
                for arm, value in values.items():
                    entry["values"].setdefault(arm, {})[seed] = value
    return sorted(found.values(), key=lambda entry: entry["key"])


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
