"""The part for a GPU, up to the device: the CPU stands in for it."""

import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import TINY_AGENT

from sheeprl_dnp.benchmark import benchmark, gpu
from sheeprl_dnp.benchmark.agents import Settings

CPU = torch.device("cpu")
EAGER = Settings("XS", tuple(TINY_AGENT), "cpu", "bf16-mixed")


def test_what_the_events_of_the_device_say() -> None:
    events = pd.DataFrame(
        [
            ("cudaLaunchKernel", 0, 2, False),
            ("cudaGraphLaunch", 3, 4, False),
            ("aten::mm", 0, 5, False),
            ("long", 0, 40, True),
            ("short", 10, 20, True),  # while the other runs
            ("short", 50, 60, True),
            ("short", 80, 90, True),
        ],
        columns=["name", "start", "end", "kernel"],
    )
    row, top = gpu.profile_summary(events, steps=2)
    assert row == {"launches": 1, "kernels": 2, "device_seconds": pytest.approx(60e-6 / 2)}
    assert top.to_dict("list") == {"kernel": ["long", "short"], "calls": [0.5, 1.5], "share": [4 / 7, 3 / 7]}


@pytest.fixture
def on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Lets the command believe that the CPU is a GPU; for short."""
    monkeypatch.setattr(gpu, "TIMED", 0.0)
    monkeypatch.setattr(gpu, "PROFILED", 1)
    monkeypatch.setattr(benchmark, "settings_of", lambda options: [EAGER])


def test_the_command_measures_and_saves_what_it_has(
    on_the_cpu: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert benchmark.main(["--device", "gpu", "--size", "XS", "--max-halts", "1,2"]) == 0
    saved = tmp_path / "results/benchmark/gpu"
    results = json.loads((saved / "benchmark.json").read_text())
    steps = pd.DataFrame(results["steps"]).set_index("agent")
    assert steps.index.tolist() == ["dreamer_v3", "n2_marginal", "n2_all", "n2_dream", "n1"]
    assert (steps[["seconds", "kernels", "peak_MB", "busy"]] > 0).all(axis=None)
    assert (steps["waits"] == 0).all() and (steps["first_wait_of_ours"].iloc[1:] == "none").all()
    assert results["ratios"]["XS_eager_n2_all"] == pytest.approx(steps.loc["n2_all", "ratio"])
    assert {row["agent"] for row in results["kernels"]} == set(steps.index)
    printed = capsys.readouterr().out
    assert printed.strip() == (saved / "benchmark.md").read_text().strip()
    assert "## Top kernels" in printed and "bf16-mixed" in printed


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN], ids=["alone", "in the background"])
def test_it_stops_in_time_with_what_it_has(
    handler: Any, on_the_cpu: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def endless(settings: Any, max_halts: Any, on_progress: Any) -> Iterator[dict[str, pd.DataFrame]]:
        yield {"steps": pd.DataFrame({"size": ["S"], "mode": ["eager"], "agent": ["dreamer_v3"], "ratio": [1.0]})}
        while True:
            time.sleep(0.01)

    monkeypatch.setattr(benchmark, "measure_gpu", endless)
    before = signal.signal(signal.SIGINT, handler)
    start = time.monotonic()
    options = ["--device", "gpu", "--minutes", "1", "--json", "--output", str(tmp_path)]
    monkeypatch.setattr(benchmark, "SECONDS_OF_A_MINUTE", 0.5)
    assert benchmark.main(options) == 0
    assert time.monotonic() - start < 30 and signal.signal(signal.SIGINT, before) == handler
    said = capsys.readouterr()
    assert json.loads(said.out)["ratios"] == json.loads((tmp_path / "benchmark.json").read_text())["ratios"]
    assert "stopped" in said.err


def test_an_agent_that_needs_too_much_memory_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*args: Any) -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(gpu, "build_agent", build)
    row, top = gpu.measure_agent(EAGER, None)
    assert row["note"] == "out of memory" and top.empty
    assert gpu.with_ratios(pd.DataFrame([{"size": "S", "agent": "dreamer_v3", **row}]))["ratio"].isna().all()


def test_the_wait_of_ours_is_found_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str] = []
    agent = gpu.build_agent(EAGER, 2)

    def wait(optimizer: Any, args: Any, kwargs: Any) -> None:
        if modes[-1] == "error":
            raise RuntimeError("called a synchronizing CUDA operation")

    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    gpu_like = torch.device("cuda")
    assert gpu.first_wait(agent, agent.step, gpu_like) == "none"
    assert "error" in modes and modes[-1] == "default"
    agent.learner.optimizers[0].optimizer.register_step_post_hook(wait)  # SheepRL's part
    assert gpu.first_wait(agent, agent.step, gpu_like) == "none"
    agent.learner.optimizers[1].optimizer.register_step_post_hook(wait)
    assert gpu.first_wait(agent, agent.step, gpu_like).startswith(__file__)
    assert modes[-1] == "default"


@pytest.mark.slow
def test_compiled_agents_are_measured_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "TIMED", 0.0)
    compiled = Settings("XS", (*TINY_AGENT, "algo.compile.mode=default"), "cpu", "bf16-mixed", True)
    *_, measured = gpu.measure_gpu([EAGER, compiled], [2], print)
    modes = measured["steps"].groupby("mode")["agent"].apply(list)
    assert modes["eager"] == ["dreamer_v3", "n2_marginal", "n2_all", "n2_dream"]
    assert modes["compiled"] == ["n2_marginal", "n2_all", "n2_dream", "dreamer_v3"]  # what is most wanted first
    assert (measured["steps"]["first_3_seconds"] > 0).all() and (measured["steps"]["ratio"] > 0).all()
