"""Any command, any folder, any launcher, any process: the records of a run are where SheepRL logs it."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from conftest import BIN, TINY_CRAFTER, TINY_LIGHTS_OUT, Command, clean_environment, last_checkpoint

from sheeprl_dnp.episodes import read_episodes

# Of SheepRL's own experiment on an environment of Gymnasium
CARTPOLE = [
    "exp=dreamer_v3",
    "env=gym",
    "env.id=CartPole-v1",
    "env.capture_video=False",
    "algo.cnn_keys.encoder=[]",
    "algo.cnn_keys.decoder=[]",
    "algo.mlp_keys.encoder=[vector]",
    "algo.mlp_keys.decoder=[vector]",
    "algo.run_test=False",
    "algo.mlp_layers=1",
    "fabric.accelerator=cpu",
    *TINY_LIGHTS_OUT,
]


def runs(folder: Path) -> dict[Path, list[dict[str, Any]]]:
    """The runs that log below a folder, from the first to the last, each with its episodes."""
    logged = sorted((path.parent.parent for path in folder.rglob("version_*/config.yaml")), key=lambda run: run.name)
    return {run: read_episodes(run) for run in dict.fromkeys(logged)}


def whole(episodes: list[dict[str, Any]], steps: int, environments: int, start: int = 0) -> bool:
    """Whether these are all the episodes of so many environments from a step to another, but for unfinished ones."""
    played = {env: 0 for env in range(environments)}
    for episode in episodes:
        played[episode["env"]] += episode["length"]
        if episode["step"] != start + environments * played[episode["env"]]:
            return False
    longest = max(episode["length"] for episode in episodes)
    return all(0 <= (steps - start) // environments - count < 2 * longest for count in played.values())


@pytest.mark.slow
def test_a_sweep_whose_runs_are_named_by_the_time_keeps_the_records_of_each(train: Command, tmp_path: Path) -> None:
    train("-m", "exp=dnp_lights_out_baseline", "seed=0,1", *TINY_LIGHTS_OUT)
    found = runs(tmp_path / "logs")
    assert [run.name.split("_", 2)[2] for run in found] == ["dreamer_v3_lights_out_0", "dreamer_v3_lights_out_1"]
    for run, episodes in found.items():
        assert whole(episodes, steps=96, environments=2), run
        assert json.loads((run / "costs.json").read_text())["parameters"]["agent"] > 0
    first, second = ([(episode["env"], episode["board"]) for episode in episodes] for episodes in found.values())
    assert len(first) > 10 and first[:10] != second[:10]


@pytest.mark.slow
def test_a_run_of_a_sweep_that_is_refused_is_named_and_the_others_train(command: Command, tmp_path: Path) -> None:
    result = command("sheeprl", "-m", "exp=dnp_lights_out", "algo.ponder.max_halts=0,2", *TINY_LIGHTS_OUT)
    assert result.returncode != 0 and "Traceback" not in result.stderr
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("Error: "))
    assert "`algo.ponder.max_halts=0` must be a whole number from 1" in line
    ((_, episodes),) = runs(tmp_path / "logs").items()
    assert whole(episodes, steps=96, environments=2)


def test_what_sheeprl_itself_fails_at_is_said_of_a_run_of_a_sweep_too(command: Command) -> None:
    result = command("sheeprl", "-m", "exp=dnp_lights_out", "checkpoint.resume_from=missing.ckpt")
    assert result.returncode != 0 and "Traceback" not in result.stderr
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("Error: "))
    assert "`checkpoint.resume_from=missing.ckpt`" in line


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a run has finished, with `log_root=first`."""
    folder = tmp_path_factory.mktemp("trained")
    command = [str(BIN / "sheeprl"), "exp=dnp_lights_out", *TINY_LIGHTS_OUT, "log_root=first", "seed=5"]
    subprocess.run(command, cwd=folder, env=clean_environment(), check=True, capture_output=True)
    return folder


def checkpoint(folder: Path, steps: int = 64) -> Path:
    return next(folder.rglob(f"ckpt_{steps}_0.ckpt"))


def test_a_resume_goes_on_with_its_own_configuration_and_says_what_it_does_not_take(
    train: Command, trained: Path, tmp_path: Path
) -> None:
    overrides = ["log_root=second", "algo.ponder.beta=0.1", "algo=dreamer_v3_ponder_S", "algo.total_steps=128"]
    resume = f"checkpoint.resume_from={checkpoint(trained)}"
    result = train("exp=dnp_lights_out", resume, *overrides, cwd=tmp_path)
    (line,) = (line for line in result.stderr.splitlines() if line.startswith("A resumed run goes on with its own"))
    assert "`log_root=second` (it stays first), `algo.ponder.beta=0.1` (it stays 0.003)" in line
    assert "`algo=dreamer_v3_ponder_S` (algo." in line and " more)" in line
    assert "total_steps" not in line and "resume_from" not in line and "exp=" not in line
    ((run, episodes),) = runs(tmp_path).items()
    assert run.is_relative_to(tmp_path / "first") and not (tmp_path / "second").exists()
    assert whole(episodes, steps=128, environments=2, start=64)
    costs = [json.loads(path.read_text()) for folder in (trained, tmp_path) for path in folder.rglob("costs.json")]
    assert len(costs) == 2 and costs[0] == costs[1]
    assert f"Parameters of the agent: {costs[0]['parameters']['agent']:,}, " in result.stdout


def test_a_resume_as_the_readme_has_it_says_nothing_and_plays_no_board_again(
    train: Command, trained: Path, tmp_path: Path
) -> None:
    total = "algo.total_steps=128"  # what is left of the experiment's own total would take minutes
    result = train("exp=dnp_lights_out", f"checkpoint.resume_from={checkpoint(trained, 96)}", total, cwd=tmp_path)
    assert "A resumed run" not in result.stderr
    ((_, episodes),) = runs(tmp_path).items()
    assert whole(episodes, steps=128, environments=2, start=96)


@pytest.mark.slow
def test_episodes_that_a_limit_cuts_are_on_record_also_where_nothing_is_logged(train: Command, tmp_path: Path) -> None:
    elsewhere = [f"log_root=file://{tmp_path}/elsewhere", "hydra.job.chdir=True", "buffer.memmap=False"]
    train("exp=dnp_crafter_small", *TINY_CRAFTER, "env.max_episode_steps=20", "metric.log_level=0", *elsewhere)
    ((_, episodes),) = runs(tmp_path / "elsewhere").items()
    assert [(episode["step"], episode["length"]) for episode in episodes] == [
        (step, 20) for step in (40, 80, 120, 160) for _ in range(2)
    ]
    for episode in episodes:
        assert len([key for key in episode if key.startswith("achievement_")]) == 22 and "world_seed" in episode


@pytest.mark.slow
def test_any_environment_of_gymnasium_is_recorded(train: Command, tmp_path: Path) -> None:
    train(*CARTPOLE, "algo=dreamer_v3_ponder_XS", "env.sync_env=True")
    ((_, episodes),) = runs(tmp_path).items()
    assert whole(episodes, steps=96, environments=2)
    assert all(episode["reward"] == episode["length"] for episode in episodes)


@pytest.mark.slow
def test_the_workers_of_a_launcher_know_the_algorithm_and_keep_their_records(train: Command, tmp_path: Path) -> None:
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "env.sync_env=False"]
    train("-m", *CARTPOLE, "algo=dreamer_v3_ponder_XS", "seed=0,1", *joblib)
    found = runs(tmp_path / "logs")
    assert len(found) == 2
    assert all(whole(episodes, steps=96, environments=2) for episodes in found.values())


@pytest.mark.slow
def test_submitit_trains_in_processes_of_its_own(train: Command, tmp_path: Path) -> None:
    train("-m", *CARTPOLE, "algo=dreamer_v3_ponder_XS", "seed=0,1", "hydra/launcher=submitit_local")
    found = runs(tmp_path / "logs")
    assert len(found) == 2
    assert all(whole(episodes, steps=96, environments=2) for episodes in found.values())


TWO_PROCESSES = ["fabric.devices=2", "fabric.strategy=ddp", "fabric.accelerator=cpu"]


@pytest.mark.slow
@pytest.mark.parametrize("experiment", ["dnp_lights_out", "dnp_lights_out_baseline"])
def test_torchrun_records_the_episodes_of_each_process_and_resumes(tmp_path: Path, experiment: str) -> None:
    def torchrun(*overrides: str) -> None:
        command = [str(BIN / "torchrun"), "--standalone", "--nproc_per_node", "2", "-m", "sheeprl", f"exp={experiment}"]
        environment = clean_environment()
        result = subprocess.run([*command, *overrides], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-3000:]

    torchrun(*TINY_LIGHTS_OUT, *TWO_PROCESSES, "run_name=whole")
    ((_, episodes),) = runs(tmp_path).items()
    assert whole(episodes, steps=96, environments=4)
    torchrun(f"checkpoint.resume_from={checkpoint(tmp_path)}", "algo.total_steps=128", "run_name=resumed")
    resumed = runs(next(tmp_path.rglob("resumed")))
    assert [whole(episodes, steps=128, environments=4, start=64) for episodes in resumed.values()] == [True]


@pytest.mark.slow
def test_each_run_of_a_sweep_trains_in_two_processes(train: Command, tmp_path: Path) -> None:
    train("-m", "exp=dnp_lights_out_baseline", "seed=0,1", *TINY_LIGHTS_OUT, *TWO_PROCESSES)
    found = runs(tmp_path / "logs")
    assert len(found) == 2
    assert all(whole(episodes, steps=96, environments=4) for episodes in found.values())


@pytest.mark.slow
def test_the_files_of_a_replay_buffer_are_one_trainings(command: Command, tmp_path: Path) -> None:
    memmap = ["buffer.memmap=True", "buffer.checkpoint=True", "env.num_envs=2"]
    endless = ["algo.total_steps=1000000", "checkpoint.keep_last=1000"]
    start = [str(BIN / "sheeprl"), "exp=dnp_lights_out", *TINY_LIGHTS_OUT, *memmap]
    first = subprocess.Popen([*start, *endless, "run_name=first"], cwd=tmp_path, env=clean_environment())
    try:
        wait_for(lambda: list(tmp_path.rglob("ckpt_64_0.ckpt")), first)
        resume = f"checkpoint.resume_from={checkpoint(tmp_path)}"
        refused = command("sheeprl", "exp=dnp_lights_out", resume, "algo.total_steps=128", "run_name=second")
        assert refused.returncode != 0 and "Traceback" not in refused.stderr
        (line,) = (line for line in refused.stderr.splitlines() if line.startswith("Error: "))
        assert "`buffer.memmap=True`" in line and "first/version_0/memmap_buffer/rank_0`" in line
        assert not list(tmp_path.rglob("second/version_*"))
    finally:
        first.kill()
        first.wait()
    second = subprocess.Popen(
        ["sheeprl", "exp=dnp_lights_out", resume, *endless, "run_name=second"],
        executable=str(BIN / "sheeprl"),
        cwd=tmp_path,
        env=clean_environment(),
    )
    try:
        wait_for(lambda: list(tmp_path.rglob("second/version_0/checkpoint/*.ckpt")), second)
        of_the_second = last_checkpoint(next(tmp_path.rglob("second")))
        for path in (checkpoint(tmp_path), of_the_second):
            refused = command("sheeprl", "exp=dnp_lights_out", f"checkpoint.resume_from={path}", "run_name=third")
            assert refused.returncode != 0 and "first/version_0/memmap_buffer/rank_0`" in refused.stderr
    finally:
        second.kill()
        second.wait()
    third = command("sheeprl", "exp=dnp_lights_out", resume, "algo.total_steps=128", "run_name=third")
    assert third.returncode == 0, third.stderr[-3000:]


def wait_for(condition: Any, process: subprocess.Popen[Any]) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
