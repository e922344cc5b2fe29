"""The text of a report: `report.md`, from the template `report.md.jinja` and tables of text."""

from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED
from sheeprl_dnp.report import configuration
from sheeprl_dnp.report.records import LEFT_OUT
from sheeprl_dnp.report.results import Results, lookahead, steps_of
from sheeprl_dnp.report.tables import TRAINING, run_names
from sheeprl_dnp.studies import OWN_RULE

NONE = "–"  # noqa: RUF001
PAIRS = "Return of an episode, frozen policy"
BY_DIFFICULTY = {  # headings
    "return": "return of an episode",
    "success": "success",
    "ponder_steps": "ponder steps of an action",
    "first_ponder_steps": "of the first action",
}


def markdown(results: Results, captions: dict[str, str]) -> str:
    """
    Args:
        captions: by the file name of the figure.
    """
    loader = PackageLoader("sheeprl_dnp.report", ".")
    environment = Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters["table"] = table
    fewest = results.values.query("measure == 'episodes' and difficulty.isna()")
    return environment.get_template("report.md.jinja").render(
        results=results,
        study=results.study,
        captions=captions,
        cells=lambda *keys: cells(results, *keys),
        lengths=sorted(results.study.finished["steps"].astype(int).unique()),
        fewest=int(fewest.loc[fewest["rule"] == TRAINING, "value"].min()) if len(fewest) else 0,
        unpaired=unpaired(results),
        pairs=pairs_tables(results),
        rules=rules_table(results),
        gains=gains_table(results),
        levels=difficulty_table(results),
        correlations=correlations(results),
        elsewhere={name: elsewhere_tables(there) for name, there in results.elsewhere.items()},
        compared=configuration.compared_seeds(results.configurations),
        left_out=LEFT_OUT,
        without=[arm for arm in results.arms if arm not in results.configurations.index.get_level_values("arm")],
        differences=configuration.differences(results.configurations),
        machines=machines(results),
    )


def table(cells: pd.DataFrame) -> str:
    """In Markdown: the index is the first column, and its name the heading of that."""
    lines = [[cells.index.name or "", *cells.columns], ["---", *("--:" for _ in cells.columns)]]
    lines += [[name, *row] for name, row in zip(cells.index, cells.fillna(NONE).to_numpy(), strict=True)]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def text(value: float, digits: int = 2, scale: float = 1) -> str:
    """The last digits, which depend on the processor, don't decide how it is rounded."""
    return NONE if pd.isna(value) else f"{float(f'{value * scale:.10g}'):,.{digits}f}"


def shown(estimate: pd.Series) -> str:
    """An estimate, with its 95 % interval."""
    if pd.isna(estimate["value"]):
        return NONE
    interval = f"[{text(estimate['low'])}, {text(estimate['high'])}]"
    return f"{text(estimate['value'])} {'(1 seed)' if pd.isna(estimate['low']) else interval}"


def texts(estimates: pd.DataFrame) -> pd.DataFrame:
    return estimates.assign(text=[shown(row) for _, row in estimates.iterrows()])


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
        known = results.values[results.values["rule"] == rule].query("measure == 'return' and difficulty.isna()")
        has = known.pivot(index="arm", columns="seed", values="value").reindex(results.arms).notna()
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
        PAIRS: results.rows("return", statistic="difference", rule=OWN_RULE),
    }
    if results.counts.index.unique("difficulty").size > 1:
        title = f"Return of an episode of the highest difficulty, {hardest:g}, frozen policy"
        compared[title] = frozen[frozen["difficulty"] == hardest]
    tables = {}
    for title, pairs in compared.items():
        found = texts(pairs).pivot(index="arm", columns="than", values="text").fillna("")
        rows, columns = ([arm for arm in results.arms if arm in axis] for axis in (found.index, found.columns))
        tables[title] = found.loc[rows, columns].rename_axis("less")
    return {title: cells for title, cells in tables.items() if len(cells)}


def title(actions: int) -> str:
    """Of the rule that looks ahead at so many actions."""
    return f"best of {actions}, dreamed"


def rules_table(results: Results, alone: bool = False) -> pd.DataFrame:
    """The return of each arm that was also played by other rules than its own, or of any (`alone`)."""
    returns = texts(results.rows("return", by=("rule",))).query("rule != @TRAINING")
    found = returns.pivot(index="arm", columns="rule", values="text")
    rules = {OWN_RULE: "own rule", SHUFFLED: "shuffled"}
    rules |= {rule: f"{n} step{'s' * (n > 1)}" for rule, n in steps_of(returns["rule"]).items()}
    rules |= {rule: title(n) for rule, n in lookahead(returns["rule"]).items()}
    used = [rule for rule in rules if rule in found]
    others = found.drop(columns=OWN_RULE, errors="ignore").notna().any(axis=1)
    arms = [arm for arm in results.arms if arm in found.index and (alone or others[arm])]
    trained = [results.study.trained_steps.get(arm, 1) for arm in arms]
    labels = [f"{arm} (trained with N = {steps})" for arm, steps in zip(arms, trained, strict=True)]
    return found.loc[arms, used].set_axis(labels).rename_axis("arm").rename(columns=rules)


def elsewhere_tables(results: Results) -> dict[str, pd.DataFrame]:
    """Of the frozen policies in another environment, by their titles."""
    tables = {
        "Return": rules_table(results, alone=True),
        "The arm of the line less that of the column": pairs_tables(results).get(PAIRS, pd.DataFrame()),
        "What the one brings over the other": gains_table(results),
        "By difficulty of the episode": difficulty_table(results),
    }
    return {title: cells for title, cells in tables.items() if len(cells)}


def gains_table(results: Results) -> pd.DataFrame:
    """What more ponder steps, and their choice, bring: a line for each arm and pair, a column for each difficulty."""
    gains = texts(results.gains)
    pairs = gains["to"] + " steps less that with " + gains["from"]
    pairs = pairs.where(gains["from"] != SHUFFLED, "own rule less that with its steps shuffled")
    for rule, n in lookahead(gains["to"]).items():
        pairs = pairs.where(gains["to"] != rule, f"{title(n)} less by its own rule")
    levels = gains["difficulty"].map("difficulty {:g}".format, na_action="ignore").fillna("all episodes")
    lines = gains.assign(pair=pairs, level=levels).groupby(["arm", "pair", "level"], sort=False)["text"].first()
    columns = list(dict.fromkeys(levels))
    cells = lines.unstack("level").reindex(index=lines.index.droplevel("level").unique(), columns=columns)
    return cells.reset_index("pair").rename(columns={"pair": "return with"})


def difficulty_table(results: Results) -> pd.DataFrame:
    first = results.study.first
    levels = texts(results.rows(by=("difficulty",), rule=OWN_RULE))
    found = levels.pivot(index=["arm", "difficulty"], columns="measure", values="text")
    against = texts(results.rows("return", by=("difficulty",), rule=OWN_RULE, statistic="difference", than=first))
    counts = results.counts.reindex(found.index)
    cells = pd.DataFrame({"difficulty": [f"{level:g}" for _, level in found.index]}, found.index)
    cells[f"episodes ({results.study.kind_of_world})"] = [
        f"{n:,} ({text(worlds, 0)})" for n, worlds in counts.to_numpy()
    ]
    for measure in results.told_apart:
        cells[BY_DIFFICULTY[measure]] = found[measure]
        if measure == "return":
            cells[f"difference from {first}"] = against.set_index(found.index.names)["text"]
    return cells.reindex(results.arms, level="arm").droplevel("difficulty") if len(cells) else cells


def correlations(results: Results) -> dict[str, str]:
    """By arm, of those whose episodes have a difficulty."""
    names = {
        "spearman_of_means": "of the mean ponder steps at each difficulty",
        "spearman_of_first_means": "of those of the first action",
        "spearman_of_episodes": "of the ponder steps of an episode",
    }
    runs = results.rows("return", rule=OWN_RULE).set_index("arm")["n"]
    said: dict[str, list[str]] = {arm: [] for arm in results.arms if arm in results.counts.index.unique("arm")}
    for measure, name in names.items():
        for _, rho in results.rows(measure, rule=OWN_RULE).iterrows():
            arm, n = rho["arm"], rho["n"]
            said[arm].append(f"{shown(rho)} {name}" + (f" ({n:.0f} of {runs[arm]:.0f} runs)" if n < runs[arm] else ""))
    undefined = "not defined, since the ponder steps or the difficulties never vary"
    return {arm: "; ".join(parts) or undefined for arm, parts in said.items()}


def machines(results: Results) -> dict[str, str]:
    """The runs on each machine."""
    runs = results.study.finished.dropna(subset="machines")
    names = pd.DataFrame({"machine": runs["machines"].str.split(" | ", regex=False), "run": run_names(runs)})
    return names.explode("machine").groupby("machine", sort=False)["run"].agg(", ".join).to_dict()
