"""The text of a report: `report.md`, from the template `report.md.jinja` and tables of text."""

from collections.abc import Callable

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from sheeprl_dnp.dreamer_v3_ponder.config import SHUFFLED
from sheeprl_dnp.report import configuration, frozen
from sheeprl_dnp.report.records import LEFT_OUT
from sheeprl_dnp.report.results import Results
from sheeprl_dnp.studies import OWN_RULE

NONE = "–"  # noqa: RUF001
SEED = "(1 seed)"

# Of the frozen policies by difficulty: the measure, and its heading
BY_DIFFICULTY = {
    "return": "reward of an episode",
    "success": "success",
    "ponder_steps": "ponder steps of an action",
    "first_ponder_steps": "of the first action",
}
CORRELATIONS = {
    "means": "of the mean ponder steps at each difficulty",
    "first_means": "of those of the first action",
    "episodes": "of the ponder steps of an episode",
}


def markdown(results: Results, captions: dict[str, str]) -> str:
    """
    Args:
        captions: by the file name of the figure.
    """
    loader = PackageLoader("sheeprl_dnp.report", ".")
    environment = Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters |= {"table": table, "code": lambda names: ", ".join(f"`{name}`" for name in names)}
    configs = results.configurations
    return environment.get_template("report.md.jinja").render(
        results=results,
        study=results.study,
        captions=captions,
        lengths=sorted({int(steps) for steps in results.study.finished["steps"]}),
        fewest=_fewest(results),
        main=main_table(results),
        unpaired=unpaired(results),
        pairs={measure: pairs_table(pairs) for measure, pairs in results.between_arms.groupby("measure", sort=False)},
        forced=forced_table(results),
        shuffles=(results.by_rule["rule"] == SHUFFLED).any(),
        gains=gains_table(results),
        levels=difficulty_table(results),
        correlations={arm: correlations(results, arm) for arm in _graded(results)["arm"].unique()},
        compared=configuration.compared_seeds(configs),
        left_out=LEFT_OUT,
        without=[arm for arm in results.arms if arm not in configs.index.get_level_values("arm")],
        differences=configuration.differences(configs),
        machines=_machines(results),
    )


def table(cells: pd.DataFrame) -> str:
    """In Markdown: the index is the first column, and its name the heading of that."""

    def line(values: list[str]) -> str:
        return "| " + " | ".join(str(value).replace("|", "\\|") for value in values) + " |"

    head = [cells.index.name or "", *cells.columns]
    body = [line([name, *row]) for name, row in zip(cells.index, cells.to_numpy(), strict=True)]
    return "\n".join([line(head), line(["---", *("--:" for _ in cells.columns)]), *body])


def shown(value: float, low: float, high: float, n: float) -> str:
    """An estimate, with its 95 % interval."""
    if pd.isna(value):
        return NONE
    show = number(2)
    return f"{show(value)} {SEED}" if pd.isna(low) else f"{show(value)} [{show(low)}, {show(high)}]"


def number(digits: int = 0, scale: float = 1) -> Callable[[float], str]:
    """The last digits, which depend on the processor, don't decide how it is rounded."""
    return lambda value: NONE if pd.isna(value) else f"{float(f'{value * scale:.10g}'):,.{digits}f}"


def texts(estimates: pd.DataFrame) -> pd.Series:
    columns = [estimates[name] for name in ("value", "low", "high", "n")]
    return pd.Series([shown(*row) for row in zip(*columns, strict=True)], estimates.index, dtype=str)


def spread(estimates: pd.DataFrame, index: str, columns: str) -> pd.DataFrame:
    """The texts of estimates, by the values of two of their columns."""
    found = estimates.assign(text=texts(estimates)).pivot(index=index, columns=columns, values="text")
    return filled(found)


def filled(cells: pd.DataFrame) -> pd.DataFrame:
    return cells.astype(object).where(cells.notna(), NONE)


def main_table(results: Results) -> pd.DataFrame:
    """The arms are the columns; a row without cells is the heading of those after it."""
    finished = results.study.finished.groupby("arm", observed=False).size()
    official = " (the official protocol of Crafter)" if results.plays_crafter else ""
    equal = f"score of {_fewest(results)} episodes a run, drawn at random (%)"
    rows = [
        ("seeds finished", finished.map(f"{{}} of {len(results.study.plan.seeds)}".format)),
        (f"**Training episodes within the first {results.budget:,} steps{official}**", _heading(results)),
        ("episodes a run", _numbers(results, "training_episodes", 0)),
        *_comparison(results, "score (%)", "training_score"),
        (equal, _estimates(results, "training_score_of_equal_episodes")),
        *_comparison(results, "reward of an episode", "training_reward"),
        ("length of an episode (steps)", _numbers(results, "training_length", 1)),
        ("**Frozen policy (not comparable with the above)**", _heading(results)),
        *_comparison(results, "score (%)", "frozen_score"),
        *_comparison(results, "reward of an episode", "frozen_reward"),
        ("length of an episode (steps)", _numbers(results, "frozen_length", 1)),
        ("ponder steps of an action", _estimates(results, "frozen_ponder_steps")),
        ("**Cost**", _heading(results)),
        *_costs(results),
        ("time of a decision, evaluated (ms, median)", _estimates(results, "frozen_latency_ms")),
    ]
    cells = pd.DataFrame([row.reindex(results.arms).astype(object) for _, row in rows], [label for label, _ in rows])
    return filled(cells[cells.notna().any(axis=1)]).rename_axis("")


def _heading(results: Results) -> pd.Series:
    return pd.Series("", results.arms)


def _fewest(results: Results) -> int:
    """The training episodes of the run that has the fewest."""
    fewest = results.runs["training_episodes"].min()
    return 0 if pd.isna(fewest) else int(fewest)


def _statistic(results: Results, measure: str, statistic: str) -> pd.DataFrame:
    """Its estimates by arm."""
    summary = results.summary.set_index(["measure", "statistic"]).sort_index()
    return (
        summary.loc[[(measure, statistic)]].set_index("arm") if (measure, statistic) in summary.index else summary[:0]
    )


def _estimates(results: Results, measure: str, statistic: str = "mean") -> pd.Series:
    return texts(_statistic(results, measure, statistic))


def _numbers(results: Results, measure: str, digits: int, statistic: str = "mean") -> pd.Series:
    return _statistic(results, measure, statistic)["value"].map(number(digits))


def _comparison(results: Results, label: str, measure: str) -> list[tuple[str, pd.Series]]:
    name, first = label.removesuffix(" (%)"), results.study.first
    return [
        (f"{label}: mean", _estimates(results, measure)),
        (f"{name}: standard deviation over seeds", _numbers(results, measure, 2, "std")),
        (f"{name}: interquartile mean", _estimates(results, measure, "iqm")),
        (f"{name}: difference from {first}", _estimates(results, measure, "difference")),
        (f"{name}: probability of improvement over {first}", _estimates(results, measure, "improvement")),
    ]


def _costs(results: Results) -> list[tuple[str, pd.Series]]:
    means = results.runs.select_dtypes("number").groupby("arm", observed=True).mean()
    columns = {
        "parameters of the agent": ("parameters_agent", number()),
        "parameters of the actor": ("parameters_actor", number()),
        "MFLOPs per action, at the mean ponder steps": ("flops_per_action", number(3, 1e-6)),
        "GFLOPs per gradient step": ("flops_per_gradient_step", number(3, 1e-9)),
        "gradient steps": ("gradient_steps", number()),
        "wall time of a training (h)": ("wall_s", number(2, 1 / 3600)),
        "CPU time of a training (h)": ("cpu_s", number(2, 1 / 3600)),
    }
    return [(label, means[key].dropna().map(show)) for label, (key, show) in columns.items() if key in means]


def unpaired(results: Results) -> list[str]:
    """Which arms' differences are of fewer runs than the arm has, since the first arm lacks their seeds."""
    first, said = results.study.first, []
    for part in ("training", "frozen"):
        seeds = results.runs[f"{part}_reward"].dropna().reset_index().groupby("arm", observed=False)["seed"].agg(set)
        for arm in results.arms[1:]:
            shared = seeds[arm] & seeds[first]
            if seeds[arm] and seeds[first] and not shared:
                said.append(f"{arm}, {part}: unpaired, since it shares no seed with {first}")
            elif seeds[first] and seeds[arm] - seeds[first]:
                said.append(f"{arm}, {part}: of {len(shared)} of its {len(seeds[arm])} seeds")
    return said


def pairs_table(pairs: pd.DataFrame) -> pd.DataFrame:
    """A line for each arm, a column for each of those before it: the difference of the line's arm from the column's."""
    arms, others = pairs["arm"].unique(), pairs["than"].unique()
    return spread(pairs, "arm", "than").loc[arms, others].replace(NONE, "").rename_axis("less")


def forced_table(results: Results) -> pd.DataFrame:
    """Return by the own rule, with its steps shuffled, and against the number of ponder steps."""
    returns = results.by_rule[results.by_rule["difficulty"].isna() & (results.by_rule["measure"] == "return")]
    forced = returns[returns["rule"] != OWN_RULE]
    rules = {OWN_RULE: "own rule", SHUFFLED: "shuffled"}
    rules |= {str(n): f"{n} step{'s' * (n > 1)}" for n in frozen.forced_numbers(forced["rule"])}
    arms = [arm for arm in results.arms if arm in set(forced["arm"])]
    cells = filled(spread(returns, "arm", "rule").reindex(index=arms, columns=list(rules)))
    labels = [f"{arm} (trained with N = {results.trained_steps.get(arm, 1)})" for arm in arms]
    used = [rule for rule in rules if (cells[rule] != NONE).any()]
    return cells[used].set_axis(labels).rename_axis("arm").rename(columns=rules)


def gains_table(results: Results) -> pd.DataFrame:
    """What more ponder steps, and their choice, bring: a line for each arm and pair, a column for each difficulty."""
    levels = sorted(results.gains["difficulty"].dropna().unique())
    titles = {None: "all episodes", **{level: f"difficulty {level:g}" for level in levels}}
    lines = []
    for (arm, less, more), rows in results.gains.groupby(["arm", "from", "to"], sort=False):
        shuffled = (
            f"{more} steps less that with {less}" if less != SHUFFLED else "own rule less that with its steps shuffled"
        )
        cells = dict(zip(rows["difficulty"].map(titles).fillna("all episodes"), texts(rows), strict=True))
        lines.append({"arm": arm, "return with": shuffled, **cells})
    return filled(pd.DataFrame(lines, columns=["arm", "return with", *titles.values()])).set_index("arm")


def _graded(results: Results) -> pd.DataFrame:
    return results.by_rule[(results.by_rule["rule"] == OWN_RULE) & results.by_rule["difficulty"].notna()]


def told_apart(levels: pd.DataFrame) -> list[str]:
    """The measures that the levels have, without a `success` that is the same as the `return`."""
    values = levels.pivot(index=["arm", "difficulty"], columns="measure", values="value")
    used = [measure for measure in BY_DIFFICULTY if measure in values]
    same = "success" in used and (values["success"] == values["return"]).all()
    return [measure for measure in used if measure != "success" or not same]


def difficulty_table(results: Results) -> pd.DataFrame:
    levels = _graded(results)
    rows = pd.MultiIndex.from_frame(levels[["arm", "difficulty"]].drop_duplicates())
    cells = levels.assign(text=texts(levels)).pivot(index=rows.names, columns="measure", values="text").reindex(rows)
    counts = levels.groupby(["arm", "difficulty"], observed=True)[["episodes", "worlds"]].first()
    against = results.differences_by_difficulty.set_index(["arm", "difficulty"])
    columns = {
        "difficulty": [f"{level:g}" for _, level in cells.index],
        f"episodes ({results.study.kind_of_world})": [
            f"{n:,.0f} ({number()(worlds)})" for n, worlds in counts.reindex(rows).to_numpy()
        ],
        BY_DIFFICULTY["return"]: cells.get("return"),
        f"difference from {results.study.first}": texts(against).reindex(cells.index),
        **{BY_DIFFICULTY[measure]: cells[measure] for measure in told_apart(levels)[1:]},
    }
    return filled(pd.DataFrame(columns, cells.index)).droplevel("difficulty").rename_axis("arm")


def correlations(results: Results, arm: str) -> str:
    found = results.correlations[results.correlations["arm"] == arm].set_index("of")
    runs = int(results.runs.loc[[arm], "frozen_reward"].count())
    said = [
        f"{shown(*found.loc[kind, ['value', 'low', 'high', 'n']])} {name}"
        + (f" ({found.loc[kind, 'n']:.0f} of {runs} runs)" if found.loc[kind, "n"] < runs else "")
        for kind, name in CORRELATIONS.items()
        if kind in found.index
    ]
    return "; ".join(said) or "not defined, since the ponder steps or the difficulties never vary"


def _machines(results: Results) -> dict[str, str]:
    """The runs on each machine."""
    runs = results.study.finished.dropna(subset="machines")
    names = runs["arm"].astype(str) + " seed " + runs["seed"].astype(str)
    exploded = pd.DataFrame({"machine": runs["machines"].str.split(" | ", regex=False), "run": names}).explode(
        "machine"
    )
    return exploded.groupby("machine", sort=False)["run"].agg(", ".join).to_dict()
