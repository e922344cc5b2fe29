"""What the command that resumes a run says in vain: SheepRL goes on with the configuration of the run itself."""

import warnings
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf
from sheeprl.cli import resume_from_checkpoint

from sheeprl_dnp.runs import ConfigError, load_run_config

SHOWN = 3  # keys of a choice of a group


def resumed_config(config: DictConfig) -> DictConfig:
    """The configuration with which a run goes on, from that of the command that resumes it."""
    with warnings.catch_warnings():  # SheepRL gives them when it resumes
        warnings.simplefilter("ignore")
        return resume_from_checkpoint(without_hydra(config))


def without_hydra(config: DictConfig) -> DictConfig:
    return OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])


def check_choices(config: DictConfig, resumed: DictConfig) -> None:
    """Checks that the run's configuration, merged over that of the command, leaves no key of what it doesn't take.

    Args:
        resumed: `resumed_config` of the configuration of the command.

    Raises:
        ConfigError: it leaves some to a class that doesn't know them.
    """
    wanted, kept = leaves(without_hydra(config)), leaves(resumed)
    own = leaves(load_run_config(config.checkpoint.resume_from))
    for key in (key for key in kept if key.endswith("._target_") and key in wanted and wanted[key] != kept[key]):
        section = key.removesuffix("_target_")
        foreign = [name for name in kept if name.startswith(section) and name not in own]
        if foreign:
            raise ConfigError(
                f"`{key}={wanted[key]}` can't be: the run of `checkpoint.resume_from` goes on with its own, "
                f"`{kept[key]}`, which has no `{foreign[0].removeprefix(section)}`. Leave that choice out."
            )


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
        values |= leaves(OmegaConf.select(section, str(key)), f"{prefix}{key!s}.")
    return values
