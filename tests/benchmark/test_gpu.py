"""The part for a GPU, up to the device: the CPU stands in for it."""

import json
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import TINY_AGENT
from torch._dynamo.testing import CompileCounter

from sheeprl_dnp.benchmark import benchmark, gpu
from sheeprl_dnp.benchmark.agents import Settings

EAGER = Settings("XS", tuple(TINY_AGENT), "cpu", "bf16-mixed")


def test_what_the_events_of_the_device_say() -> None:
    events = pd.DataFrame(
        [
            ("cudaLaunchKernel", 2, 2e-6, False),
            ("cudaGraphLaunch", 1, 1e-6, False),
            ("aten::mm", 1, 5e-6, False),
            ("short", 3, 30e-6, True),
            ("long", 1, 40e-6, True),
        ],
        columns=["kernel", "calls", "seconds", "on_device"],
    )
    row, top = gpu.profile_summary(events)
    assert row == {"launches": 3, "kernels": 4, "device_seconds": pytest.approx(70e-6)}
    assert top.to_dict("list") == {"kernel": ["long", "short"], "calls": [1, 3], "share": [4 / 7, 3 / 7]}


def test_a_compiled_step_is_not_compiled_again_to_be_timed(two_threads: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "TIMED", 0.01)
    compilations, numbers = CompileCounter(), torch.ones(8)
    step = torch.compile(lambda: numbers.mul(2).sum(), backend=compilations)
    step()
    assert gpu.median_seconds(step) > 0
    assert compilations.frame_count == 1


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Lets the command believe that the CPU is a GPU; for short."""
    monkeypatch.setattr(gpu, "TIMED", 0.0)
    monkeypatch.setattr(gpu, "KINDS", ("marginal", "dream"))
    monkeypatch.setattr(benchmark, "settings_of", lambda options: [EAGER])


@pytest.mark.slow
def test_the_command_measures_and_saves_what_it_has(
    on_the_cpu: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert benchmark.main(["--device", "gpu", "--size", "XS", "--max-halts", "1,2"]) == 0
    saved = tmp_path / "results/benchmark/gpu"
    results = json.loads((saved / "benchmark.json").read_text())
    steps = pd.DataFrame(results["steps"]).set_index("agent")
    assert steps.index.tolist() == ["dreamer_v3", "n2_marginal", "n2_dream", "n1"]
    assert (steps[["seconds", "kernels", "peak_MB", "busy"]] > 0).all(axis=None)
    assert (steps["waits"] == 0).all() and (steps["first_wait"] == "none").all()
    assert results["ratios"]["XS_eager_n2_dream"] == pytest.approx(steps.loc["n2_dream", "ratio"])
    assert {row["agent"] for row in results["kernels"]} == set(steps.index)
    printed = capsys.readouterr().out
    assert printed.strip() == (saved / "benchmark.md").read_text().strip()
    assert "## Top kernels" in printed and "bf16-mixed" in printed


def test_it_stops_in_time_with_what_it_has(
    on_the_cpu: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def endless(settings: Any, max_halts: Any, on_progress: Any) -> Iterator[dict[str, pd.DataFrame]]:
        yield {"steps": pd.DataFrame({"size": ["S"], "mode": ["eager"], "agent": ["dreamer_v3"], "ratio": [1.0]})}
        while True:
            time.sleep(0.01)

    monkeypatch.setattr(benchmark, "measure_gpu", endless)
    start = time.monotonic()
    options = ["--device", "gpu", "--minutes", "1", "--json", "--output", str(tmp_path)]
    monkeypatch.setattr(benchmark, "SECONDS_OF_A_MINUTE", 0.5)
    assert benchmark.main(options) == 0
    assert time.monotonic() - start < 30
    said = capsys.readouterr()
    assert json.loads(said.out)["ratios"] == json.loads((tmp_path / "benchmark.json").read_text())["ratios"]
    assert "stopped" in said.err


def test_an_agent_that_needs_too_much_memory_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*args: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(gpu, "Agent", build)
    row, top = gpu.measure_agent(EAGER, None)
    assert row["note"] == "out of memory" and top.empty
    assert gpu.with_ratios(pd.DataFrame([{"size": "S", "agent": "dreamer_v3", **row}]))["ratio"].isna().all()


def test_the_first_wait_of_the_behaviour_is_found_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []
    agent = gpu.Agent(EAGER, {"max_halts": 2})

    def wait(*_: Any) -> None:
        if modes[-1] == "warn":
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    monkeypatch.setattr(agent, "device", torch.device("cuda"))
    assert gpu.waits(agent) == {"waits": 0, "first_wait": "none"}
    assert modes == ["warn", "default"]
    agent.learner.optimizers[0].optimizer.register_step_post_hook(wait)  # SheepRL's part
    assert gpu.waits(agent) == {"waits": 1, "first_wait": "none"}
    agent.learner.optimizers[1].optimizer.register_step_post_hook(wait)
    found = gpu.waits(agent)
    assert found["waits"] == 2 and found["first_wait"].startswith("test_gpu.py:")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_compiled_agents_are_measured_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "TIMED", 0.0)
    compiled = Settings("XS", (*TINY_AGENT, "algo.compile.mode=default"), "cpu", "bf16-mixed", True)
    *_, measured = gpu.measure_gpu([EAGER, compiled], [2], print)
    modes = measured["steps"].groupby("mode")["agent"].apply(list)
    assert modes["eager"] == ["dreamer_v3", "n2_marginal", "n2_all", "n2_dream"]
    assert modes["compiled"] == ["n2_marginal", "n2_all", "n2_dream", "dreamer_v3"]  # what is most wanted first
    assert (measured["steps"]["first_3_seconds"] > 0).all() and (measured["steps"]["ratio"] > 0).all()
