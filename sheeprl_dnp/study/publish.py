"""What is published of a study: its tables and its report, a page of each arm's best run, and, if wanted, policies.

<results>/<study>/study.yaml, runs.csv, …      see `report.tables`
  report/                                      see `report.report`
  watch_<arm>.html                             how the run of the arm with the greatest return plays
  policies/<arm>/config.yaml, checkpoint/…     of each arm's first seed the last policy, as in the folder of a run

Policies are checkpoints without optimizers and replay buffer: whatever plays checkpoints plays them, no training goes
on from one.
"""

import io
import zipfile
from pathlib import Path

import torch
from omegaconf import OmegaConf

from sheeprl_dnp.report.report import report
from sheeprl_dnp.report.tables import FILES, joined, load, publish
from sheeprl_dnp.runs import ConfigError, load_checkpoint, load_run_config, replace_file
from sheeprl_dnp.studies import OWN_RULE, Plan, Run
from sheeprl_dnp.watch.watch import watch

EPISODES, DECISIONS = 2, range(1, 26)  # of a page, so that it can be kept with the results
PLAYED = f"evaluation_{OWN_RULE}.json"
# Of a checkpoint, what `checkpoints.build_agent` takes: with what dreams, and the page of `scripts/watch`, need
KEPT = ("world_model", "actor", "critic", "moments", "iter_num")


def publish_study(folder: Path, target: Path, *, policies: bool) -> None:
    """A study that is published there already grows: its runs stay, but for those that `folder` has finished.

    Raises:
        ConfigError: it can't be written to `target`, where another study may be, or the one in `folder` can't be read.
    """
    if (target / "runs").exists() or target.resolve() == folder.resolve():
        raise ConfigError(f"`--publish={target.parent}` can't be: `{target}` is the folder of a study that runs.")
    study = load(folder)
    if (target / "study.yaml").exists():
        published = load(target)
        try:
            study = joined(study, published)
        except ConfigError as error:
            raise ConfigError(
                f"`--publish={target.parent}` can't be: `{target}` has another study, {error}: move one of them."
            ) from error
    if study.finished.empty:
        raise ConfigError(f"`{study.name}` has no finished run to publish.")
    first = [Run(folder, arm, study.plan.seeds[0]) for arm in study.plan.arms] if policies else []
    played = [run for run in first if run.is_finished]
    try:
        publish(study, target)
        for run in played:
            save_policy(run.folder / run.load("finished.json")["checkpoint"], target / "policies" / run.arm.folder)
    except OSError as error:
        raise ConfigError(f"`--publish={target.parent}` must be a folder to write in: {error.strerror}.") from error
    report(target, target / "report")
    pages = [page.name for page in write_pages(folder, study.plan, target)]
    written = ["study.yaml", *FILES.values(), *pages, *(["policies/"] if played else []), "report/"]
    print(f"{target}: {', '.join(written)}")
    if missing := [run.name for run in first if run not in played]:
        print(f"No policy was written of a run that `{folder}` has not finished: {', '.join(missing)}")


def save_policy(checkpoint: Path, folder: Path) -> None:
    """Writes the policy of a checkpoint, compressed, and the configuration of its run, in place of what the folder has.

    Raises:
        ConfigError: the checkpoint is missing or damaged.
    """
    state, path = load_checkpoint(str(checkpoint)), folder / "checkpoint" / checkpoint.name
    path.parent.mkdir(parents=True, exist_ok=True)
    for old in path.parent.glob("*.ckpt"):
        old.unlink()
    torch.save({key: state[key] for key in KEPT}, saved := io.BytesIO())
    with zipfile.ZipFile(saved) as stored, zipfile.ZipFile(path, "w") as file:
        for entry in stored.infolist():
            file.writestr(entry, stored.read(entry), zipfile.ZIP_DEFLATED)
    OmegaConf.save(load_run_config(str(checkpoint)), folder / "config.yaml")


def write_pages(study: Path, plan: Plan, target: Path) -> list[Path]:
    """Writes `watch_<arm>.html` of the run with the greatest return of each arm of which a checkpoint is there."""
    pages = []
    for arm in plan.arms:
        runs = [run for run in (Run(study, arm, seed) for seed in plan.seeds) if run.is_finished and run.checkpoints()]
        if runs := [run for run in runs if (run.folder / PLAYED).is_file()]:
            best = max(runs, key=lambda run: run.load(PLAYED)["mean_return"])
            page, *_ = watch(
                str(best.checkpoints()[-1]), episodes=EPISODES, decisions=DECISIONS, worlds=plan.evaluations.worlds
            )
            pages.append(target / f"watch_{arm.folder}.html")
            replace_file(pages[-1], page)
    return pages
