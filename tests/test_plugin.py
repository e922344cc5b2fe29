"""Installed, the plugin is found by SheepRL's stock commands, and does nothing to any other application."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import TINY_AGENT, Command, clean_environment

ROOT = Path(__file__).parents[1]
# A training as short as can be, on a dummy environment
DUMMY = ["exp=dreamer_v3", "algo=dreamer_v3_ponder", "env=dummy", "env.sync_env=True", "env.capture_video=False"]
DUMMY += ["algo.mlp_keys.encoder=[state]", "dry_run=True", *TINY_AGENT]
APPLICATION = """
import sys
import hydra

@hydra.main(version_base="1.3", config_path=None)
def main(cfg):
    from hydra.core.plugins import Plugins
    from hydra.plugins.search_path_plugin import SearchPathPlugin
    print([plugin.__name__ for plugin in Plugins.instance().discover(SearchPathPlugin)])
    from hydra.core.hydra_config import HydraConfig
    print("sources", [source.path for source in HydraConfig.get().runtime.config_sources])
    print("torch", "torch" in sys.modules, "sheeprl", "sheeprl" in sys.modules)

main()
"""


def test_another_hydra_application_imports_no_torch_and_gets_no_search_path(tmp_path: Path) -> None:
    (tmp_path / "application.py").write_text(APPLICATION)
    result = subprocess.run(
        [sys.executable, "application.py"], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "SheepRLDnPSearchPath" in result.stdout  # the plugin is there, and inert
    assert "sheeprl_dnp" not in result.stdout.split("sources")[1]
    assert "torch False sheeprl False" in result.stdout


@pytest.mark.slow
def test_another_experiment_of_sheeprl_still_runs(command: Command) -> None:
    result = command("sheeprl", "exp=ppo", "dry_run=True", "env.sync_env=True", "env.capture_video=False")
    assert result.returncode == 0, result.stderr
    assert "Test - Reward" in result.stdout


def test_sheeprl_lists_our_experiments_from_any_directory(command: Command) -> None:
    result = command("sheeprl")
    assert result.returncode != 0
    assert all(name in result.stderr for name in ("dnp_crafter\n", "dnp_crafter_small_baseline\n"))


@pytest.mark.slow
def test_a_sweep_trains_each_of_its_runs(command: Command, tmp_path: Path) -> None:
    result = command("sheeprl", "-m", *DUMMY, "algo.ponder.max_halts=1,2", "run_name=halts_${algo.ponder.max_halts}")
    assert result.returncode == 0, result.stderr
    assert {path.parts[-4] for path in tmp_path.rglob("*.ckpt")} == {"halts_1", "halts_2"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_a_wheel_has_the_package_its_configs_and_the_plugin(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {f"sheeprl_dnp/{path.relative_to(ROOT / 'sheeprl_dnp')}" for path in (ROOT / "sheeprl_dnp").rglob("*.py")}
    yamls = (ROOT / "configs").rglob("*.yaml")
    configs = {f"sheeprl_dnp/configs/{path.relative_to(ROOT / 'configs')}" for path in yamls}
    plugin = "hydra_plugins/sheeprl_dnp.py"
    watch = {f"sheeprl_dnp/watch/{path.name}" for path in (ROOT / "sheeprl_dnp" / "watch").glob("*.*")}
    assert (sources - {f"sheeprl_dnp/{plugin}"}) | configs | {plugin} | watch <= names
    assert not any(name.startswith(("tests", "scripts")) for name in names)


@pytest.mark.slow
def test_an_installed_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    """In an environment with the dependencies of this one, where the project is installed from the wheel alone."""
    environment = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    code = "import json, sysconfig; print(json.dumps(sysconfig.get_path('purelib')))"
    theirs = json.loads(subprocess.check_output([python, "-c", code], text=True))
    # As a path file, it adds the packages of this environment, but not what their own path files add (the checkout)
    (Path(theirs) / "dependencies.pth").write_text(json.loads(subprocess.check_output([sys.executable, "-c", code])))
    pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--ignore-installed", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True)
    code = "import sheeprl_dnp; print(sheeprl_dnp.__file__)"
    origin = subprocess.check_output([python, "-c", code], cwd=tmp_path, text=True)
    assert str(environment) in origin
    run = [python, "-m", "sheeprl", *DUMMY]
    result = subprocess.run(run, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "Parameters of the agent" in result.stdout
