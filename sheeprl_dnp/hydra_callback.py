"""What happens around a run of one of our experiments, whichever algorithm it trains (`hydra.callbacks`)."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.errors import InstantiationException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from sheeprl.utils import fs
from sheeprl.utils.utils import dotdict

from sheeprl_dnp.costs import save_costs
from sheeprl_dnp.dreamer_v3_ponder.config import check_ponder_config
from sheeprl_dnp.runs import ConfigError, check_resume, check_writable, publish_run, run_folder

DISK_ERRORS = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO}


class RunCallback(Callback):
    """Checks a run before any work starts, and ends a failed one with a sentence for its user, not for its author.

    Hydra turns the exceptions of callbacks into warnings, but for `SystemExit`.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        # `${now:...}` in its name is resolved once, here: the copies that Hydra makes of the configuration keep it
        run_folder(config)

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        try:
            if "ponder" in config.algo:
                check_ponder_config(config.algo)
            check_writable(run_folder(config))
            if config.checkpoint.resume_from:
                check_resume(config)
            if int(os.environ.get("LOCAL_RANK", 0)) == 0 and not fs.is_url(run_folder(config)):
                save_costs(plain(config), Path(run_folder(config)))
            publish_run(config)
        except (ConfigError, InstantiationException, OSError) as error:
            end_with_sentence(config, error)
            raise

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        if job_return.status != JobStatus.FAILED:
            return
        end_with_sentence(config, job_return._return_value)


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration of the run, as SheepRL's algorithms get it."""
    own = OmegaConf.masked_copy(config, [key for key in config if key != "hydra"])
    return dotdict(OmegaConf.to_container(own, resolve=True))


def end_with_sentence(config: DictConfig, failure: BaseException) -> None:
    """Ends the program with what its user can mend; returns if there is nothing of that kind."""
    for error in causes(failure):
        if isinstance(error, ConfigError):
            raise SystemExit(f"Error: {error}") from failure
        if isinstance(error, OSError) and error.errno in DISK_ERRORS:
            raise SystemExit(
                f"Error: the run in `{run_folder(config)}` could not write `{error.filename or 'its files'}` "
                f"({error.strerror}): it ended, and its last checkpoint is as it was."
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
