"""Pages that show how the best run of each arm of a study plays."""

from pathlib import Path

from sheeprl_dnp.runs import replace_file
from sheeprl_dnp.studies import OWN_RULE, Plan, Run
from sheeprl_dnp.watch.watch import watch

EPISODES, DECISIONS = 2, range(1, 26)  # of a page, so that it can be kept with the results


def write_pages(study: Path, plan: Plan, target: Path) -> list[Path]:
    """Writes `watch_<arm>.html` of the run with the greatest return of each arm of which a checkpoint is there."""
    pages = []
    for arm in plan.arms:
        runs = [run for run in (Run(study, arm, seed) for seed in plan.seeds) if run.is_finished and run.checkpoints()]
        if runs:
            best = str(max(runs, key=own_return).checkpoints()[-1])
            page, *_ = watch(best, episodes=EPISODES, decisions=DECISIONS, worlds=plan.evaluations.worlds)
            pages.append(target / f"watch_{arm.folder}.html")
            replace_file(pages[-1], page)
    return pages


def own_return(run: Run) -> float:
    return run.load(f"evaluation_{OWN_RULE}.json")["mean_return"]
