"""`scripts/study`: whatever is killed goes on, nothing is lost and nothing counts twice."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import TINY_CRAFTER, clean_environment

from sheeprl_dnp.envs.episodes import read_episodes
from sheeprl_dnp.study.execution import last_error
from sheeprl_dnp.study.layout import Evaluations, Run, StudyConfig, load_config, runs
from sheeprl_dnp.study.pool import played_steps
from sheeprl_dnp.study.study import main, parse_arguments, study_config

ARMS = ["dnp_crafter_small_baseline", "dnp_crafter_small"]
TOTAL_STEPS = 700
TINY = [*TINY_CRAFTER, f"algo.total_steps={TOTAL_STEPS}", "algo.replay_ratio=0.05", "checkpoint.every=100"]


LIGHTS = "dnp_lights_out"


def study_command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "sheeprl_dnp.study.study", str(folder), *arguments]


def new_study(folder: Path, arms: list[str], seeds: str, *arguments: str) -> list[str]:
    evaluations = ["--episodes", "2", "--forced-steps", "1,6,shuffled", "--forced-episodes", "2"]
    tiny = ["--overrides", *TINY]
    return study_command(folder, "--arms", ",".join(arms), "--seeds", seeds, *evaluations, *arguments, *tiny)


def run_command(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env=clean_environment(), timeout=550)


def kill_at(command: list[str], folder: Path, share: float, later: float) -> None:
    """Kills the command and all that it started, as a machine that goes down does.

    Args:
        share: of all the steps of the study, after which it is killed.
        later: seconds from then on.
    """
    process = subprocess.Popen(
        command, env=clean_environment(), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    while played_share(folder) < share:
        assert process.poll() is None, "it ended before it was killed"
        time.sleep(0.2)
    time.sleep(later)
    assert process.poll() is None, "it ended before it was killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def played_share(folder: Path) -> float:
    planned = runs(folder, load_config(folder)) if (folder / "study.yaml").exists() else []
    steps = [TOTAL_STEPS if run.is_finished else played_steps(run) for run in planned]
    return sum(steps) / (TOTAL_STEPS * len(steps)) if steps else 0.0


def wait_for(path: Path, pattern: str, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not list(path.glob(pattern)):
        assert time.monotonic() < end, f"no {pattern} in {path}"
        time.sleep(0.02)


def assert_is_whole(run: Run) -> None:
    """Everything of a finished run is there, once."""
    finished = run.load("finished.json")
    assert finished["steps"] == TOTAL_STEPS
    assert (run.folder / finished["checkpoint"]).is_file()
    episodes = read_episodes(run.folder)
    ended = [(episode["env"], episode["step"]) for episode in episodes]
    assert len(set(ended)) == len(ended) > 0
    for env in (0, 1):  # an environment plays one episode after another: their lengths fit in its steps
        assert sum(episode["length"] for episode in episodes if episode["env"] == env) <= TOTAL_STEPS / 2
    header, *rows = (run.folder / "metrics.csv").read_text().splitlines()
    steps = [int(row.split(",")[0]) for row in rows]
    assert steps == sorted(set(steps)) and steps[-1] == TOTAL_STEPS
    assert "Loss/policy_loss" in header.split(",")
    assert run.load("costs.json")["parameters"]["agent"] > 1000
    assert [episode["seed"] for episode in run.load("evaluation_default.json")["episodes"]] == [0, 1]


@pytest.mark.timeout(1200)
def test_a_killed_study_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    command = new_study(folder, ARMS[1:], "1")
    process = subprocess.Popen(command, env=clean_environment(), start_new_session=True, stderr=subprocess.DEVNULL)
    run = Run(folder, ARMS[1], 1)
    wait_for(folder, f"runs/{ARMS[1]}/seed_1/version_0/checkpoint/ckpt_[2-6]00_0.ckpt", 200)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    saved = max(run.checkpoints(), key=lambda path: path.stat().st_mtime)
    saved.with_name("ckpt_690_0.ckpt").write_bytes(saved.read_bytes()[:1000])  # one that was cut while it was saved
    result = run_command(study_command(folder))
    assert result.returncode == 0, result.stderr
    assert "1 of 1 runs finished" in result.stderr
    assert_is_whole(run)
    attempts = [run.load(f"attempt_{number}.json") for number in (0, 1)]
    assert attempts[0]["from_step"] == 0 and attempts[0]["exit"] is None
    assert 200 <= attempts[1]["from_step"] <= 600 and attempts[1]["exit"] == 0
    assert attempts[1]["cpu_s"] > 0 and attempts[1]["machine"]["cores"] == os.cpu_count()
    forced = {steps: run.load(f"evaluation_{steps}.json") for steps in (1, 6)}
    assert {steps: evaluation["mean_ponder_steps"] for steps, evaluation in forced.items()} == {1: 1, 6: 6}
    shuffled = run.load("evaluation_shuffled.json")
    assert shuffled["steps"] == "shuffled" and 1 < shuffled["mean_ponder_steps"] < 4
    before = {path: path.stat().st_mtime_ns for path in run.folder.rglob("*.json")}
    assert run_command(study_command(folder)).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in run.folder.rglob("*.json")} == before


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_killed_at_random_five_times_ends_with_all_its_runs(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    command = new_study(folder, ARMS, "1,2", "--processes", "2")
    randomness = random.Random(0)
    for share in sorted([0.0, *(randomness.uniform(0, 0.6) for _ in range(4))]):
        kill_at(command, folder, share, randomness.uniform(0, 5))
    assert run_command(command).returncode == 0
    planned = runs(folder, load_config(folder))
    assert [(run.arm, run.seed) for run in planned] == [(arm, seed) for seed in (1, 2) for arm in ARMS]
    for run in planned:
        assert_is_whole(run)
    assert sum(len(list(run.folder.glob("attempt_*.json"))) for run in planned) > 4


def test_a_failed_run_is_named_and_the_others_are_finished(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    broken = folder / "runs" / ARMS[0] / "seed_1" / "version_0" / "checkpoint"
    broken.mkdir(parents=True)
    torch.save({"iter_num": TOTAL_STEPS // 2}, broken / f"ckpt_{TOTAL_STEPS}_0.ckpt")  # of which nothing else is left
    (broken.parents[1] / "job.log").write_text("RuntimeError: of an earlier attempt\n")
    result = run_command(new_study(folder, ARMS[:1], "1,2", "--processes", "2"))
    assert result.returncode == 1
    assert f"{ARMS[0]} seed 1: failed: " in result.stderr and "config.yaml" in result.stderr
    assert f"{ARMS[0]} seed 2: finished (1 of 2 runs finished)" in result.stderr
    assert not Run(folder, ARMS[0], 1).is_finished


def test_the_reason_of_a_failure_is_of_its_own_attempt(tmp_path: Path) -> None:
    log = tmp_path / "output.log"
    log.write_text("ValueError: first\n")
    said_before = log.stat().st_size
    assert last_error(log, said_before) == "no message"
    log.write_text("ValueError: first\nKeyError: second\nends\n")
    assert last_error(log, said_before) == "KeyError: second"
    hint = "Set the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace."
    log.write_text(f"ValueError: first\nCould not override 'x'.\n    object_type=dict\n\n{hint}\n")
    assert last_error(log, said_before) == "Could not override 'x'."


# All that means something to a shell, Hydra's grammar, OmegaConf, a pattern of files, or the markup of a terminal
STRANGE = """-étude (1) a,b lr=1 it's "so" $HOME ${seed} {x} #~%s!@&;|<> back\\slash [bold] *"""


def test_any_folder_name_works_and_the_checkpoints_of_others_stay(tmp_path: Path) -> None:
    other = tmp_path / STRANGE.replace("[bold] *", "b matches") / f"runs/{LIGHTS}/seed_1/version_0/checkpoint"
    other.mkdir(parents=True)
    (other / "ckpt_1_0.ckpt").touch()
    short = ["algo.total_steps=80", "checkpoint.every=20", "checkpoint.keep_last=1"]
    arguments = ["--arms", LIGHTS, "--seeds", "1", "--episodes", "2", "--overrides", *TINY_CRAFTER, *short]
    command = [sys.executable, "-m", "sheeprl_dnp.study.study", *arguments, "--", STRANGE]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=clean_environment())
    assert result.returncode == 0, result.stderr
    assert Run(tmp_path / STRANGE, LIGHTS, 1).load("finished.json")["steps"] == 80
    assert (other / "ckpt_1_0.ckpt").exists()


def test_a_folder_that_hydra_cannot_run_in_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code([str(tmp_path / "${x"), "--arms", ARMS[1]]) == 1
    assert "${x` can't be: Hydra runs in no folder whose path has an unfinished `${…}`" in capsys.readouterr().err


@pytest.mark.slow
def test_a_launcher_of_hydra_runs_a_study(tmp_path: Path) -> None:
    folder = tmp_path / STRANGE
    command = new_study(folder, ARMS[1:], "1,2", "--launcher", "joblib", "hydra.launcher.n_jobs=2")
    result = run_command(command)
    assert result.returncode == 0, result.stderr[-3000:]
    for run in runs(folder, load_config(folder)):
        assert_is_whole(run)


BAD = {
    "--arms=dnp_nothing": "dnp_nothing",
    "--arms=ppo": "trains `ppo`",
    "--arms=dnp_crafter_small,dnp_crafter_small": "each once",
    "--seeds=one": "'one' is not a list of whole numbers",
    "--overrides=algo.ponder.max_halts=0": "`algo.ponder.max_halts=0`",
    "--overrides=algo.nothing=1": "algo.nothing",
    "--overrides=seed=7": "`--overrides=seed=7` can't be: a study sets",
    "--overrides=+exp=dnp_crafter": "`--overrides=+exp=dnp_crafter` can't be",
    "--overrides=hydra.run.dir=here": "`--overrides=hydra.run.dir=here` can't be",
    "--overrides=algo.total_steps=50001": "`algo.total_steps=50001` must be a multiple of the 4 steps",
    "--overrides=algo.total_steps=0": "`algo.total_steps=0` must be a multiple of the 4 steps",
    "--overrides=checkpoint.save_last=False": "`checkpoint.save_last=False` must be True",
    "--overrides=dry_run=True": "`dry_run=True` must be False",
    "--overrides=metric.log_level=0": "`metric.log_level=0` must be 1: a report needs the metrics",
    "--overrides=metric.logger._target_=lightning.pytorch.loggers.CSVLogger": "CSVLogger` must be a logger of Tens",
    "--overrides=logger@metric.logger=mlflow": "MLFLOW_TRACKING_URI",
    "--overrides=metric=null": "`--arms=dnp_crafter_small` with `--overrides=metric=null`: Config group override must",
    "--overrides=env.num_envs=0": "`env.num_envs=0` must be a whole number from 1",
    "--overrides=env.wrapper.worlds=mine": "`env.wrapper.worlds=mine` must be one of `training`, `evaluation`",
    "--forced-steps=2,0": "`forced_steps=2,0` must be a list of whole numbers from 1 and `shuffled`, each once",
    "--forced-steps=2,x": "'2,x' is not a list of whole numbers and `shuffled`",
    "--seeds=4294967296": "`seeds=4294967296` must be one whole number or more from 0 to 4294967295",
    "--processes=0": "'0' is not a whole number from 1",
    "hydra.launcher.n_jobs=2": "name one with `--launcher`",
}


@pytest.mark.parametrize("argument", BAD)
def test_a_bad_argument_is_named_before_any_work_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argument: str
) -> None:
    arms = [] if argument.startswith("--arms") else ["--arms", ARMS[1]]
    assert exit_code([str(tmp_path / "study"), *arms, argument]) != 0
    errors = capsys.readouterr().err
    assert BAD[argument] in errors and "rror: " in errors, errors
    assert not (tmp_path / "study").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert exit_code([str(tmp_path / "file"), "--arms", ARMS[1]]) == 1
    assert f"`FOLDER={tmp_path}/file` must be a folder to write in" in capsys.readouterr().err


def exit_code(arguments: list[str]) -> int | str | None:
    try:
        return main(arguments)
    except SystemExit as exit:
        return exit.code


def test_a_study_is_not_changed_by_other_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "study.yaml").write_text(json.dumps({"arms": ARMS, "seeds": [1]}))
    for argument, said in {
        "--seeds=2": "`--seeds=(2,)` is not that of the study",
        f"--arms={ARMS[0]}": "is not that of the study",
        "--episodes=7": "`--episodes=7` is not that of the study",
        "--overrides=algo.horizon=3": "is not that of the study",
    }.items():
        assert exit_code([str(tmp_path), argument]) == 1
        assert said in capsys.readouterr().err
    assert load_config(tmp_path) == StudyConfig(tuple(ARMS), (1,))


def test_a_study_gets_more_arms_and_seeds(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(json.dumps({"arms": ARMS[:1], "seeds": [1], "evaluations": {"episodes": 7}}))
    more = parse_arguments([str(tmp_path), "--seeds", "1,2", "--arms", ",".join(reversed(ARMS))])
    assert study_config(more) == StudyConfig(tuple(reversed(ARMS)), (1, 2), evaluations=Evaluations(episodes=7))


def test_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["--help"]) == 0
    assert "scripts/study studies/first" in capsys.readouterr().out
