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
    """Raises a ConfigError where a run's configuration, merged over that of the command, leaves keys of the command to
    a class that doesn't know them.

    Args:
        resumed: `resumed_config` of the configuration of the command.
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
    resumed = resumed_config(config)
    lost = [
        f"`{override.input_line}` ({what})"
        for override in OverridesParser.create().parse_overrides(list(config.hydra.overrides.task))
        if (what := stays(override, config, resumed))
    ]
    start = "A resumed run goes on with its own configuration. Not taken from the command"
    return [f"{start}: {', '.join(lost)}."] if lost else []


def stays(override: Override, composed: DictConfig, resumed: DictConfig) -> str | None:
    """What an override of a value or a choice of a group leaves as it was; None where it has its effect."""
    key = override.package or override.key_or_group
    if override.key_or_group == "exp":  # names all of the configuration; what differs is in the run's own overrides
        return None
    wanted, kept = (leaves(OmegaConf.select(config, key), key) for config in (composed, resumed))
    differing = [name for name in kept if {name, key} & wanted.keys() and wanted.get(name) != kept[name]]
    shown = [f"{'it' if name == key else name} stays {kept[name]}" for name in differing[:SHOWN]]
    more = len(differing) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "") or None


def leaves(section: Any, name: str = "") -> dict[str, Any]:
    """The values of a section of a configuration, by their keys; `name`: its own."""
    if not isinstance(section, DictConfig):
        return {name: section}
    values: dict[str, Any] = {}
    for key in section:
        values |= leaves(OmegaConf.select(section, str(key)), f"{name}.{key!s}".lstrip("."))
    return values
