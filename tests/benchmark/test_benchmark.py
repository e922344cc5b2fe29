"""The benchmark on agents of a few thousand weights."""

import json
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import matplotlib.image
import pytest
import torch
from conftest import TINY_AGENT

from sheeprl_dnp.benchmark import benchmark, gradient_step, player
from sheeprl_dnp.benchmark.training import measure_training


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path, str]:
    """What the command measured, where it saved it, and what it printed; with one call in each turn."""
    folder, printed = tmp_path_factory.mktemp("benchmark"), StringIO()
    chosen = ["--json", "--size", "XS", "--max-halts", "1,2,4", "--rounds", "1", "--parts", "gradient_step,player"]
    short = {"TURN": 0.0, "KINDS": ("all", "matched", "dream")}
    with (
        mock.patch.multiple(gradient_step, **short),
        mock.patch.object(player, "TURN", 0.0),
        redirect_stdout(printed),
    ):
        assert benchmark.main([*chosen, "--output", str(folder), *TINY_AGENT]) == 0
    return json.loads((folder / "benchmark.json").read_text()), folder, printed.getvalue()


def test_the_main_ratios_are_those_of_the_parts(measured: tuple[dict[str, Any], Path, str]) -> None:
    results, *_ = measured
    ratios, actions = results["ratios"], results["player"]
    steps = {row["agent"]: row for row in results["gradient_step"]}
    assert ratios["n4_all"] == pytest.approx(steps["n4_all"]["ratio"])
    assert 1 < ratios["n2_all_bound"] < ratios["n4_all_bound"] < 4
    assert ratios["n1_bound"] == ratios["n4_matched_bound"] == 1
    expected = {"n1", "n4_matched", "n4_dream", "time_exponent", "dream_memory_exponent", "player_halt_sample"}
    assert expected <= ratios.keys()
    assert all(value > 0 for name, value in ratios.items() if not name.endswith("exponent"))
    assert 0 < steps["dreamer_v3"]["peak_MB"] <= steps["n4_all"]["peak_MB"]
    rules = [f"{step}_{rule}" for step in ("dream", "halt") for rule in (1, 2, 4, "sample")]
    assert [(row["environments"], row["agent"]) for row in actions] == [
        (environments, name) for environments in (1, 16) for name in ("dreamer_v3", *rules)
    ]
    of_player = {row["agent"]: row["ratio"] for row in actions if row["environments"] == 1}
    assert {f"player_{name}": ratio for name, ratio in of_player.items() if name != "dreamer_v3"} == pytest.approx(
        {name: ratio for name, ratio in ratios.items() if name.startswith("player_")}
    )


def test_the_report_has_every_variant_and_a_figure(measured: tuple[dict[str, Any], Path, str]) -> None:
    results, folder, _ = measured
    text = (folder / "benchmark.md").read_text()
    assert all(f"\n| {row['agent']} | {row['ratio']:.4g} |" in text for row in results["gradient_step"])
    assert matplotlib.image.imread(folder / "growth.png").std() > 0.05


def test_json_is_all_that_is_printed(measured: tuple[dict[str, Any], Path, str]) -> None:
    results, _, printed = measured
    assert json.loads(printed) == results | {"seconds": pytest.approx(results["seconds"], rel=1e-6)}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--max-halts", "0,2"], "--max-halts=0,2"),
        (["--max-halts", "2,2"], "--max-halts=2,2"),
        (["--parts", "speed"], "'speed'"),
        (["--parts", ","], "','"),
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
    with pytest.raises(SystemExit) as stopped:
        benchmark.main(arguments)
    said = (capsys.readouterr().err + str(stopped.value.code)).splitlines()
    assert stopped.value.code != 0
    assert any(named in line for line in said[-2:])


@pytest.mark.slow
def test_the_speed_of_a_training_is_that_of_both_algorithms() -> None:
    rates = measure_training(print).set_index("agent")["rate"]
    assert list(rates.index) == ["dreamer_v3", "dreamer_v3_ponder"] and rates.between(1, 10_000).all()
