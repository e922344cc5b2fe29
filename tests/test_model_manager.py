"""MLflow's model manager registers the models of a training, as it does those of DreamerV3."""

from pathlib import Path

import pytest
import torch
from conftest import TINY_CRAFTER, TINY_LIGHTS_OUT, Command, clean_environment, last_checkpoint, load

mlflow = pytest.importorskip("mlflow", reason="the extra `mlflow` is not installed")


@pytest.mark.slow
def test_the_trained_models_are_registered_and_load_again(train: Command, tmp_path: Path) -> None:
    uri = (tmp_path / "mlruns").as_uri()
    # MLflow would load each model once more to see what it imports: minutes
    mlflow_settings = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT": "1"}
    environment = clean_environment() | {"MLFLOW_TRACKING_URI": uri} | mlflow_settings
    manager = ["logger@metric.logger=mlflow", "model_manager.disabled=False", "exp_name=pondering"]
    train("exp=dnp_crafter_small", *TINY_CRAFTER, *manager, env=environment)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        mlflow.set_tracking_uri(uri)
        names = {model.name for model in mlflow.MlflowClient().search_registered_models()}
        actor = mlflow.pytorch.load_model("models:/pondering_actor/1")
    assert names == {f"pondering_{name}" for name in ("world_model", "actor", "critic", "target_critic", "moments")}
    saved = load(last_checkpoint(tmp_path))["actor"]
    assert all(torch.equal(weights, saved[name]) for name, weights in actor.state_dict().items())
    pondered = actor(torch.zeros(3, 32))
    assert pondered.actions[0].shape == (3, 17) and set(pondered.halts.tolist()) <= {1, 2, 3, 4}


@pytest.mark.slow
def test_a_checkpoint_is_registered_by_sheeprls_own_command(train: Command, command: Command, tmp_path: Path) -> None:
    train("exp=dnp_lights_out", *TINY_LIGHTS_OUT)
    settings = {"MLFLOW_ALLOW_FILE_STORE": "true", "MLFLOW_REQUIREMENTS_INFERENCE_TIMEOUT": "1"}
    uri = (tmp_path / "mlruns").as_uri()
    checkpoint = f"checkpoint_path={last_checkpoint(tmp_path)}"
    environment = clean_environment() | {"MLFLOW_TRACKING_URI": uri} | settings
    result = command("sheeprl-registration", checkpoint, "model_manager=dreamer_v3", env=environment)
    assert result.returncode == 0, result.stderr[-3000:]
    registered = {path.name for path in (tmp_path / "mlruns" / "models").iterdir()}
    names = ("world_model", "actor", "critic", "target_critic", "moments")
    assert registered == {f"dreamer_v3_ponder_lights_out_{name}" for name in names}
