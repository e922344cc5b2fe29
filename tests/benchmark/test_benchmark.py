"""The benchmark on agents of a few thousand weights."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib.image
import pytest
import torch
from conftest import TINY_AGENT

from sheeprl_dnp.benchmark import benchmark
from sheeprl_dnp.benchmark.agents import TIMED, Settings, Variant, build_agent, variants
from sheeprl_dnp.benchmark.gradient_step import bounds, peak_memory, phases
from sheeprl_dnp.benchmark.training import measure_training

SETTINGS = Settings("XS", tuple(TINY_AGENT))
CPU = torch.device("cpu")


def test_each_variant_has_a_name_of_its_own() -> None:
    names = [variant.name for variant in variants([1, 2, 8], actions=6, kinds=TIMED)]
    assert names == [
        *("n1", "n2_all", "n8_all", "n2_matched", "n8_matched"),
        *("n2_all_commit", "n8_all_commit", "n2_matched_commit", "n8_matched_commit"),
        *("n2_marginal", "n8_marginal", "n2_dream"),
    ]


def test_the_bound_counts_the_behaviour_once_for_each_trajectory() -> None:
    baseline = {"world_model": 40, "behaviour": 60, "per_gradient_step": 100}
    ours = {"per_gradient_step": 840}
    assert bounds(baseline, ours, Variant(8, "all")) == pytest.approx((5.2, 8.4))
    ours = {"per_gradient_step": 140}
    assert bounds(baseline, ours, Variant(8, "matched_commit")) == pytest.approx((1.0, 1.4))
    assert bounds(baseline, ours, Variant(8, "marginal")) == pytest.approx((1.4, 1.4))


@pytest.mark.parametrize("validates", ["True", "False"])
def test_what_is_measured_is_what_a_training_runs(validates: str) -> None:
    overrides = (*TINY_AGENT, f"distribution.validate_args={validates}", "float32_matmul_precision=highest")
    agent = build_agent(Settings("XS", overrides), 2)
    assert torch.distributions.Distribution._validate_args == agent.cfg.distribution.validate_args == eval(validates)
    assert torch.get_float32_matmul_precision() == "highest"
    agent.step(Variant(2, "dream"))
    assert agent.cfg.algo.ponder.estimator == "marginal"
    agent.step(Variant(2, "matched"))
    assert (agent.cfg.algo.ponder.estimator, agent.cfg.algo.ponder.roots) == ("trajectories", 0.5)
    # Each metric that a training logs of a gradient step is computed
    logged = agent.aggregator.compute()
    assert {"Loss/policy_loss", "State/post_entropy", "Ponder/kl", "Ponder/halt_mass_02"} <= logged.keys()


def test_the_default_is_the_configurations_own_setting() -> None:
    build_agent(SETTINGS, None)
    assert torch.distributions.Distribution._validate_args is False


def test_the_peak_is_what_a_step_has_at_one_time() -> None:
    def step() -> None:
        first, second = torch.zeros(1_000_000), torch.zeros(1_000_000)
        del first, second
        torch.zeros(500_000)

    assert peak_memory(step, CPU) == pytest.approx(8e6, rel=0.01)


@pytest.mark.parametrize("max_halts", [None, 2])
def test_the_phases_fill_the_step(max_halts: int | None) -> None:
    agent = build_agent(SETTINGS, max_halts)
    seconds = phases(agent.learner, lambda: agent.step(max_halts and Variant(max_halts, "all")), CPU, steps=1)
    assert len(seconds) == 4 and all(value > 0 for value in seconds)


def test_a_matched_budget_imagines_as_many_trajectories_as_dreamer_v3() -> None:
    agent = build_agent(SETTINGS, 4)
    rows = []
    agent.learner.critic.register_forward_hook(lambda _, __, output: rows.append(output.shape[1]))
    agent.step(Variant(4, "matched_commit"))
    agent.step(Variant(4, "all"))
    assert set(rows) == {16, 64}


@pytest.fixture(scope="module", autouse=True)
def short_turns() -> Iterator[None]:
    """One call in each turn."""
    with mock.patch.multiple(benchmark, TURN=0.0, PLAYER_TURN=0.0):
        yield


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What the command measured, and where it saved it."""
    folder = tmp_path_factory.mktemp("benchmark")
    chosen = ["--size", "XS", "--max-halts", "1,2,4", "--rounds", "2"]
    assert benchmark.main([*chosen, "--parts", "gradient_step,player", "--output", str(folder), *TINY_AGENT]) == 0
    return json.loads((folder / "benchmark.json").read_text()), folder


def test_the_main_ratios_are_those_of_the_parts(measured: tuple[dict[str, Any], Path]) -> None:
    results, _ = measured
    ratios, player = results["ratios"], results["player"]
    steps = {row["agent"]: row for row in results["gradient_step"]}
    assert ratios["n4_all"] == pytest.approx(steps["n4_all"]["ratio"])
    assert 1 < ratios["n2_all_bound"] < ratios["n4_all_bound"] < 4
    assert ratios["n1_bound"] == ratios["n4_matched_bound"] == 1
    expected = {"n1", "n4_marginal", "n4_dream", "time_exponent", "dream_memory_exponent", "player_halt_sample"}
    assert expected <= ratios.keys()
    assert all(value > 0 for name, value in ratios.items() if not name.endswith("exponent"))
    assert 0 < steps["dreamer_v3"]["peak_MB"] <= steps["n4_all"]["peak_MB"]
    rules = [f"{step}_{rule}" for step in ("dream", "halt") for rule in (1, 2, 4, "sample")]
    assert [(row["environments"], row["agent"]) for row in player] == [
        (environments, name) for environments in (1, 16) for name in ("dreamer_v3", *rules)
    ]
    of_player = {row["agent"]: row["ratio"] for row in player if row["environments"] == 1}
    assert {f"player_{name}": ratio for name, ratio in of_player.items() if name != "dreamer_v3"} == pytest.approx(
        {name: ratio for name, ratio in ratios.items() if name.startswith("player_")}
    )


def test_the_report_has_every_variant_and_a_figure(measured: tuple[dict[str, Any], Path]) -> None:
    results, folder = measured
    text = (folder / "benchmark.md").read_text()
    assert all(f"\n| {row['agent']} | {row['ratio']:.4g} |" in text for row in results["gradient_step"])
    assert matplotlib.image.imread(folder / "growth.png").std() > 0.05


def test_json_is_all_that_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    chosen = ["--json", "--size", "XS", "--parts", "player", "--max-halts", "2", "--rounds", "1", *TINY_AGENT]
    assert benchmark.main(chosen) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["ratios"].keys() == {
        f"player_{step}_{rule}" for step in ("halt", "dream") for rule in (1, 2, "sample")
    }


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--max-halts", "0,2"], "--max-halts=0,2"),
        (["--max-halts", "2,2"], "--max-halts=2,2"),
        (["--parts", "speed"], "'speed'"),
        (["--size", "S,XL"], "--size=S,XL"),
        (["--device", "gpu", "--minutes", "0"], "'0'"),
        (["--size", "XXL"], "'XXL'"),
        (["--rounds", "0"], "'0'"),
        (["algo.ponder.lambda_p=2"], "algo.ponder.lambda_p=2"),
        (["algo.no_such_key=2"], "algo.no_such_key"),
        pytest.param(
            ["--device", "gpu"],
            "--device=gpu",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here"),
        ),
    ],
)
def test_bad_input_is_named(capsys: pytest.CaptureFixture[str], arguments: list[str], named: str) -> None:
    try:
        status = benchmark.main(arguments)
    except SystemExit as error:  # of the parser
        status = error.code
    assert status != 0
    assert named in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.slow
def test_the_speed_of_a_training_is_that_of_both_algorithms() -> None:
    rates = measure_training().set_index("agent")["rate"]
    assert list(rates.index) == ["dreamer_v3", "dreamer_v3_ponder"] and rates.between(1, 10_000).all()
