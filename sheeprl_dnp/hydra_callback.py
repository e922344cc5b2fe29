"""What happens around a run of one of our experiments, whichever algorithm it trains (`hydra.callbacks`)."""

import errno
from collections.abc import Iterator
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from sheeprl_dnp.dreamer_v3_ponder.config import check_ponder_config
from sheeprl_dnp.runs import ConfigError, check_resume, check_writable, publish_run, run_folder

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}


class RunCallback(Callback):
    """Checks a run before any work starts, and ends a failed one with a sentence for its user, not for its author.

    Hydra turns the exceptions of callbacks into warnings, but for `SystemExit`.
    """

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            if "ponder" in config.algo:
                check_ponder_config(config.algo.ponder)
            check_writable(run_folder(config))
            if config.checkpoint.resume_from:
                check_resume(config)
            publish_run(config)
        except ConfigError as error:
            raise SystemExit(f"Error: {error}") from error

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if job_return.status != JobStatus.FAILED:
            return
        for error in causes(job_return._return_value):
            if isinstance(error, ConfigError):
                raise SystemExit(f"Error: {error}")
            if isinstance(error, OSError) and error.errno in DISK_ERRORS:
                raise SystemExit(
                    f"Error: the run in `{run_folder(config)}` could not write `{error.filename or 'its files'}` "
                    f"({error.strerror}): it ended, and its last checkpoint is as it was."
                )


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception, and those that it was made from.

    Hydra raises its own from what goes wrong in building an environment, PyTorch while it handles a disk error;
    Gymnasium makes one of the same type from one of a worker, which is then its argument.
    """
    while error is not None:
        yield error
        inner = error.args[0] if error.args else None
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__
