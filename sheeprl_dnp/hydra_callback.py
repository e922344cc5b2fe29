"""What happens around a run of one of our experiments or algorithms (`hydra.callbacks`)."""

import errno
from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from sheeprl.algos.dreamer_v3 import dreamer_v3

from sheeprl_dnp.costs import report_costs
from sheeprl_dnp.dreamer_v3_ponder import dreamer_v3_ponder
from sheeprl_dnp.dreamer_v3_ponder.config import check_ponder_config
from sheeprl_dnp.dreamer_v3_ponder.recorder import train_recorded
from sheeprl_dnp.runs import ConfigError, check_resume, check_writable

ALGORITHMS = {"dreamer_v3": dreamer_v3, "dreamer_v3_ponder": dreamer_v3_ponder}
DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}


class RunCallback(Callback):
    """Checks a run before any work starts, records it, and ends a failed one with a sentence for its user.

    It is with each job, in whatever process a launcher or Fabric runs it. Hydra turns the exceptions of callbacks into
    warnings, but for `SystemExit`.
    """

    def __init__(self) -> None:
        self._replaced: tuple[ModuleType, Any] | None = None  # the module of an algorithm, and its own `main`

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            check(config)
        except ConfigError as error:
            end_with_sentence(error)
        self._record(ALGORITHMS[config.algo.name])

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if self._replaced:
            module, main = self._replaced
            module.main, self._replaced = main, None
        if job_return.status == JobStatus.FAILED:
            end_with_sentence(job_return._return_value)

    def _record(self, module: ModuleType) -> None:
        """Puts a recorded training in the place of the `main` of an algorithm, for this job."""
        self._replaced = module, module.main
        recorded = module.main if module is dreamer_v3_ponder else partial(train_recorded, module.main)
        module.main = partial(recorded, on_start=report_costs)


def check(config: DictConfig) -> None:
    """Checks what can be checked of a run before it starts.

    Raises:
        ConfigError: it can't be run as it is configured.
    """
    if config.algo.name not in ALGORITHMS:
        names = " or ".join(f"`{name}`" for name in ALGORITHMS)
        raise ConfigError(f"`algo.name={config.algo.name}` is not allowed here: experiments `dnp_...` are of {names}.")
    if "ponder" in config.algo:
        check_ponder_config(config.algo)
    check_writable(config.log_root)
    if config.checkpoint.resume_from:
        check_resume(config)


def end_with_sentence(failure: BaseException) -> None:
    """Ends the program with what its user can mend; returns if there is nothing of that kind."""
    for error in causes(failure):
        if isinstance(error, ConfigError):
            raise SystemExit(f"Error: {error}") from failure
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise SystemExit(
                f"Error: the run could not write `{error.filename or 'its files'}` ({error.strerror}): it ended, and "
                "its last checkpoint is as it was."
            ) from failure


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, and those that it was made from.

    Hydra raises its own from what goes wrong in building an environment, PyTorch while it handles a disk error;
    Gymnasium makes one of the same type from one of a worker, which is then its argument.
    """
    while error is not None:
        yield error
        inner = error.args[0] if error.args else None
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
