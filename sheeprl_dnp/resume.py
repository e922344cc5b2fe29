"""What the command that resumes a run says in vain: SheepRL goes on with the configuration of the run itself."""

import warnings
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from sheeprl.cli import resume_from_checkpoint

SHOWN = 3  # keys of a choice of a group


def resumed_config(config: DictConfig) -> DictConfig:
    """The configuration with which a run goes on, from that of the command that resumes it."""
    composed = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    with warnings.catch_warnings(action="ignore"):  # SheepRL gives them when it resumes
        return resume_from_checkpoint(composed)


def overrides_not_taken(config: DictConfig) -> list[str]:
    """One line that names the overrides without effect, and what stays as it was; none where all have theirs.

    Args:
        config: the configuration of the job, with its section `hydra`.
    """
    resumed, groups = resumed_config(config), config.hydra.runtime.choices
    lost = [
        f"`{override.input_line}` ({what})"
        for override in OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        if (what := stays(override, config, resumed, is_choice=override.get_key_element().lstrip("+~") in groups))
    ]
    start = "A resumed run goes on with its own configuration. Not taken from the command"
    return [f"{start}: {', '.join(lost)}."] if lost else []


def stays(override: Override, composed: DictConfig, resumed: DictConfig, *, is_choice: bool) -> str | None:
    """What an override leaves as it was; None where it has its effect."""
    key = override.package or override.key_or_group
    if override.key_or_group == "exp":  # names all of the configuration; what differs is in the run's own overrides
        return None
    wanted, kept = OmegaConf.select(composed, key), OmegaConf.select(resumed, key)
    if not is_choice:
        return None if wanted == kept else f"it stays {kept}"
    theirs, ours = leaves(wanted), leaves(kept)
    differing = [name for name in ours if name in theirs and theirs[name] != ours[name]]
    if not differing:
        return None
    shown = [f"{key}.{name} stays {ours[name]}" for name in differing[:SHOWN]]
    more = len(differing) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def leaves(section: Any, prefix: str = "") -> dict[str, Any]:
    """The values of a section of a configuration, by their keys."""
    if not isinstance(section, DictConfig):
        return {prefix.rstrip("."): section}
    values: dict[str, Any] = {}
    for key in section:
        values |= leaves(OmegaConf.select(section, str(key)), f"{prefix}{key}.")
    return values
