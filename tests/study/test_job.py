"""A study as it runs: whatever is killed goes on, nothing is lost and nothing counts twice."""

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
import yaml
from conftest import TINY_LIGHTS_OUT, clean_environment

from sheeprl_dnp.episodes import read_episodes
from sheeprl_dnp.evaluation import Settings
from sheeprl_dnp.report.tables import load
from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.studies import Arm, Run, read_study
from sheeprl_dnp.study.evaluate import evaluate_checkpoint
from sheeprl_dnp.study.pool import played_steps
from sheeprl_dnp.study.publish import publish_study

LIGHTS = "dnp_lights_out"
ARMS = [f"{LIGHTS}_baseline", LIGHTS]
# An experiment of SheepRL's own on Lights Out
KEYS = ["algo.cnn_keys.encoder=[]", "algo.cnn_keys.decoder=[]", "algo.mlp_keys.encoder=[lights]"]
STOCK = ["env=dnp_lights_out", "algo=dreamer_v3_XS", *KEYS, "algo.mlp_keys.decoder=[lights]"]
TOTAL_STEPS = 700
TINY = [*TINY_LIGHTS_OUT, f"algo.total_steps={TOTAL_STEPS}", "algo.replay_ratio=0.05", "checkpoint.every=100"]


def study_command(study: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "sheeprl_dnp.study.study", str(study), "--threads", "1", *arguments]


def new_study(folder: Path, arms: list[str], seeds: str, *arguments: str) -> list[str]:
    evaluations = ["--episodes", "2", "--forced-steps", "1,6,shuffled", "--forced-episodes", "10"]
    tiny = ["--overrides", *TINY]
    return study_command(folder, "--arms", ",".join(arms), "--seeds", seeds, *evaluations, *arguments, *tiny)


def run_of(folder: Path, exp: str) -> Run:
    """Of an arm that is named as its experiment, with seed 1."""
    return Run(folder, Arm(label=exp, exp=exp), 1)


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
    planned = read_study(folder).runs(folder) if (folder / "study.yaml").exists() else []
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


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_study_killed_at_random_five_times_ends_with_all_its_runs(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    command = new_study(folder, ARMS, "1,2", "--processes", "2")
    randomness = random.Random(0)
    for share in sorted([0.0, *(randomness.uniform(0, 0.6) for _ in range(4))]):
        kill_at(command, folder, share, randomness.uniform(0, 5))
    assert run_command(command).returncode == 0
    planned = read_study(folder).runs(folder)
    assert [(run.arm.label, run.seed) for run in planned] == [(arm, seed) for seed in (1, 2) for arm in ARMS]
    for run in planned:
        assert_is_whole(run)
    assert sum(len(list(run.folder.glob("attempt_*.json"))) for run in planned) > 4


@pytest.mark.slow
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
    assert not run_of(folder, ARMS[0]).is_finished


# All that means something to a shell, Hydra's grammar, OmegaConf, a pattern of files, or the markup of a terminal
STRANGE = """-étude (1) a,b lr=1 it's "so" $HOME ${seed} {x} #~%s!@&;|<> back\\slash [bold] *"""


@pytest.mark.slow
def test_any_folder_name_works_and_the_checkpoints_of_others_stay(tmp_path: Path) -> None:
    other = tmp_path / STRANGE.replace("[bold] *", "b matches") / f"runs/{LIGHTS}/seed_1/version_0/checkpoint"
    other.mkdir(parents=True)
    (other / "ckpt_1_0.ckpt").touch()
    short = ["algo.total_steps=80", "checkpoint.every=20", "checkpoint.keep_last=1"]
    arguments = ["--arms", LIGHTS, "--seeds", "1", "--episodes", "2", "--overrides", *TINY_LIGHTS_OUT, *short]
    command = [sys.executable, "-m", "sheeprl_dnp.study.study", *arguments, "--", STRANGE]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=clean_environment())
    assert result.returncode == 0, result.stderr
    assert run_of(tmp_path / STRANGE, LIGHTS).load("finished.json")["steps"] == 80
    assert (other / "ckpt_1_0.ckpt").exists()


@pytest.mark.slow
def test_a_launcher_of_hydra_runs_a_study(tmp_path: Path) -> None:
    folder = tmp_path / STRANGE
    command = new_study(folder, ARMS[1:], "1,2", "--launcher", "joblib", "hydra.launcher.n_jobs=2")
    result = run_command(command)
    assert result.returncode == 0, result.stderr[-3000:]
    for run in read_study(folder).runs(folder):
        assert_is_whole(run)


HARDER = ["env.wrapper.difficulty=[5,8]"]
PONDER, BASELINE = "Ponder, N = 2", "8"


def write_plan(path: Path) -> None:
    arm = {"exp": LIGHTS, "overrides": ["algo.ponder.max_halts=2"]}
    arms = [{"label": PONDER, **arm}, {"label": BASELINE, "exp": "dreamer_v3", "overrides": STOCK}]
    evaluations = {"episodes": 2, "forced_steps": [1, 6, "shuffled"], "forced_episodes": 10, "dream": [9]}
    evaluations |= {"environments": {"harder": HARDER}, "worlds": "validation"}
    overrides = [*TINY, "env.wrapper.difficulty=[1,1]"]
    path.write_text(yaml.safe_dump({"arms": arms, "seeds": [1], "overrides": overrides, "evaluations": evaluations}))


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of a file, killed in its first run when that has saved a checkpoint, and run again."""
    root = tmp_path_factory.mktemp("studied")
    write_plan(root / "mine.yaml")
    folder = root / "studies" / "mine"
    process = subprocess.Popen(
        study_command(root / "mine.yaml"),
        cwd=root,
        env=clean_environment(),
        start_new_session=True,
        stderr=subprocess.DEVNULL,
    )
    wait_for(folder, "runs/*/seed_1/version_0/checkpoint/ckpt_[2-6]00_0.ckpt", 200)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    (run, _) = read_study(folder).runs(folder)
    saved = max(run.checkpoints(), key=lambda path: path.stat().st_mtime)
    saved.with_name("ckpt_690_0.ckpt").write_bytes(saved.read_bytes()[:1000])  # one that was cut while it was saved
    result = run_command(study_command(folder))
    assert result.returncode == 0, result.stderr
    assert "2 of 2 runs finished" in result.stderr
    return folder


@pytest.mark.timeout(1200)
def test_a_killed_study_goes_on_from_its_checkpoint(studied: Path) -> None:
    run, other = read_study(studied).runs(studied)
    assert_is_whole(run)
    assert_is_whole(other)
    attempts = [run.load(f"attempt_{number}.json") for number in (0, 1)]
    assert attempts[0]["from_step"] == 0 and attempts[0]["exit"] is None
    assert 200 <= attempts[1]["from_step"] <= 600 and attempts[1]["exit"] == 0
    assert attempts[1]["cpu_s"] > 0 and attempts[1]["machine"]["cores"] == os.cpu_count()
    before = {path: path.stat().st_mtime_ns for path in studied.glob("runs/**/*.json")}
    assert run_command(study_command(studied)).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in studied.glob("runs/**/*.json")} == before


def test_its_runs_have_the_labels_of_the_arms_and_the_evaluations_of_the_file(studied: Path) -> None:
    assert sorted(path.name for path in (studied / "runs").iterdir()) == ["8", "Ponder_N_2"]
    run, _ = read_study(studied).runs(studied)
    forced = {steps: run.load(f"evaluation_{steps}.json")["mean_ponder_steps"] for steps in (1, 6, "shuffled")}
    assert (forced[1], forced[6]) == (1, 6) and 1 < forced["shuffled"] < 2
    for path in studied.glob("runs/*/seed_1/evaluation_*.json"):
        played, [rule, *elsewhere] = json.loads(path.read_text()), path.stem.removeprefix("evaluation_").split("@")
        assert (played["worlds"], played["dream"]) == ("validation", 9 if rule == "dream_9" else None)
        assert played["overrides"] == (HARDER if elsewhere else [])
        assert {episode["difficulty"] > 4 for episode in played["episodes"]} == {bool(elsewhere)}


@pytest.mark.slow
def test_it_is_published_as_tables_with_its_policies(studied: Path) -> None:
    root = studied.parents[1]
    where = {"cwd": root, "env": clean_environment(), "capture_output": True, "text": True}
    published = subprocess.run(study_command(studied, "--publish", "--policies"), **where)
    assert published.returncode == 0, published.stderr
    target = root / "results" / "mine"
    for run in read_study(studied).runs(studied):
        (policy,) = (target / "policies" / run.arm.folder / "checkpoint").iterdir()
        replayed = evaluate_checkpoint(Settings(checkpoint=str(policy), worlds="validation", episodes=2))
        assert replayed["episodes"] == run.load("evaluation_default.json")["episodes"]
    study = load(target)
    assert study.finished["arm"].tolist() == [PONDER, BASELINE] and study.problems.empty
    rows = ["arm", "rule", "environment"]
    played = study.evaluation.fillna({"environment": ""}).groupby(rows, observed=True).size().to_dict()
    rules = {PONDER: ("1", "6", "shuffled", "dream_9"), BASELINE: ("dream_9",)}
    own = {(arm, "default", where): 2 for arm in rules for where in ("", "harder")}
    forced = {(arm, rule, where): 10 for arm in rules for rule in rules[arm] for where in ("", "harder")}
    assert played == own | forced and study.metrics["step"].max() == TOTAL_STEPS
    text = (target / "report" / "report.md").read_text()
    assert "### Frozen policies in another environment: harder" in text and "| best of 9, dreamed |" in text
    assert f"| | {PONDER} | {BASELINE} |" in text and "2 of 2 runs are finished" in text
    assert sorted(path.name for path in target.glob("*.html")) == ["watch_8.html", "watch_Ponder_N_2.html"]
    again = subprocess.run(study_command(Path("results/mine")), **where)
    assert again.returncode == 1 and "has a published study" in again.stderr
    (target / "study.yaml").write_text((target / "study.yaml").read_text().replace("dream: [9]", "dream: [4]"))
    with pytest.raises(ConfigError, match="has another study, with other `evaluations`"):
        publish_study(studied, target, policies=False)
