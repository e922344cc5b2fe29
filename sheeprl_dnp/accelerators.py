"""On what a trained agent is played: not every computer has what it was trained on."""

from lightning.fabric import Fabric
from lightning.fabric.accelerators import ACCELERATOR_REGISTRY
from sheeprl.utils.utils import dotdict

from sheeprl_dnp.runs import ConfigError

# What the CPU computes in, where a training used 16-bit floats of a GPU
ON_CPU = {"16": "32-true", "16-mixed": "32-true", "16-true": "32-true", "transformer-engine": "32-true"}


def accelerators() -> list[str]:
    """Those of this computer, by Lightning's names."""
    found = [name for name, entry in ACCELERATOR_REGISTRY.items() if entry["accelerator"].is_available()]
    return [*found, *(["gpu"] if {"cuda", "mps"} & set(found) else []), "auto"]


def evaluation_fabric(trained: dotdict, accelerator: str | None = None) -> Fabric:
    """One device that plays an agent.

    Args:
        trained: the section `fabric` of the training.
        accelerator: `None`: that of the training, or the CPU where this computer hasn't it.

    Raises:
        ConfigError: this computer has no such accelerator.
    """
    known = accelerators()
    if accelerator is None:
        accelerator = trained.accelerator if trained.accelerator in known else "cpu"
    elif accelerator not in known:
        raise ConfigError(f"`--accelerator={accelerator}` must be one that this computer has: {', '.join(known)}.")
    fabric = Fabric(accelerator=accelerator, devices=1)
    precision = str(trained.get("precision", "32-true"))
    if fabric.device.type == "cpu":
        precision = ON_CPU.get(precision, precision)
    return Fabric(accelerator=accelerator, devices=1, precision=precision)
