"""The text of a report: `report.md`."""

from sheeprl_dnp.study import tables
from sheeprl_dnp.study.analysis import by_seed
from sheeprl_dnp.study.results import Results


def markdown(results: Results, captions: dict[str, str]) -> str:
    """
    Args:
        captions: by the file name of the figure.
    """
    blocks = [
        [f"# {results['study']}"],
        [_summary(results)],
        *_problems(results),
        ["## Comparison"],
        tables.main_table(results),
        _notes(results),
        *_between_arms(results),
        *_forced(results),
        *_difficulty(results),
        ["## Figures"],
        *([f"![{caption}]({name})", "", f"{caption}."] for name, caption in captions.items()),
        ["## Differences between the configurations"],
        *_configurations(results),
        ["## Machines"],
        _machines(results),
    ]
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _summary(results: Results) -> str:
    runs, steps = results["runs"], results["steps_of_runs"]
    text = f"{runs['finished']} of {runs['of']} runs are finished, and reported here, up to step {results['budget']:,}"
    if len(steps) > 1:
        text += (
            f": the runs are not equally long ({', '.join(f'{n:,}' for n in steps)} steps), so the least counts for "
            "the training episodes; frozen policies, halting and cost are of the whole runs"
        )
    return f"{text}. The first arm, `{next(iter(results['arms']))}`, is what the others are compared with."


def _problems(results: Results) -> list[list[str]]:
    """The runs that are missing, unfinished or damaged."""
    if not results["problems"]:
        return []
    lines = [f"- {problem['run']}: {problem['reason']}" for problem in results["problems"]]
    return [["## Not reported, or not in full"], lines]


def _notes(results: Results) -> list[str]:
    """How to read the main table."""
    notes = [
        "In brackets: 95 % intervals of the stratified percentile bootstrap over seeds, each seed one point; one seed "
        "has none. Of few seeds they are too narrow: with 3 seeds they cover the true mean in about 76 % of cases, "
        "with 5 in 82 %, with 10 in 90 %. "
        "The interquartile mean of fewer than 4 seeds is their mean.",
        f"Difference: paired by seed{_unpaired(results)}, with Student's t interval. Probability of improvement: that "
        "a seed of the arm is above a seed of the first arm, where a tie counts half; 1.00 [1.00, 1.00] says only that "
        "no seed was below.",
        *_protocol_notes(results),
        "FLOPs: a multiply-add counts two. Wall and CPU time are sums over the attempts at a run, and depend on what "
        "else the machine did.",
    ]
    return [f"- {note}" for note in notes]


def _unpaired(results: Results) -> str:
    """Which arms' differences are of fewer runs than the arm has, since the first arm lacks their seeds."""
    first, *others = results["arms"].items()
    said = []
    for part in ("training", "frozen"):
        base = by_seed(first[1][part]["reward"]).keys()
        for name, arm in others:
            own = by_seed(arm[part]["reward"]).keys()
            if own and base and not own & base:
                said.append(f"`{name}`, {part}: unpaired, since it shares no seed with `{first[0]}`")
            elif base and own - base:
                said.append(f"`{name}`, {part}: of {len(own & base)} of its {len(own)} seeds")
    return f" ({'; '.join(said)})" if said else ""


def _protocol_notes(results: Results) -> list[str]:
    worlds = results["worlds"]
    same = {
        True: "the same worlds for all runs",
        False: "**not the same worlds for all runs**",
        None: "whether in the same worlds is not recorded",
    }[worlds["same_for_all"]]
    met = {
        None: "whether training episodes began in them is not recorded",
        0: "no training episode began in one of them",
    }.get(worlds["met_in_training"], f"**training episodes began in {worlds['met_in_training']} of them**")
    episodes = " or ".join(map(str, worlds["episodes"])) or "no"
    notes = [f"Frozen policies: {episodes} episodes each, {same}; {met}. The reward is the environment's."]
    if not results["plays_crafter"]:
        return notes
    return [
        "The two protocols are not comparable with each other: training episodes are of all the policies from the "
        "first to the last. Published scores are of training episodes, within 1M steps.",
        "The score is biased low where episodes are few, and an arm whose episodes are longer has fewer of them: hence "
        f"the row with equal numbers ({results['fewest_episodes']} episodes, what the run with the fewest has).",
        *notes,
    ]


def _between_arms(results: Results) -> list[list[str]]:
    """Each arm against each, where there are more than the two of the main table."""
    if len(results["arms"]) < 3:
        return []
    said = (
        "The arm of the line less that of the column: the mean difference, paired by seed where they share seeds, with "
        "Student's t interval. Of many such intervals, one in 20 misses the truth."
    )
    blocks = [
        block
        for measure, pairs in results["between_arms"].items()
        for block in ([f"{measure[0].upper()}{measure[1:]}:"], tables.pairs_table(pairs))
    ]
    return [["### Each arm against each"], [said], *blocks] if blocks else []


def _forced(results: Results) -> list[list[str]]:
    table, gains = tables.forced_table(results), tables.gains_table(results)
    title = ["### Return of the frozen policy with a forced number of ponder steps"]
    counts = results["evaluations"]
    episodes = (
        f"Episodes of a run: {counts['episodes']} by its own rule, {counts['forced_episodes']} with each forced number "
        "of steps, in the same worlds as far as both go."
    )
    shuffled = (
        "Shuffled: an action is taken at the ponder step that was sampled in another environment, so that each step is "
        "taken as often as by the own rule, but not where the agent chose it."
    )
    notes = [episodes, *([shuffled] if any(arm["shuffled"] for arm in results["arms"].values()) else [])]
    said = ["What the one brings over the other: differences, paired by seed, with Student's t interval."]
    return [*([title, [" ".join(notes)], table] if table else []), *([said, gains] if gains else [])]


def _difficulty(results: Results) -> list[list[str]]:
    table = tables.difficulty_table(results)
    if not table:
        return []
    lines = [f"- `{name}`: {_rhos(arm['difficulty'])}" for name, arm in results["arms"].items() if arm["difficulty"]]
    title = "Spearman's rho with difficulty of each run, mean over the runs where it is defined:"
    return [["### By difficulty of the episode (frozen policy)"], table, [title], lines]


def _rhos(difficulty: Results) -> str:
    names = {
        "means": "of the mean ponder steps at each difficulty",
        "first_means": "of those of the first action",
        "episodes": "of the ponder steps of an episode",
    }
    rhos = [(name, difficulty["spearman"][key]) for key, name in names.items()]
    of = difficulty["evaluated"]
    return "; ".join(
        f"{tables.estimate(rho)} {name}" + (f" ({rho['n']} of {of} runs)" if rho["n"] < of else "")
        for name, rho in rhos
        if rho
    ) or ("not defined, since the ponder steps or the difficulties never vary")


def _configurations(results: Results) -> list[list[str]]:
    configuration = results["configuration"]
    seeds = ", ".join(map(str, configuration["seeds"]))
    if not seeds:
        return [["Not compared: no two arms have the configuration of the same seed."]]
    left_out = ", ".join(f"`{key}`" for key in configuration["left_out"])
    intro = [f"Between runs of the same seed (compared: {seeds}). Left out, as names, paths or logs: {left_out}."]
    intro += [f"`{arm}` has no configuration yet." for arm in configuration["without"]]
    if not configuration["differences"]:
        return [intro, ["There is no difference."]]
    return [intro, tables.differences_table(results)]


def _machines(results: Results) -> list[str]:
    return [f"- {tables.machine(entry)}: {', '.join(entry['runs'])}" for entry in results["machines"]] or ["Unknown."]
