"""Everything that DreamerV3 can be configured to do, pondering: short trainings on SheepRL's dummy environments."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import TINY_AGENT, differences, last_checkpoint, load
from omegaconf import OmegaConf
from sheeprl.cli import check_configs, run_algorithm
from sheeprl.utils.metric import MetricAggregator
from sheeprl.utils.timer import timer
from sheeprl.utils.utils import dotdict
from test_configs import experiment

DUMMY = [
    "exp=dreamer_v3",
    *TINY_AGENT,
    "env=dummy",
    "env.num_envs=2",
    "env.sync_env=True",
    "env.capture_video=False",
    "algo.mlp_keys.encoder=[state]",
    "algo.total_steps=64",
    "algo.learning_starts=16",
    "algo.replay_ratio=0.25",
    "buffer.size=400",
    "buffer.memmap=False",
    "buffer.checkpoint=False",
    "metric.log_every=16",
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.chdir(tmp_path)
    timer.timers.clear()

    def train(*overrides: str, algo: str = "dreamer_v3_ponder", name: str = "run") -> dict[str, Any]:
        cfg = experiment(*DUMMY, f"algo={algo}", f"run_name={name}", *overrides)
        cfg = dotdict(OmegaConf.to_container(cfg, resolve=True))
        check_configs(cfg)
        run_algorithm(cfg)
        return load(last_checkpoint(tmp_path / "logs" / "runs" / cfg.root_dir / name))

    yield train
    MetricAggregator.disabled = timer.disabled = False


# Steps of the actor that are as large as its gradients, to which the entropy adds a lot: what is rounded is seen
BF16 = [
    "fabric.precision=bf16-mixed",
    "algo.actor.ent_coef=0.1",
    "algo.actor.optimizer.eps=1",
    "algo.actor.optimizer.lr=1",
]
VARIANTS = {
    "discrete": ["env.id=discrete_dummy"],
    "multi-discrete": ["env.id=multidiscrete_dummy"],
    "continuous": ["env.id=continuous_dummy"],
    "continuous, REINFORCE": ["env.id=continuous_dummy", "algo.actor.objective_mix=1"],
    "continuous, mixed": ["env.id=continuous_dummy", "algo.actor.objective_mix=0.5"],
    "discrete, dynamics": ["env.id=discrete_dummy", "algo.actor.objective_mix=0"],
    "tanh-normal": ["env.id=continuous_dummy", "distribution.type=tanh_normal"],
    "decoupled RSSM": ["env.id=discrete_dummy", "algo.world_model.decoupled_rssm=True"],
    "bf16": ["env.id=discrete_dummy", *BF16],
    "bf16, continuous": ["env.id=continuous_dummy", *BF16],
}
PONDERING = VARIANTS | {
    "a quarter of the roots": ["env.id=discrete_dummy", "algo.ponder.roots=0.25"],
    "two roots, continuous": ["env.id=continuous_dummy", "algo.ponder.roots=2"],
}
MARGINAL, DREAM, TREE = "algo.ponder.estimator=marginal", "algo.ponder.step=dream", "algo.ponder.estimator=trajectories"
BEYOND_THE_DEFAULT = {
    "marginal": ["env.id=discrete_dummy", MARGINAL],
    "marginal, mixture": ["env.id=discrete_dummy", MARGINAL, "algo.ponder.entropy=mixture"],
    "marginal, multi-discrete": ["env.id=multidiscrete_dummy", MARGINAL],
    "marginal, continuous": ["env.id=continuous_dummy", MARGINAL, "algo.actor.objective_mix=1"],
    "marginal, bf16": ["env.id=discrete_dummy", MARGINAL, "fabric.precision=bf16-mixed"],
    "dream": ["env.id=discrete_dummy", DREAM, MARGINAL],
    "dream, trajectories": ["env.id=discrete_dummy", DREAM, TREE],
    "dream, commit": ["env.id=discrete_dummy", DREAM, TREE, "algo.ponder.continuation=commit"],
    "dream, dynamics": ["env.id=discrete_dummy", DREAM, TREE, "algo.actor.objective_mix=0"],
    "dream, bf16": ["env.id=discrete_dummy", DREAM, MARGINAL, "fabric.precision=bf16-mixed"],
    "dream, decoupled RSSM": ["env.id=discrete_dummy", DREAM, MARGINAL, "algo.world_model.decoupled_rssm=True"],
    "dream, a quarter of the roots": ["env.id=discrete_dummy", DREAM, MARGINAL, "algo.ponder.roots=0.25"],
}


@pytest.mark.parametrize("continuation", ["sample", pytest.param("commit", marks=pytest.mark.slow)])
@pytest.mark.parametrize("variant", PONDERING)
def test_dreamer_v3_ponders_in_every_variant(run: Any, variant: str, continuation: str) -> None:
    check_pondering(run(*PONDERING[variant], f"algo.ponder.continuation={continuation}", "algo.ponder.max_halts=3"))


@pytest.mark.parametrize("variant", BEYOND_THE_DEFAULT)
def test_the_other_steps_and_estimators_train_every_weight(run: Any, variant: str) -> None:
    check_pondering(run(*BEYOND_THE_DEFAULT[variant], "algo.ponder.max_halts=3"))


def check_pondering(state: dict[str, Any]) -> None:
    assert state["per_rank_gradient_steps"] >= 8
    moments = state["actor_optimizer"]["state"]
    assert all(torch.isfinite(weights).all() for weights in state["actor"].values())
    # Every weight of the actor is trained, those of the cell and of the halting head too
    assert len(moments) == len(state["actor"])
    assert all(moment["exp_avg_sq"].sum() > 0 for moment in moments.values())


SELDOM = ("continuous, mixed", "discrete, dynamics", "tanh-normal", "bf16, continuous")


@pytest.mark.parametrize(
    "variant", [pytest.param(name, marks=pytest.mark.slow) if name in SELDOM else name for name in VARIANTS]
)
def test_one_ponder_step_is_dreamer_v3_bit_for_bit_in_every_variant(run: Any, variant: str) -> None:
    ours = run(*VARIANTS[variant], "algo.ponder.max_halts=1")
    theirs = run(*VARIANTS[variant], algo="dreamer_v3")
    assert ours["per_rank_gradient_steps"] >= 8
    assert differences(ours, theirs) == []


@pytest.mark.parametrize("step", ["refine", pytest.param("dream", marks=pytest.mark.slow)])
def test_with_one_ponder_step_no_step_and_no_estimator_makes_a_difference(run: Any, step: str) -> None:
    ours = run("env.id=discrete_dummy", f"algo.ponder.step={step}", MARGINAL, "algo.ponder.max_halts=1")
    assert differences(ours, run("env.id=discrete_dummy", algo="dreamer_v3")) == []


def test_a_run_is_the_same_twice_and_another_with_another_seed(run: Any) -> None:
    first, again, other = (
        run(f"seed={seed}", "env.id=discrete_dummy", name=name) for seed, name in [(1, "a"), (1, "b"), (2, "c")]
    )
    assert differences(first, again) == []
    assert "/actor/model._model.0.weight" in differences(first, other)


def test_every_metric_of_pondering_is_logged(run: Any, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run("env.id=discrete_dummy", "algo.ponder.max_halts=3", "algo.ponder.lambda_p=0.3")
    events = EventAccumulator(str(next(tmp_path.rglob("events.out.*")).parent)).Reload()
    logged = {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    masses = [logged[f"Ponder/halt_mass_{step:02d}"] for step in (1, 2, 3)]
    for step, (expected, *mass) in enumerate(zip(logged["Ponder/expected_steps"], *masses, strict=True)):
        assert math.isclose(sum(mass), 1, abs_tol=1e-5), step
        assert math.isclose(expected, sum(n * p for n, p in enumerate(mass, start=1)), abs_tol=1e-4)
    assert math.isclose(masses[0][0], 0.3, abs_tol=0.01)
    least, most = logged["Ponder/expected_steps_p10"], logged["Ponder/expected_steps_p90"]
    assert all(a <= b <= c for a, b, c in zip(least, logged["Ponder/expected_steps"], most, strict=True))
    assert all(1 <= steps <= 3 for steps in logged["Ponder/player_steps"])
    assert all(0 < entropy < math.log(3) for entropy in logged["Ponder/halting_entropy"])
    assert all(kl > 0 for kl in logged["Ponder/kl"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("max_halts", [1, 3])
def test_a_compiled_training_is_the_eager_one_within_rounding(run: Any, max_halts: int) -> None:
    overrides = ["env.id=discrete_dummy", f"algo.ponder.max_halts={max_halts}", "algo.ponder.halting=1"]
    short = ["algo.total_steps=24", "algo.ponder.continuation=commit"]
    eager = run(*overrides, *short, name="eager")
    compiled = run(*overrides, *short, "algo.compile.enabled=True", "algo.compile.mode=default", name="compiled")
    for name, weights in eager["critic"].items():
        torch.testing.assert_close(compiled["critic"][name], weights, atol=1e-3, rtol=1e-2)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("variant", ["discrete", "continuous", "marginal", "dream"])
def test_a_compiled_training_ponders(run: Any, variant: str) -> None:
    chosen = (VARIANTS | BEYOND_THE_DEFAULT)[variant]
    state = run(*chosen, "algo.compile.enabled=True", "algo.ponder.max_halts=3")
    assert all(torch.isfinite(weights).all() for weights in state["actor"].values())
