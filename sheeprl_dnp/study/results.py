"""All that a report says, as numbers: the content of `results.json`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.study import analysis, pondering
from sheeprl_dnp.study.analysis import Training
from sheeprl_dnp.study.differences import LEFT_OUT, compared_seeds, differences
from sheeprl_dnp.study.layout import Run, StudyConfig
from sheeprl_dnp.study.run_results import (
    DAMAGE,
    DEFAULT,
    Evaluation,
    Problem,
    RunResults,
    load_study,
    newest_config,
    world_of,
)

Results = dict[str, Any]
RunsOf = Mapping[str, Sequence[RunResults]]  # by arm

DIGITS = 10  # significant ones, of each number


def analyse(study: Path, config: StudyConfig) -> Results:
    """
    Raises:
        ConfigError: no run is finished.
    """
    runs, problems = load_study(study, config)
    if not runs:
        reasons = "; ".join(f"{problem.run}: {problem.reason}" for problem in problems)
        raise ConfigError(f"`{study}` has no finished run to report ({reasons}).")
    budget = min(run.steps for run in runs)
    trainings = {(run.run.arm, run.run.seed): Training(run, budget) for run in runs if run.episodes}
    for key in [key for key, training in trainings.items() if not training.records]:
        del trainings[key]
        reason = f"none of its episodes ended within the first {budget:,} steps: reported without its training episodes"
        problems.append(Problem(Run(study, *key).name, reason))
    size = analysis.bin_size(budget)
    runs_of = {arm: [run for run in runs if run.run.arm == arm] for arm in config.arms}
    arms = {arm: _arm(arm, config.arms[0], runs_of, trainings, size) for arm in config.arms}
    content = {
        "study": study.resolve().name,
        "runs": {"finished": len(runs), "of": len(config.arms) * len(config.seeds)},
        "budget": budget,
        "steps_of_runs": sorted({run.steps for run in runs}),
        "bin": size,
        "fewest_episodes": _fewest(trainings.values()),
        "plays_crafter": any(training.plays_crafter for training in trainings.values()),
        "evaluations": asdict(config.evaluations),
        "worlds": _worlds(runs),
        "arms": arms,
        "between_arms": _between_arms(arms, runs_of),
        "configuration": _configuration(study, config),
        "problems": [asdict(problem) for problem in problems],
        "machines": _machines(runs),
    }
    return _rounded(content)


def _rounded(value: Any) -> Any:
    """Without the last digits, which depend on the processor."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: _rounded(element) for key, element in value.items()}
    return [_rounded(element) for element in value] if isinstance(value, list) else value


def _arm(arm: str, first: str, runs_of: RunsOf, trainings: Mapping[Any, Training], size: int) -> Results:
    """Of an arm, and against the first."""
    own, base = runs_of[arm], runs_of[first]
    training, base_training = _trainings(trainings, arm), _trainings(trainings, first)
    fewest = _fewest(trainings.values())
    return {
        "seeds": [run.run.seed for run in own],
        "training": analysis.training_part(training, None if arm == first else base_training, fewest),
        "frozen": analysis.frozen_part(_frozen(own), None if arm == first else _frozen(base)),
        "cost": analysis.cost_part(own),
        "cost_points": analysis.cost_points(own),
        "trained_steps": pondering.trained_steps(own),
        "curve": analysis.curve([training.points() for training in training.values()], size),
        "curve_by_difficulty": analysis.curve_by_difficulty(list(training.values()), size),
        "success_rates": {
            "training": analysis.success_rates([t.success_rates(last=False) for t in training.values()]),
            "training_last_part": analysis.success_rates([t.success_rates(last=True) for t in training.values()]),
            "frozen": analysis.success_rates([evaluation.success_rates for evaluation in _frozen(own).values()]),
        },
        "halting": pondering.halting(own, size),
        "forced_steps": pondering.forced_steps(own),
        "shuffled": pondering.shuffled(own),
        "forced_gains": pondering.forced_gains(own),
        "difficulty": pondering.difficulty(own, None if arm == first else base),
    }


def _between_arms(arms: Mapping[str, Results], runs_of: RunsOf) -> Results:
    """Each arm less each other one, by what is measured; without the measures that no two arms have."""
    levels = [
        level["difficulty"] for arm in arms.values() if arm["difficulty"] for level in arm["difficulty"]["levels"]
    ]
    measures = {
        "score of the training episodes (%)": {
            arm: analysis.by_seed(content["training"]["score"]) for arm, content in arms.items()
        },
        "reward of an episode, frozen policy": {
            arm: analysis.by_seed(content["frozen"]["reward"]) for arm, content in arms.items()
        },
    }
    if len(set(levels)) > 1:
        hardest = {arm: pondering.returns_at(max(levels), runs) for arm, runs in runs_of.items()}
        measures[f"reward of an episode of the highest difficulty, {max(levels):g}, frozen policy"] = hardest
    found = {measure: analysis.between_arms(values) for measure, values in measures.items()}
    return {measure: pairs for measure, pairs in found.items() if pairs}


def _trainings(trainings: Mapping[Any, Training], arm: str) -> dict[int, Training]:
    return {seed: training for (name, seed), training in trainings.items() if name == arm}


def _frozen(runs: Iterable[RunResults]) -> dict[int, Evaluation]:
    return {run.run.seed: run.evaluations[DEFAULT] for run in runs if DEFAULT in run.evaluations}


def _fewest(trainings: Iterable[Training]) -> int:
    return min((len(training.records) for training in trainings), default=0)


def _worlds(runs: Sequence[RunResults]) -> Results:
    """Whether the frozen policies played the same worlds, and in how many of them a training episode began.

    Both are None where the records of some episodes don't say in what world they were.
    """
    evaluations = [run.evaluations[DEFAULT].episodes for run in runs if DEFAULT in run.evaluations]
    lists = {tuple((episode["seed"], world_of(episode)) for episode in episodes) for episodes in evaluations}
    played = {world for worlds in lists for _, world in worlds}
    trained = {world_of(episode) for run in runs for episode in run.episodes or []}
    return {
        "same_for_all": None if None in played else len(lists) <= 1,
        "episodes": sorted({len(worlds) for worlds in lists}),
        "met_in_training": None if None in played | trained else len(played & trained),
    }


def _configuration(study: Path, config: StudyConfig) -> Results:
    """The differences between the arms, of all the runs that have started."""
    configs = {arm: _configs(study, arm, config) for arm in config.arms}
    return {
        "left_out": list(LEFT_OUT),
        "seeds": compared_seeds(configs),
        "without": [arm for arm, seeds in configs.items() if not seeds],
        "differences": differences(configs),
    }


def _configs(study: Path, arm: str, config: StudyConfig) -> dict[int, Any]:
    found = {}
    for seed in config.seeds:
        try:
            found[seed] = newest_config(Run(study, arm, seed))
        except (OSError, *DAMAGE):  # among the problems, if the run is finished
            continue
    return found


def _machines(runs: Sequence[RunResults]) -> list[Results]:
    """Each machine, with the runs that were on it."""
    found: dict[str, Results] = {}
    for run in runs:
        for attempt in run.attempts:
            facts = {key: attempt.get(key) for key in ("machine", "threads", "commit")}
            entry = found.setdefault(str(facts), facts | {"runs": []})
            if run.run.name not in entry["runs"]:
                entry["runs"].append(run.run.name)
    return list(found.values())
