"""Every configuration composes, and the arms of a comparison differ only where they must."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

import sheeprl_dnp.configs
from sheeprl_dnp.dreamer_v3_ponder.config import Ponder, check_ponder_config

CONFIGS = Path(sheeprl_dnp.configs.__file__).parent
EXPERIMENTS = sorted(path.stem for path in (CONFIGS / "exp").glob("*.yaml"))
SIZES = ["XS", "S", "M", "L", "XL"]


def experiment(*overrides: str) -> DictConfig:
    with initialize_config_module("sheeprl.configs", version_base="1.3"):
        return compose("config", list(overrides))


def flat(cfg: DictConfig) -> dict[str, object]:
    leaves = {}

    def walk(node: object, name: str) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                walk(value, f"{name}.{key}" if name else key)
        else:
            leaves[name] = node

    walk(OmegaConf.to_container(cfg, resolve=True), "")
    return leaves


def differing_keys(left: DictConfig, right: DictConfig) -> set[str]:
    a, b = flat(left), flat(right)
    return {key for key in a.keys() | b.keys() if a.get(key) != b.get(key)}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_composes_and_begins_with_its_command(name: str) -> None:
    assert not OmegaConf.missing_keys(experiment(f"exp={name}"))
    assert f"# sheeprl exp={name}\n" in (CONFIGS / "exp" / f"{name}.yaml").read_text()


@pytest.mark.parametrize("size", SIZES)
def test_a_size_is_that_of_dreamer_v3_with_what_ponders(size: str) -> None:
    stock = experiment("exp=dreamer_v3", f"algo=dreamer_v3_{size}")
    ours = experiment("exp=dreamer_v3", f"algo=dreamer_v3_ponder_{size}")
    ponder = {f"algo.ponder.{key}" for key in Ponder.model_fields}
    names = {"algo.name", "exp_name", "root_dir", "run_name", "metric.logger.name", "metric.logger.root_dir"}
    described = {key for key in flat(ours) if key.startswith("model_manager.models.")}
    assert differing_keys(stock, ours) - described == ponder | names


@pytest.mark.parametrize(
    "name", ["dnp_crafter", "dnp_crafter_small", "dnp_crafter_symbolic_small", "dnp_lights_out", "dnp_sokoban"]
)
def test_an_experiment_differs_from_its_baseline_only_in_what_ponders(name: str) -> None:
    ours, baseline = experiment(f"exp={name}"), experiment(f"exp={name}_baseline")
    named_after_the_algorithm = ("exp_name", "root_dir", "run_name", "metric.logger", "model_manager", "algo.name")
    assert {
        key
        for key in differing_keys(ours, baseline)
        if not key.startswith(("algo.ponder.", *named_after_the_algorithm))
    } == set()


@pytest.mark.parametrize("name", ["dnp_crafter", "dnp_crafter_small", "dnp_lights_out"])
def test_the_experiment_that_dreams_differs_only_in_its_steps_and_estimator(name: str) -> None:
    differing = differing_keys(experiment(f"exp={name}"), experiment(f"exp={name}_dream"))
    assert differing - {"run_name", "metric.logger.name"} <= {
        f"algo.ponder.{k}" for k in ("step", "estimator", "roots")
    }


def test_the_baseline_is_sheeprls_own_crafter_recipe() -> None:
    baseline, recipe = experiment("exp=dnp_crafter_baseline"), experiment("exp=dreamer_v3_XL_crafter")
    changed = {key for key in differing_keys(baseline, recipe) if not key.startswith("env.wrapper.")}
    assert changed - {"run_name", "metric.logger.name"} == {"fabric.accelerator", "algo.run_test"}
    assert (baseline.algo.name, baseline.algo.dense_units, baseline.algo.replay_ratio) == ("dreamer_v3", 1024, 0.5)
    assert baseline.algo.total_steps == 1_000_000


@pytest.mark.parametrize("name", [name for name in EXPERIMENTS if "ponder" in experiment(f"exp={name}").algo])
def test_the_default_values_of_pondering_are_allowed(name: str) -> None:
    check_ponder_config(experiment(f"exp={name}").algo)
