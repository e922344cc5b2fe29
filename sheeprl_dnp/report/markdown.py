"""The text of a report: `report.md`, from the template `report.md.jinja` and tables of text."""

from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from sheeprl_dnp.report.configuration import compared_seeds, differences
from sheeprl_dnp.report.records import LEFT_OUT
from sheeprl_dnp.report.results import BY_DIFFICULTY, DREAM, FORCED, Results, rules_of
from sheeprl_dnp.report.tables import TRAINING, run_names
from sheeprl_dnp.studies import OWN_RULE

NONE = "–"  # noqa: RUF001
CORRELATIONS = {
    "spearman_of_means": "of the mean ponder steps at each difficulty",
    "spearman_of_first_means": "of those of the first action",
    "spearman_of_episodes": "of the ponder steps of an episode",
}
LESS = {
    FORCED: "{to} steps less that with {from}",
    OWN_RULE: "own rule less that with its steps shuffled",
    DREAM: "{label} less {less}",
}


def markdown(results: Results, captions: dict[str, str]) -> str:
    """
    Args:
        captions: by the file name of the figure.
    """
    loader = PackageLoader("sheeprl_dnp.report", ".")
    environment = Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters["table"] = table
    tables = (pairs_tables, rules_table, gains_table, difficulty_table, correlations, differences, machines)
    environment.globals |= {made.__name__: made for made in (*tables, cells, unpaired, compared_seeds)}
    return environment.get_template("report.md.jinja").render(results=results, captions=captions, left_out=LEFT_OUT)


def table(cells: pd.DataFrame) -> str:
    """In Markdown: the index is the first column, and its name the heading of that."""
    lines = [[cells.index.name or "", *cells.columns], ["---", *("--:" for _ in cells.columns)]]
    lines += [[name, *row] for name, row in zip(cells.index, cells.fillna(NONE).to_numpy(), strict=True)]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def text(value: float, digits: int = 2, scale: float = 1) -> str:
    """The last digits, which depend on the processor, don't decide how it is rounded."""
    return NONE if pd.isna(value) else f"{float(f'{value * scale:.10g}'):,.{digits}f}"


def texts(estimates: pd.DataFrame) -> pd.DataFrame:
    """With `text`: the value, with its 95 % interval."""
    rows = estimates[["value", "low", "high"]].itertuples(index=False)
    return estimates.assign(text=[_with_interval(*row) for row in rows])


def _with_interval(value: float, low: float, high: float) -> str:
    interval = "(1 seed)" if pd.isna(low) else f"[{text(low)}, {text(high)}]"
    return NONE if pd.isna(value) else f"{text(value)} {interval}"


def cells(
    results: Results,
    measure: str,
    rule: str | None = None,
    statistic: str = "mean",
    digits: int | None = None,
    scale: float = 1,
) -> list[str]:
    """A cell for each arm, with an interval unless `digits` are named; none where no arm has one."""
    keys: dict[str, Any] = {"rule": rule} if rule else {}
    keys |= {"than": results.study.first} if statistic in ("difference", "improvement") else {}
    found = texts(results.rows(measure, statistic=statistic, **keys)).set_index("arm")
    shown = found["text"] if digits is None else found["value"].map(lambda value: text(value, digits, scale))
    return shown.reindex(results.arms, fill_value=NONE).tolist() if len(found) else []


def unpaired(results: Results) -> list[str]:
    """Which arms' differences are of fewer runs than the arm has, since the first arm lacks their seeds."""
    first, said = results.study.first, []
    for rule, part in {TRAINING: "training", OWN_RULE: "frozen"}.items():
        runs = results.runs.reindex(columns=[f"{rule}_return"]).squeeze(axis=1)
        has = runs.unstack("seed").reindex(results.arms).notna()
        own, shared = has.sum(axis=1), (has & has.loc[first]).sum(axis=1)
        for arm in results.arms[1:] if own[first] else []:
            if own[arm] and not shared[arm]:
                said.append(f"{arm}, {part}: unpaired, since it shares no seed with {first}")
            elif shared[arm] < own[arm]:
                said.append(f"{arm}, {part}: of {shared[arm]} of its {own[arm]} seeds")
    return said


def pairs_tables(results: Results) -> dict[str, pd.DataFrame]:
    """A line for each arm, a column for each of those before it: the difference of the line's arm from the column's."""
    frozen = results.rows("return", by=("difficulty",), statistic="difference", rule=OWN_RULE)
    hardest = frozen["difficulty"].max()
    compared = {
        "Score of the training episodes (%)": results.rows("score", statistic="difference", rule=TRAINING),
        "Return of an episode, frozen policy": results.rows("return", statistic="difference", rule=OWN_RULE),
    }
    if results.counts.index.unique("difficulty").size > 1:
        title = f"Return of an episode of the highest difficulty, {hardest:g}, frozen policy"
        compared[title] = frozen[frozen["difficulty"] == hardest]
    return {
        title: texts(pairs).pivot(index="arm", columns="than", values="text").fillna("").rename_axis("less")
        for title, pairs in compared.items()
        if len(pairs)
    }


def rules_table(results: Results, alone: bool = False) -> pd.DataFrame:
    """The return of each arm that was also played by other rules than its own, or of any (`alone`)."""
    returns = texts(results.returns())
    others = returns.loc[returns["rule"] != OWN_RULE, "arm"]
    shown = returns if alone else returns[returns["arm"].isin(others)]
    names = {arm: f"{arm} (trained with N = {results.study.trained_steps.get(arm, 1)})" for arm in results.arms}
    found = shown.pivot(index="arm", columns="label", values="text").rename(index=names)
    return found[list(dict.fromkeys(shown["label"]))]


def gains_table(results: Results) -> pd.DataFrame:
    """What more ponder steps, and their choice, bring: a line for each arm and pair, a column for each difficulty."""
    rules = rules_of(results.gains[["from", "to"]].stack()).set_index("rule")
    less = results.gains["from"].map({**rules["label"], OWN_RULE: "by its own rule"})
    gains = texts(results.gains).assign(less=less).join(rules, on="to")
    pairs = [LESS[gain["kind"]].format_map(gain) for _, gain in gains.iterrows()]
    levels = gains["difficulty"].map("difficulty {:g}".format, na_action="ignore").fillna("all episodes")
    lines = gains.assign(pair=pairs, level=levels).groupby(["arm", "pair", "level"], sort=False)["text"].first()
    columns = list(dict.fromkeys(levels))
    cells = lines.unstack("level").reindex(index=lines.index.droplevel("level").unique(), columns=columns)
    return cells.reset_index("pair").rename(columns={"pair": "return with"})


def difficulty_table(results: Results) -> pd.DataFrame:
    """A line for each arm and difficulty, a column for each measure."""
    first, keys = results.study.first, ["arm", "difficulty"]
    levels = texts(results.rows(by=("difficulty",), rule=OWN_RULE))
    found = levels.pivot(index=keys, columns="measure", values="text")
    against = texts(results.rows("return", by=("difficulty",), rule=OWN_RULE, statistic="difference", than=first))
    counts = [f"{n:,.0f} ({text(worlds, 0)})" for n, worlds in results.counts.reindex(found.index).to_numpy()]
    headings = {measure: BY_DIFFICULTY[measure][0] for measure in results.told_apart}
    cells = found.reindex(columns=list(headings)).rename(columns=headings).reset_index("difficulty")
    if len(cells):
        cells["difficulty"] = cells["difficulty"].map("{:g}".format)
        cells.insert(1, f"episodes ({results.study.kind_of_world})", counts)
        cells.insert(3, f"difference from {first}", against.set_index(keys)["text"].reindex(found.index).to_numpy())
    return cells


def correlations(results: Results) -> pd.DataFrame:
    """Of ponder steps with difficulty, by arm and `name`, with the number of `runs` of the arm."""
    runs = results.rows("return", rule=OWN_RULE).set_index("arm")["n"].rename("runs")
    found = texts(results.rows(rule=OWN_RULE)).join(runs, on="arm")
    names = pd.Series(CORRELATIONS, name="name")
    return names.to_frame().join(found.set_index("measure"), how="inner")


def machines(results: Results) -> dict[str, str]:
    """The runs on each machine."""
    runs = results.study.finished.dropna(subset="machines")
    names = pd.DataFrame({"machine": runs["machines"].str.split(" | ", regex=False), "run": run_names(runs)})
    return names.explode("machine").groupby("machine", sort=False)["run"].agg(", ".join).to_dict()
