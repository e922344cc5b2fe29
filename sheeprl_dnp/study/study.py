"""`scripts/study STUDY`: arms x seeds, trained and evaluated; safe to stop and to start again at any point."""

import argparse
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sheeprl_dnp.arguments import add_pool, command_parser, count, names, numbers, one_sentence, resumable, threads_of
from sheeprl_dnp.checks import check, shown
from sheeprl_dnp.report.tables import FILES
from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.studies import Arm, Plan, read_study
from sheeprl_dnp.study.job import QUIET, arm_argument, folder_argument
from sheeprl_dnp.study.plan import PLANS, arm_file, compose_arms, find_plan, save_plan
from sheeprl_dnp.study.pool import run_all
from sheeprl_dnp.study.publish import publish_study

EPILOG = """
examples:
  scripts/study crafter_symbolic                      the arms and seeds of configs/study/crafter_symbolic.yaml, one
                                                      run after another, in studies/crafter_symbolic
  scripts/study mine.yaml --folder studies/first      those of a file of yours
  scripts/study studies/first --processes 2           go on with it, two runs at a time
  scripts/study studies/gpu --arms dnp_crafter_baseline,dnp_crafter --seeds 1,2,3 --overrides algo.total_steps=100000
  scripts/study studies/gpu --launcher submitit_slurm hydra.launcher.partition=gpu hydra.launcher.gpus_per_node=1
  scripts/study studies/gpu --publish                 its data as tables, its report and a page of the
                                                      best run of each arm, in results/gpu

Killed or stopped, the same command goes on: finished runs are kept, others go on from their last checkpoint.
With more arms or seeds than the study has, it gets these too.
A run on Lights Out takes 3 to 9 minutes of a core and 70 MB, one of crafter_symbolic 45 minutes.
Then: scripts/report FOLDER
"""


@resumable()
@one_sentence()
def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    options = parse_arguments(arguments)
    plan, folder = plan_and_folder(options)
    if options.policies and not options.publish:
        raise ConfigError("`--policies` is for `--publish`: it must be with it.")
    if options.publish:
        publish_study(folder, options.publish / folder.resolve().name, policies=options.policies)
        return 0
    if options.launcher_overrides and not options.launcher:
        raise ConfigError(f"`{options.launcher_overrides[0]}` is for a launcher: name one with `--launcher`.")
    check_folder(folder)
    configs = compose_arms(plan)
    check_unchanged(folder, plan, configs)
    try:
        save_plan(folder, plan, configs)
    except OSError as error:
        raise ConfigError(f"`FOLDER={folder}` must be a folder to write in: {error.strerror}.") from error
    if options.launcher:
        return launch(folder, plan, options)
    total_steps = {label: cfg.algo.total_steps for label, cfg in configs.items()}
    return run_all(plan.runs(folder), total_steps, options.processes, threads_of(options))


def parse_arguments(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    description = "Trains and evaluates each arm with each seed, and keeps everything in one folder."
    parser = command_parser("study", description, EPILOG)
    add = parser.add_argument
    known = ", ".join(PLANS)
    add("study", metavar="STUDY", help=f"a name ({known}), a file of a study (.yaml), or its folder")
    add("--folder", type=Path, help="of a study by name or file (default: studies/NAME)")
    publish = "run nothing: write the tables of the study in FOLDER, and its report, to RESULTS/NAME (default: results)"
    add("--publish", nargs="?", const="results", type=Path, metavar="RESULTS", help=publish)
    policies = "with --publish: also the last policy of each arm's first seed, to play"
    add("--policies", action="store_true", help=policies)
    _add_plan(parser.add_argument_group("in place of what the study says (kept in FOLDER/study.yaml)"))
    how = parser.add_argument_group("how it runs")
    add_pool(how, "runs")
    launchers = (
        "a launcher of Hydra: joblib, submitit_slurm, ... (extras `joblib`, `submitit`); a run then has one thread "
        "where --threads isn't given"
    )
    how.add_argument("--launcher", help=launchers)
    how.add_argument("launcher_overrides", nargs="*", metavar="hydra.launcher.KEY=VALUE", help="of the launcher")
    return parser.parse_intermixed_args(arguments)


def _add_plan(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--arms", type=names, help="experiments, each an arm by its name, the first one the baseline")
    group.add_argument("--seeds", type=numbers, help="default of a new study: 1,2,3")
    group.add_argument("--overrides", nargs="+", metavar="KEY=VALUE", help="of Hydra, for all the runs")
    group.add_argument("--episodes", type=count, help="that evaluate each run (default: 100)")
    steps = (
        "numbers of ponder steps to also evaluate with, and `shuffled` (see scripts/evaluate --help), e.g. 1,2,shuffled"
    )
    group.add_argument("--forced-steps", type=forced_steps, help=steps)
    group.add_argument("--forced-episodes", type=count, help="for each of them (default: 50)")


def forced_steps(value: str) -> tuple[int | str, ...]:
    return tuple(int(steps) if steps.isdecimal() else steps for steps in value.split(","))


def plan_and_folder(options: argparse.Namespace) -> tuple[Plan, Path]:
    """What the command asks for: the study in its folder, with arms and seeds in addition, or a new one.

    Raises:
        ConfigError: there is no such study, or its folder has a study that differs in more than that.
    """
    is_folder = (Path(options.study) / "study.yaml").is_file()
    named = None if is_folder else find_plan(options.study)
    if options.folder and not named:
        raise ConfigError(
            f"`--folder={options.folder}` is for a study by name or file: `STUDY={options.study}` is none."
        )
    folder = options.folder or (Path("studies") / Path(options.study).stem if named else Path(options.study))
    current = read_study(folder) if (folder / "study.yaml").exists() else None
    wanted = changed(named or current, options)
    if wanted is None:
        raise ConfigError(
            f"`STUDY={options.study}` is no study: it must be one of {', '.join(PLANS)}, a file `….yaml` or "
            "the folder of one, or a new folder, with `--arms`."
        )
    if current:
        unsaid = [key for key in ("arms", "seeds") if getattr(options, key) is None]
        added = {key: there for key in unsaid if set(there := getattr(current, key)) >= set(getattr(wanted, key))}
        wanted = wanted.model_copy(update=added)
        check_only_added(current, wanted, folder)
    return wanted, folder


def changed(plan: Plan | None, options: argparse.Namespace) -> Plan | None:
    """A plan with what the options say in its place; without one a plan of theirs, if they name arms."""
    if plan is None and options.arms is None:
        return None
    content: dict[str, Any] = plan.model_dump() if plan else {"seeds": (1, 2, 3), "evaluations": {}}
    known = {arm.label: arm for arm in plan.arms} if plan else {}
    if options.arms is not None:
        content["arms"] = [known.get(name, Arm(label=name, exp=name)).model_dump() for name in options.arms]
    content |= {key: getattr(options, key) for key in ("seeds", "overrides") if getattr(options, key) is not None}
    keys = ("episodes", "forced_steps", "forced_episodes")
    content["evaluations"] |= {key: getattr(options, key) for key in keys if getattr(options, key) is not None}
    return check(Plan, content)


def check_only_added(current: Plan, wanted: Plan, folder: Path) -> None:
    """Raises a ConfigError unless the study in the folder is a part of what is wanted."""
    if key := wanted.differs_from(current):
        new, old = (shown(plan.labels if key == "arms" else getattr(plan, key)) for plan in (wanted, current))
        raise ConfigError(
            f"`{key}={new}` is not that of the study in `{folder}`, `{old}`: leave it out, or name another folder "
            "(only arms and seeds can be added)."
        )


def check_unchanged(folder: Path, plan: Plan, configs: Mapping[str, DictConfig]) -> None:
    """Raises a ConfigError where an arm has runs, and its experiment is no longer what they were started with."""
    started = {run.arm.label: run for run in reversed(plan.runs(folder)) if run.folder.exists()}
    for label, run in started.items():
        path = arm_file(folder, run.arm)
        # As text: compared as configurations, names that hold the time would differ
        if path.is_file() and path.read_text() != OmegaConf.to_yaml(configs[label]):
            raise ConfigError(
                f"`{label}`: `exp={run.arm.exp}` has changed since {run.name} was started as `{path}` says: go on as "
                "it was then, or name another folder."
            )


def check_folder(folder: Path) -> None:
    """Raises a ConfigError where a folder has a published study, or a path that Hydra, which reads it, can't run in."""
    if (folder / FILES["runs"]).exists():
        raise ConfigError(f"`FOLDER={folder}` has a published study, whose runs are tables: name another folder.")
    try:
        OmegaConf.create({"cwd": str(folder.absolute())})
    except OmegaConfBaseException as error:
        raise ConfigError(
            f"`FOLDER={folder}` can't be: Hydra runs in no folder whose path has an unfinished `${{…}}` in it."
        ) from error


def launch(folder: Path, plan: Plan, options: argparse.Namespace) -> int:
    """Leaves the runs to a launcher of Hydra: one job for each."""
    sweep = [arm_argument(*plan.arms), f"seed={','.join(map(str, plan.seeds))}"]
    where = [folder_argument(folder), f"threads={options.threads or 1}", "hydra.sweep.dir=jobs", *QUIET]
    launcher = [f"hydra/launcher={options.launcher}", *options.launcher_overrides]
    command = [sys.executable, "-m", "sheeprl_dnp.study.job", "--multirun", *sweep, *where, *launcher]
    return subprocess.run(command, cwd=folder).returncode


if __name__ == "__main__":
    sys.exit(main())
