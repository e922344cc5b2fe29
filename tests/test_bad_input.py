"""Bad input is answered with one sentence and a non-zero exit before any work starts, and nothing is lost."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import BIN, TINY_CRAFTER, Command, clean_environment, last_checkpoint, load, wait_for_checkpoint
from hydra.errors import ConfigCompositionException
from test_configs import experiment

from sheeprl_dnp.hydra_callback import check
from sheeprl_dnp.runs import ConfigError

EXPERIMENT = ["exp=dnp_crafter_small", *TINY_CRAFTER]

BAD_VALUES = {
    "algo.ponder.max_halts=0": "a whole number from 1",
    "algo.ponder.max_halts=2.5": "a whole number from 1",
    "algo.ponder.max_halts=many": "a whole number from 1",
    "algo.ponder.max_halts=null": "a whole number from 1",
    "algo.ponder.learn_halting=maybe": "true or false",
    "algo.ponder.lambda_p=1.5": "strictly between 0 and 1",
    "algo.ponder.lambda_p=0": "strictly between 0 and 1",
    "algo.ponder.beta=-1": "a number from 0",
    "algo.ponder.beta=.nan": "a number from 0",
    "algo.ponder.roots=0": "'all', a whole number from 2",
    "algo.ponder.roots=1.5": "a fraction above 0 and up to 1.0",
    "algo.ponder.roots=17": "at most the 16 states of a batch",
    "algo.ponder.continuation=branch": "'sample' or 'commit'",
    "algo.ponder.halting=never": "'sample', 'threshold' or a whole number from 1",
    "algo.ponder.halting=0": "'sample', 'threshold' or a whole number from 1",
    "algo.ponder.halting_threshold=2": "above 0 and up to 1",
    "algo.ponder.eval_episodes=0": "a whole number from 1",
}
# Told by the command: one that our own check refuses, and one that the environment does
IN_A_TRAINING = {
    "algo.ponder.max_halts=0": "a whole number from 1",
    "env.id=crafter_hard": "crafter_reward",
}


def sentence(result: subprocess.CompletedProcess[str]) -> str:
    """The one line of an error, after which nothing comes, and before which no traceback."""
    assert result.returncode != 0
    assert "Traceback" not in result.stderr, result.stderr[-3000:]
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1, result.stderr[-3000:]
    return lines[0]


def names(message: str, override: str, allowed: str) -> bool:
    key, value = override.split("=")
    return f"`{key}=" in message and {".nan": "nan", "null": "None"}.get(value, value) in message and allowed in message


@pytest.mark.parametrize("override", BAD_VALUES)
def test_a_value_that_is_not_allowed_is_named_with_what_is(override: str) -> None:
    assert names(refused(*EXPERIMENT, override), override, BAD_VALUES[override])


@pytest.mark.parametrize("override", IN_A_TRAINING)
def test_no_work_starts_with_a_value_that_is_not_allowed(command: Command, tmp_path: Path, override: str) -> None:
    assert names(sentence(command("sheeprl", *EXPERIMENT, override)), override, IN_A_TRAINING[override])
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_key_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigCompositionException, match=r"Could not override 'algo.ponder.max_halt'"):
        experiment(*EXPERIMENT, "algo.ponder.max_halt=3")


def refused(*overrides: str) -> str:
    """The sentence by which a run ends before any work starts."""
    with pytest.raises(ConfigError) as error:
        check(experiment(*overrides))
    return str(error.value)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert f"`log_root={tmp_path}/file/logs` can't be written" in refused(*EXPERIMENT, f"log_root={tmp_path}/file/logs")


def test_an_actor_that_never_halts_is_played_as_it_learns() -> None:
    never = [*EXPERIMENT, "algo.ponder.learn_halting=False"]
    check(experiment(*never, "algo.ponder.halting=4"))
    message = refused(*never, "algo.ponder.halting=2")
    assert "`algo.ponder.halting=2` can't be with `algo.ponder.learn_halting=False`" in message and "step 4" in message


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a disk: run it as root")
def test_a_disk_without_write_permission_is_named(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "ro"):
        message = refused(*EXPERIMENT, f"log_root={tmp_path}/disk/logs")
    assert "`log_root=" in message and "Read-only" in message


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of a finished training."""
    folder = tmp_path_factory.mktemp("trained")
    overrides = [*EXPERIMENT, "algo.total_steps=80", "run_name=run"]
    subprocess.run(
        [str(BIN / "sheeprl"), *overrides], cwd=folder, env=clean_environment(), check=True, capture_output=True
    )
    return last_checkpoint(folder)


def copied(checkpoint: Path, folder: Path) -> Path:
    """The checkpoint in a copy of its run."""
    shutil.copytree(checkpoint.parents[1], folder / "copy")
    return folder / "copy" / "checkpoint" / checkpoint.name


def test_a_missing_checkpoint_is_named() -> None:
    message = refused(*EXPERIMENT, "checkpoint.resume_from=/nowhere/ckpt_1_0.ckpt")
    assert "`checkpoint.resume_from=/nowhere/ckpt_1_0.ckpt` is not a file" in message


def test_a_checkpoint_without_its_run_is_named(trained: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.ckpt"
    shutil.copy(trained, alone)
    assert "has no run around it" in refused(*EXPERIMENT, f"checkpoint.resume_from={alone}")


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "another file"])
def test_a_damaged_checkpoint_is_named(trained: Path, tmp_path: Path, damage: str) -> None:
    checkpoint = copied(trained, tmp_path)
    content = {"cut": checkpoint.read_bytes()[:5000], "empty": b"", "text": b"not a checkpoint"}
    if damage in content:
        checkpoint.write_bytes(content[damage])
    else:
        torch.save({"weights": 1}, checkpoint)
    assert f"`checkpoint.resume_from={checkpoint}`" in refused(*EXPERIMENT, f"checkpoint.resume_from={checkpoint}")


def test_a_checkpoint_of_another_algorithm_is_named(trained: Path) -> None:
    baseline = ["exp=dnp_crafter_small_baseline", *TINY_CRAFTER]
    message = refused(*baseline, f"checkpoint.resume_from={trained}")
    assert "`algo.name=dreamer_v3_ponder`" in message and "`algo.name=dreamer_v3`" in message


def test_a_finished_run_with_nothing_left_to_do_is_named(trained: Path) -> None:
    message = refused(*EXPERIMENT, f"checkpoint.resume_from={trained}", "algo.total_steps=80")
    assert "`algo.total_steps=80` leaves nothing to do" in message


class mounted:  # noqa: N801
    """A disk of 3 MB, mounted at a folder."""

    def __init__(self, folder: Path, options: str = "rw", size: str = "3M") -> None:
        self.folder, self.options = folder, f"{options},size={size}"

    def __enter__(self) -> None:
        self.folder.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", self.options, "tmpfs", str(self.folder)]
        if subprocess.run(command, capture_output=True).returncode != 0:
            pytest.skip("mounts a disk: run it where `mount -t tmpfs` is permitted")

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "-l", str(self.folder)], check=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="mounts a disk: run it as root")
@pytest.mark.parametrize(
    "experiment", ["dnp_crafter_small", pytest.param("dnp_crafter_small_baseline", marks=pytest.mark.slow)]
)
def test_a_full_disk_ends_a_training_with_a_sentence_and_keeps_its_good_checkpoint(
    command: Command, tmp_path: Path, experiment: str
) -> None:
    disk = tmp_path / "disk"
    with mounted(disk, size="60M"):
        filler = disk / "filler"
        overrides = [*TINY_CRAFTER, "algo.total_steps=100000", "checkpoint.every=40", "buffer.memmap=False"]
        process = subprocess.Popen(
            [str(BIN / "sheeprl"), f"exp={experiment}", *overrides, f"log_root={disk}/logs", "checkpoint.keep_last=1"],
            cwd=tmp_path,
            env=clean_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_for_checkpoint(process, disk, steps=80)
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(bytes(65536))
                    file.flush()
            except OSError:
                pass
        stdout, stderr = process.communicate(timeout=240)
        message = sentence(subprocess.CompletedProcess([], process.returncode, stdout, stderr))
        assert "No space left on device" in message
        filler.unlink()
        assert load(last_checkpoint(disk))["iter_num"] >= 40


def test_a_choice_that_a_resumed_run_cannot_mix_with_its_own_is_named(
    trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///nowhere")
    resume = [f"checkpoint.resume_from={trained}", "algo.total_steps=160"]
    with pytest.raises(ConfigError, match=r"`metric.logger._target_=lightning.*` can't be: .* goes on with its own"):
        check(experiment(*EXPERIMENT, *resume, "logger@metric.logger=mlflow"))
    for without_effect in ("algo.actor.optimizer.lr=1", "optim@algo.actor.optimizer=rmsprop_tf"):
        check(experiment(*EXPERIMENT, *resume, without_effect))


def test_a_value_from_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(ConfigError, match=r"`metric.logger.tracking_uri` has no value: .*MLFLOW_TRACKING_URI"):
        check(experiment(*EXPERIMENT, "logger@metric.logger=mlflow"))
