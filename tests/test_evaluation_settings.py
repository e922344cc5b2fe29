"""How an evaluation is asked for: on what device, in which environment, with which seeds, under what name."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from conftest import BIN, TINY_AGENT, Command, clean_environment, last_checkpoint
from omegaconf import OmegaConf
from test_bad_input import sentence

from sheeprl_dnp.dreamer_v3_ponder.evaluate import check_episodes, check_overrides
from sheeprl_dnp.envs.worlds import KEPT_SEEDS, check_training_seed
from sheeprl_dnp.evaluation import Settings
from sheeprl_dnp.runs import ConfigError
from sheeprl_dnp.study import evaluate

SHORT = [*TINY_AGENT, "env.num_envs=2", "env.sync_env=True", "algo.total_steps=40", "algo.learning_starts=32"]
SHORT += ["algo.replay_ratio=0.1", "buffer.size=1000", "run_name=run"]
LIGHTS = ["exp=dnp_lights_out", *SHORT]
NO_PIXELS = (("cnn", "[]"), ("mlp", "[vector]"))
CARTPOLE = ["exp=dreamer_v3", "algo=dreamer_v3_ponder_XS", "env=gym", "env.id=CartPole-v1", "env.capture_video=False"]
CARTPOLE += [f"algo.{kind}_keys.{part}={keys}" for kind, keys in NO_PIXELS for part in ("encoder", "decoder")]
CARTPOLE += SHORT


def trained(folder: Path, *overrides: str) -> Path:
    command = [str(BIN / "sheeprl"), *overrides]
    result = subprocess.run(command, cwd=folder, env=clean_environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    return last_checkpoint(folder)


@pytest.fixture(scope="module")
def lights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint on Lights Out."""
    return trained(tmp_path_factory.mktemp("lights"), *LIGHTS)


@pytest.fixture(scope="module")
def cartpole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint on an environment that isn't ours, trained with the seeds 5 and 6."""
    return trained(tmp_path_factory.mktemp("cartpole"), *CARTPOLE, "seed=5")


def play(*arguments: object) -> None:
    """`scripts/evaluate`, in this process."""
    evaluate.main([str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The sentence that it ends with."""
    with pytest.raises(SystemExit, match=r"^Error: ") as stopped:
        play(*arguments)
    return str(stopped.value.code)


def kept(checkpoint: Path) -> dict[str, dict]:
    """The evaluations beside a checkpoint, by what their names add to its."""
    files = checkpoint.parent.glob("*.eval.json")
    return {path.name.removeprefix(checkpoint.stem + "."): json.loads(path.read_text()) for path in files}


def test_no_evaluation_replaces_another_and_each_says_how_it_was_played(command: Command, lights: Path) -> None:
    for arguments in ([], ["--seed", 1], ["--envs", 1], ["--steps", 2], ["--worlds", "validation"], ["--envs", 1]):
        play(lights, "--episodes", 3, *arguments)
    play(lights, "--episodes", 2)
    evaluated = command("sheeprl-eval", f"checkpoint_path={lights}", "+eval_episodes=3", "seed=0")
    assert evaluated.returncode == 0, evaluated.stderr
    assert "Episode 3/3" in evaluated.stdout
    results = kept(lights)
    assert results.keys() == {
        "episodes_3_seed_0_envs_3_cpu.eval.json",
        "episodes_3_seed_1_envs_3_cpu.eval.json",
        "episodes_3_seed_0_envs_1_cpu.eval.json",
        "episodes_3_seed_0_envs_3_cpu_steps_2.eval.json",
        "episodes_3_seed_0_envs_3_cpu_validation.eval.json",
        "episodes_2_seed_0_envs_2_cpu.eval.json",
        "episodes_3_seed_0_envs_1_cpu_sheeprl-eval.eval.json",
    }
    for name, result in results.items():
        described = (result[key] for key in ("num_episodes", "seed", "num_envs", "device"))
        assert name.startswith("episodes_{}_seed_{}_envs_{}_{}".format(*described))
        assert (len(result["episodes"]), result["checkpoint"]) == (result["num_episodes"], str(lights))
        assert result["steps"] == (2 if "steps_2" in name else "sample")
        assert result["worlds"] == ("validation" if "validation" in name else "evaluation")
        assert result["command"] == ("sheeprl-eval" if "sheeprl" in name else "scripts/evaluate")


def test_a_policy_plays_another_environment_than_it_was_trained_in(lights: Path) -> None:
    play(lights, "--episodes", 4, "--override", "env.wrapper.difficulty=[5,8]", "--override", "env.wrapper.slack=0")
    name = lights.with_suffix(".episodes_4_seed_0_envs_4_cpu_env.wrapper.difficulty_5_8_env.wrapper.slack_0.eval.json")
    played = json.loads(name.read_text())
    assert played["overrides"] == ["env.wrapper.difficulty=[5,8]", "env.wrapper.slack=0"]
    for episode in played["episodes"]:
        assert 5 <= episode["difficulty"] <= 8 and episode["length"] <= episode["difficulty"]
    for override, said in {
        "env.wrapper.size=4": "must leave the observations and actions as they were",
        "env.wrapper.difficulty=[1,9]": "`env.wrapper.difficulty=[1, 9]` must be two whole numbers",
        "env.wrapper.nothing=1": "must be of a key `env.…` that the run has",
        "env.num_envs=3": "can't be: an evaluation sets `env.num_envs`, ",
        "algo.gamma=1": "must be of a key `env.…` that the run has",
        "env.wrapper.size": "must be `env.key=value`",
        "env.wrapper.difficulty=5,8": "must be `env.key=value`",
        "env.wrapper._target_=nothing.Nothing": "` can't be made: ",
    }.items():
        assert said in refused(lights, "--episodes", 4, "--override", override)


def copied(checkpoint: Path, folder: Path, **values: object) -> Path:
    """The checkpoint in a run with other values in its configuration."""
    config = (checkpoint.parents[1] / "config.yaml").read_text()
    for key, value in values.items():
        config, changed = re.subn(rf"(?m)^( *{key}:) .*$", rf"\1 {value}", config, count=1)
        assert changed == 1, key
    (folder / "checkpoint").mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    return Path(shutil.copy(checkpoint, folder / "checkpoint"))


REMOTE = {"accelerator": "cuda", "devices": 4, "strategy": "ddp"}


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about computers without a GPU")
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "16-true"])
def test_what_was_trained_on_gpus_is_played_where_there_is_none(lights: Path, tmp_path: Path, precision: str) -> None:
    checkpoint = copied(lights, tmp_path / "version_0", **REMOTE, precision=precision)
    play(checkpoint, "--episodes", 2)
    (played,) = kept(checkpoint).values()
    assert (played["device"], played["precision"]) == ("cpu", "bf16-mixed" if "bf16" in precision else "32-true")
    message = refused(checkpoint, "--episodes", 2, "--accelerator", "cuda")
    assert "`--accelerator=cuda` must be one that this computer has: cpu, auto." in message


@pytest.mark.slow
def test_the_commands_play_what_was_trained_on_gpus_by_its_url(command: Command, lights: Path, tmp_path: Path) -> None:
    checkpoint = copied(lights, tmp_path / "run" / "version_0", **REMOTE, precision="16-mixed")
    no_gpu = clean_environment() | {"CUDA_VISIBLE_DEVICES": ""}
    url = f"file://{checkpoint}"
    for program, *arguments in (
        ("python", "-m", "sheeprl_dnp.study.evaluate", url, "--episodes", "1"),
        ("sheeprl-eval", f"checkpoint_path={url}", "+eval_episodes=1", "seed=0"),
    ):
        result = command(program, *arguments, env=no_gpu)
        assert result.returncode == 0, result.stderr
    results = kept(checkpoint)
    assert sorted(results) == [
        "episodes_1_seed_0_envs_1_cpu.eval.json",
        "episodes_1_seed_0_envs_1_cpu_sheeprl-eval.eval.json",
    ]
    assert {result["checkpoint"] for result in results.values()} == {url}


def test_a_url_that_leads_nowhere_is_named() -> None:
    assert "`CKPT=file:///nothing.ckpt` is not a file" in refused("file:///nothing.ckpt")
    assert "is on a filesystem that can't be reached" in refused("nothing://a/b/checkpoint/ckpt_1_0.ckpt")


@pytest.mark.slow
def test_a_training_goes_on_from_a_url(command: Command, lights: Path, tmp_path: Path) -> None:
    result = command("sheeprl", *LIGHTS, f"checkpoint.resume_from=file://{lights}", "algo.total_steps=60")
    assert result.returncode == 0, result.stderr
    assert last_checkpoint(tmp_path).name == "ckpt_60_0.ckpt"


@pytest.mark.parametrize("episodes", ["0", "many", "2.5"])
def test_a_bad_number_of_episodes_is_refused(episodes: str) -> None:
    with pytest.raises(ConfigError, match=f"`eval_episodes={episodes}` is not allowed: it must be a whole number"):
        check_episodes(OmegaConf.create(f"n: {episodes}").n)


NO_EFFECT = ["+algo.ponder.eval_episodes=2", "+eval_episode=2", "+env.num_envs=3", "+env=dummy", "~fabric.precision"]


@pytest.mark.parametrize("override", [*NO_EFFECT, "+exp=dnp_crafter", "++algo.ponder.halting=2", "+buffer.size=1"])
def test_what_can_take_no_effect_on_an_evaluation_is_refused(override: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_overrides(["checkpoint_path=x", override])
    assert f"`{override}` has no effect on an evaluation" in str(error.value)
    assert "it may set checkpoint_path, eval_episodes, seed" in str(error.value)


def test_what_takes_effect_on_an_evaluation_is_not_refused() -> None:
    check_overrides(["+eval_episodes=2", "fabric.accelerator=cuda", "env.capture_video=False", "+metric.log_level=0"])


def test_sheeprl_eval_ends_with_that_sentence(command: Command, lights: Path) -> None:
    before = kept(lights)
    message = sentence(command("sheeprl-eval", f"checkpoint_path={lights}", NO_EFFECT[0]))
    assert f"`{NO_EFFECT[0]}` has no effect" in message
    assert kept(lights) == before


def test_any_environment_is_evaluated_with_seeds_that_no_training_begins_with(cartpole: Path, tmp_path: Path) -> None:
    for arguments in ([], ["--worlds", "validation"]):
        play(cartpole, "--episodes", 3, "--envs", 2, *arguments)
    results = kept(cartpole)
    assert {result["worlds"] for result in results.values()} == {"evaluation", "validation"}
    for result in results.values():
        assert [episode["seed"] for episode in result["episodes"]] == list(KEPT_SEEDS[result["worlds"]][:3])
    trained_with = copied(cartpole, tmp_path / "version_0", seed=KEPT_SEEDS["evaluation"][0])
    assert f"`seed={KEPT_SEEDS['evaluation'][0]}` is not allowed" in refused(trained_with)


FIRST, LAST = KEPT_SEEDS["validation"][0], KEPT_SEEDS["evaluation"][-1]


@pytest.mark.parametrize("seed", [FIRST - 1, FIRST, LAST])
def test_no_training_begins_with_a_seed_that_is_kept(seed: int) -> None:
    cfg = {"env": {"wrapper": {"id": "CartPole-v1"}}, "seed": seed}
    with pytest.raises(ConfigError, match=f"`seed={seed}` is not allowed: the seeds from {FIRST} to {LAST} are kept"):
        check_training_seed(cfg)
    for other in ({"seed": LAST + 1}, {"seed": 1_800_000_000}, {"env": {"wrapper": {"worlds": "training"}}}):
        check_training_seed(cfg | other)


@pytest.mark.slow
def test_the_command_refuses_such_a_seed(command: Command) -> None:
    assert f"`seed={FIRST}` is not allowed" in sentence(command("sheeprl", *CARTPOLE, f"seed={FIRST}"))


def test_a_policy_that_dreams_takes_the_best_of_so_many_actions(lights: Path) -> None:
    for actions in (1, 9):
        play(lights, "--episodes", 4, "--envs", 2, "--dream", actions)
    one, all_ = (
        json.loads(lights.with_suffix(f".episodes_4_seed_0_envs_2_cpu_dream_{actions}.eval.json").read_text())
        for actions in (1, 9)
    )
    assert (one["dream"], all_["dream"]) == (1, 9)
    assert [episode["seed"] for episode in one["episodes"]] == [episode["seed"] for episode in all_["episodes"]]
    assert "`--dream=10` must be at most 9" in refused(lights, "--episodes", 2, "--dream", 10)
    assert "`--dream=2` can't be with `--steps=3`" in refused(lights, "--dream", 2, "--steps", 3)


def test_more_dreams_than_there_are_actions_are_refused_before_anything_is_played(lights: Path, tmp_path: Path) -> None:
    dreams = copied(lights, tmp_path / "run", step="dream")
    assert "`--steps=11` would dream of more actions" in (message := refused(dreams, "--steps", 11))
    assert "at most 10" in message


def test_many_overrides_have_short_names_of_their_own() -> None:
    several = [tuple(f"env.wrapper.key_number_{n}={value}" for n in range(10)) for value in (1, 2)]
    names = [Settings(checkpoint="run/ckpt_8_0.ckpt", overrides=overrides).file("cpu") for overrides in several]
    assert names[0] != names[1] and all(len(Path(name).name) < 120 for name in names)
