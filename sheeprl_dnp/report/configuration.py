"""In what the configurations of the runs differ: between the arms, seed by seed, and between the seeds."""

from collections.abc import Sequence

import pandas as pd

from sheeprl_dnp.report.records import CONFIG
from sheeprl_dnp.report.tables import RUN, Study

ABSENT = "(absent)"


def configurations(study: Study) -> pd.DataFrame:
    """Of all the runs that have started: [runs, keys], each value as text."""
    configs = study.runs.set_index(RUN).filter(regex=f"^{CONFIG}").dropna(how="all")
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
        seeds = values.columns[values.nunique() > 1].tolist()
        strays = (values.notna() & values.ne(values.columns.astype(str))).any(axis=1) & (values.nunique(axis=1) > 1)
        if seeds or strays.any():
            note = "" if seeds == compared else f" ({_named(seeds)} only)" if seeds else " (between seeds)"
            shown = values if strays.any() else values[seeds]
            lines[f"`{key}`{note}"] = {arm: _cell(by_seed.dropna()) for arm, by_seed in shown.iterrows()}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("key")


def _cell(by_seed: pd.Series) -> str:
    """The value, or the different ones with their seeds."""
    groups = by_seed.groupby(by_seed, sort=False).groups
    return ", ".join(f"`{value}`" + f" ({_named(seeds)})" * (len(groups) > 1) for value, seeds in groups.items())


def _named(seeds: Sequence[int]) -> str:
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
