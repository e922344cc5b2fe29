"""The settings of VS Code: they can be read, and what they name is there."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

REPO = Path(__file__).parents[2]


def settings(name: str) -> Any:
    return json.loads((REPO / ".vscode" / name).read_text())


def configuration(words: str) -> dict[str, Any]:
    """The launch configuration whose name begins with `words`."""
    return next(entry for entry in settings("launch.json")["configurations"] if entry["name"].startswith(words))


@pytest.mark.parametrize("task", settings("tasks.json")["tasks"], ids=lambda task: task["label"])
def test_the_commands_of_tasks_exist(task: dict[str, Any]) -> None:
    program, *words = shlex.split(task["command"])
    assert (REPO / program).is_file()
    if program == "scripts/paperspace":
        usage = subprocess.run([REPO / program, words[0], "--help"], capture_output=True, text=True)
        assert usage.returncode == 0, usage.stderr
        options = [word for word in words[1:] if word.startswith("--")]
        assert all(option in usage.stdout for option in options)


def test_the_tasks_that_a_day_needs() -> None:
    commands = [task["command"] for task in settings("tasks.json")["tasks"]]
    for word in ("up", "down", "status", "run ${input:experiment}", "run --down ${input:experiment}"):
        assert f"scripts/paperspace {word}" in commands


@pytest.mark.parametrize("name", ["tasks.json", "launch.json"])
def test_each_input_is_there_and_its_default_is_an_experiment(name: str) -> None:
    inputs = {entry["id"]: entry["default"] for entry in settings(name)["inputs"]}
    used = set(re.findall(r"\$\{input:(\w+)\}", (REPO / ".vscode" / name).read_text()))
    assert used == inputs.keys()
    for default in inputs.values():
        experiment = default.split()[0].removeprefix("exp=")
        assert (REPO / "configs" / "exp" / f"{experiment}.yaml").is_file()


def test_local_debugging_needs_no_gpu_and_remote_debugging_uses_it() -> None:
    local, remote = configuration("Debug here"), configuration("Debug on the GPU machine")
    assert "fabric.accelerator=cpu" in local["args"] and "fabric.accelerator=cuda" in remote["args"]
    for entry in (local, remote):
        assert (entry["type"], entry["request"]) == ("debugpy", "launch")
        assert entry["program"] == "${workspaceFolder}/.venv/bin/sheeprl"


def test_local_debugging_composes(tmp_path: Path) -> None:
    from hydra import compose, initialize_config_module

    arguments = configuration("Debug here")["args"]
    words = [word.replace("${input:smallExperiment}", "dnp_crafter_small") for word in arguments]
    with initialize_config_module("sheeprl.configs", version_base="1.3"):
        cfg = compose("config", words)
    assert (cfg.fabric.accelerator, cfg.env.sync_env, cfg.root_dir) == ("cpu", True, "debug")


def test_attaching_meets_the_port_of_run_debug() -> None:
    port = re.search(r"DEBUG_PORT=(\d+)", (REPO / "infra" / "training.sh").read_text())
    assert port
    attach = configuration("Attach to run --debug")
    assert (attach["type"], attach["request"]) == ("debugpy", "attach")
    assert attach["connect"] == {"host": "127.0.0.1", "port": int(port[1])}
    assert attach["pathMappings"] == [{"localRoot": "${workspaceFolder}", "remoteRoot": "."}]


def test_what_is_recommended() -> None:
    assert {"ms-vscode-remote.remote-ssh", "ms-python.debugpy"} <= set(settings("extensions.json")["recommendations"])
