"""In what the configurations of the runs differ: between the arms, seed by seed, and between the seeds."""

from collections.abc import Sequence

import pandas as pd

from sheeprl_dnp.report.records import CONFIG
from sheeprl_dnp.report.tables import RUN, Study

ABSENT = "(absent)"


def configurations(study: Study) -> pd.DataFrame:
    """Of all the runs that have started: [runs, keys], each value as text."""
    keys = [name for name in study.runs if name.startswith(CONFIG)]
    configs = study.runs.set_index(RUN)[keys].dropna(how="all")
    return configs.fillna(ABSENT).rename(columns=lambda name: name.removeprefix(CONFIG))


def compared_seeds(configs: pd.DataFrame) -> list[int]:
    """Those that at least two arms have."""
    counts = configs.index.get_level_values("seed").value_counts()
    return sorted(counts[counts > 1].index)


def differences(configs: pd.DataFrame) -> pd.DataFrame:
    """A line for each key that differs between arms of the same seed, or seeds of the same arm, a column for each arm.

    A value that is the seed itself may change with it.
    """
    compared, lines = compared_seeds(configs), {}
    for key in sorted(configs):
        values = configs[key].unstack("seed")
        seeds = [seed for seed in values if values[seed].nunique() > 1]
        between_seeds = any(_changes_by_itself(values.loc[arm]) for arm in values.index)
        if seeds or between_seeds:
            note = "" if seeds == compared else f" ({_named(seeds)} only)" if seeds else " (between seeds)"
            shown = values if between_seeds else values[seeds]
            lines[f"`{key}`{note}"] = {arm: _cell(shown.loc[arm].dropna()) for arm in values.index}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("key")


def _changes_by_itself(by_seed: pd.Series) -> bool:
    known = by_seed.dropna()
    return known.nunique() > 1 and any(value != str(seed) for seed, value in known.items())


def _cell(by_seed: pd.Series) -> str:
    """The value, or the different ones with their seeds."""
    groups = {value: list(by_seed.index[by_seed == value]) for value in by_seed.unique()}
    if len(groups) == 1:
        return f"`{next(iter(groups))}`"
    return ", ".join(f"`{value}` ({_named(seeds)})" for value, seeds in groups.items())


def _named(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
