"""What happens around a run of one of our experiments or algorithms (`hydra.callbacks`)."""

import errno
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from lightning.fabric.utilities.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from sheeprl.algos.dreamer_v3 import dreamer_v3

from sheeprl_dnp.costs import report_costs
from sheeprl_dnp.dreamer_v3_ponder import dreamer_v3_ponder
from sheeprl_dnp.dreamer_v3_ponder.config import check_ponder_config
from sheeprl_dnp.dreamer_v3_ponder.recorder import train_recorded
from sheeprl_dnp.envs.worlds import check_training_seed
from sheeprl_dnp.resume import check_choices, overrides_not_taken, resumed_config, without_hydra
from sheeprl_dnp.runs import ConfigError, causes, check_resume, check_writable

ALGORITHMS = {"dreamer_v3": dreamer_v3, "dreamer_v3_ponder": dreamer_v3_ponder}
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}


class RunCallback(Callback):
    """Checks a run before any work starts, records it, and ends a failed one with a sentence for its user.

    It is with each job, in whatever process a launcher or Fabric runs it. Hydra turns the exceptions of callbacks into
    warnings, but for `SystemExit`, which would end a whole sweep: there the job alone fails, and the others go on.
    """

    def __init__(self) -> None:
        self._replaced: tuple[Any, Any] | None = None  # the module of an algorithm, and its own `main`
        self._refused: ConfigError | None = None  # of this job, which a sweep goes on after

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        module: Any = ALGORITHMS.get(config.algo.name)
        try:
            check(config)
        except ConfigError as error:
            if not (module and is_of_sweep(config)):
                raise SystemExit(sentence(error)) from error
            self._refused = error
            self._replace(module, partial(refuse, error))
            return
        if config.checkpoint.resume_from and rank_zero_only.rank == 0:
            sys.stderr.writelines(f"{line}\n" for line in overrides_not_taken(config))
        recorded = module.main if module is dreamer_v3_ponder else partial(train_recorded, module.main)
        self._replace(module, partial(recorded, on_start=report_costs))

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if self._replaced:
            module, main = self._replaced
            module.main, self._replaced = main, None
        # SheepRL may have failed in words of its own, before it came to refuse
        failure, self._refused = self._refused or job_return._return_value, None
        if job_return.status != JobStatus.FAILED or not (said := sentence(failure)):
            return
        if not is_of_sweep(config):
            raise SystemExit(said) from failure
        print(said, file=sys.stderr)
        job_return._return_value = SystemExit(1)  # raised by Hydra at the end of the sweep

    def _replace(self, module: Any, main: Callable[..., None]) -> None:
        """Puts another function in the place of the `main` of an algorithm, for this job."""
        self._replaced = module, module.main
        module.main = main


def is_of_sweep(config: DictConfig) -> bool:
    return config.hydra.mode == RunMode.MULTIRUN


def refuse(error: ConfigError, *_: Any) -> None:
    """In the place of a training that can't be run as it is configured."""
    raise error


def check(config: DictConfig) -> None:
    """Raises a ConfigError where it is known before a run starts that it can't be run as it is configured."""
    check_complete(config)
    if config.algo.name not in ALGORITHMS:
        names = " or ".join(f"`{name}`" for name in ALGORITHMS)
        raise ConfigError(f"`algo.name={config.algo.name}` is not allowed here: experiments `dnp_...` are of {names}.")
    if "ponder" in config.algo:
        check_ponder_config(config.algo)
    if config.checkpoint.resume_from:
        check_resume(config)
        resumed = resumed_config(config)
        check_choices(config, resumed)
        config = resumed
    check_training_seed(config)
    check_writable(config.log_root)


def check_complete(config: DictConfig) -> None:
    """Raises a ConfigError where a key has no value, or takes it from where there is none (an environment variable)."""
    try:
        OmegaConf.to_container(without_hydra(config), resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        reason = str(error.msg or error).splitlines()[0].replace("KeyError raised while resolving interpolation: ", "")
        raise ConfigError(f"`{error.full_key}` has no value: {reason.strip(chr(34))}.") from error


def sentence(failure: BaseException) -> str | None:
    """What the user of a failed run can mend; None if there is nothing of that kind."""
    for error in causes(failure):
        if isinstance(error, ConfigError):
            return f"Error: {error}"
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            return (
                f"Error: the run could not read or write `{error.filename or 'its files'}` ({error.strerror}): it "
                "ended, and its last checkpoint is as it was."
            )
    return None
