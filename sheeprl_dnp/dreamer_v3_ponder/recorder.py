"""What a training keeps of itself: a line of `episodes.jsonl` for each episode, in the folder where SheepRL logs it,
and in TensorBoard now and then what the world model foresees.

It is SheepRL's own loop that trains. `train_recorded` learns the folder of the run from it when it makes that, and
counts the steps of the environments that it makes, in each of its processes.
"""

import errno
import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import FunctionType
from typing import Any

import gymnasium as gym
import numpy as np
from lightning.fabric import Fabric
from lightning.fabric.loggers import TensorBoardLogger
from sheeprl.algos.dreamer_v2.agent import WorldModel
from sheeprl.algos.dreamer_v3 import dreamer_v3
from sheeprl.utils import env as sheeprl_env
from sheeprl.utils import fs
from sheeprl.utils import logger as sheeprl_logger
from sheeprl.utils.utils import dotdict

from sheeprl_dnp.dreamer_v3_ponder.agent import PonderedSteps
from sheeprl_dnp.dreamer_v3_ponder.buffer_files import hold, resumed_folder
from sheeprl_dnp.dreamer_v3_ponder.progress import ProgressLine
from sheeprl_dnp.envs.episode_list import episode_return, told
from sheeprl_dnp.envs.worlds import WorldSeeds
from sheeprl_dnp.episodes import FILE_NAME
from sheeprl_dnp.machine import start_method
from sheeprl_dnp.open_loop import OpenLoop
from sheeprl_dnp.pictures import Artist
from sheeprl_dnp.rebinding import rebound
from sheeprl_dnp.runs import local_folder, resumed_step

OnStart = Callable[[dict[str, Any], str, gym.vector.VectorEnv], None]


def train_recorded(
    main: FunctionType,
    fabric: Fabric,
    cfg: dotdict,
    *,
    on_start: OnStart | None = None,
    player_steps: PonderedSteps | None = None,
    train: Callable[..., None] = dreamer_v3.train,
    **names: Any,
) -> None:
    """Trains with `main`, the loop of SheepRL's DreamerV3, and records the episodes.

    Args:
        on_start: called in the first process before the first step, with the configuration, the folder of the logs and
            the environments.
        player_steps: the ponder steps of the player, to be shown.
        train: a gradient step, with the arguments of SheepRL's own.
        names: what else stands for SheepRL's own functions and classes in the loop.

    Raises:
        ConfigError: the files of the replay buffer are another training's.
        OSError: a record can't be written.
    """
    with Recorder(fabric, cfg, on_start, player_steps, train) as recorder:
        rebound(
            main,
            get_log_dir=recorder.get_log_dir,
            make_env=recorder.make_env,
            get_vector_env_cls=recorder.get_vector_env_cls,
            train=recorder.train,
            **names,
        )(fabric, cfg)


class Recorder(ExitStack):
    """Stands for the functions by which SheepRL's loop makes its folder and environments and learns, under their names.

    As long as it is entered it shows the progress, and no other training goes on in the same files.
    """

    def __init__(
        self,
        fabric: Fabric,
        cfg: dotdict,
        on_start: OnStart | None,
        player_steps: PonderedSteps | None,
        train: Callable[..., None],
    ) -> None:
        super().__init__()
        self._fabric, self._cfg, self._on_start, self._train = fabric, cfg, on_start, train
        self._open_loop: OpenLoop | None = None
        checkpoint = cfg.checkpoint.resume_from
        self._start_step = self._step = resumed_step(checkpoint) if checkpoint else 0
        self._buffer_folder = resumed_folder(cfg, fabric.global_rank)
        if self._buffer_folder:
            self.enter_context(hold(self._buffer_folder))
        self._line = ProgressLine(fabric, cfg.algo.total_steps, self._start_step, player_steps)

    def __enter__(self) -> "Recorder":
        self.enter_context(self._line)
        return self

    def get_log_dir(self, fabric: Fabric, *args: Any, **kwargs: Any) -> str:
        """SheepRL's `get_log_dir`, which every process calls before it makes its environments."""
        self._log_dir = sheeprl_logger.get_log_dir(fabric, *args, **kwargs)
        folder = local_folder(self._log_dir)
        self._file = folder / FILE_NAME if folder else None
        if folder:
            folder.mkdir(parents=True, exist_ok=True)  # SheepRL makes it on the first of several machines
        else:
            fabric.print(f"The episodes are not recorded: `{self._log_dir}` is not a local folder.")
        if self._cfg.buffer.memmap and not self._buffer_folder:
            self.enter_context(hold(Path(fs.memmap_dir(self._cfg, self._log_dir, fabric.global_rank))))
        return self._log_dir

    def make_env(self, *args: Any, **kwargs: Any) -> Callable[[], gym.Env]:
        return NewWorlds(sheeprl_env.make_env(*args, **kwargs), self._start_step)

    def get_vector_env_cls(self, sync_env: bool) -> Callable[[Sequence[Callable[[], gym.Env]]], gym.vector.VectorEnv]:
        make = sheeprl_env.get_vector_env_cls(sync_env)
        if not sync_env:
            make = partial(make, context=start_method())

        return lambda makers: RecordedEnvironments(make(makers), self)

    def train(self, fabric: Fabric, world_model: WorldModel, *args: Any) -> None:
        """SheepRL's `train`: a gradient step of the whole agent."""
        self._train(fabric, world_model, *args)
        if self._open_loop:
            batch = args[6]
            self._open_loop.after_gradient_step(world_model, batch, self._step)

    def on_reset(self, envs: gym.vector.VectorEnv) -> None:
        if self._on_start and self._fabric.is_global_zero:
            self._on_start(self._cfg, self._log_dir, envs)
        logger = next(iter(self._fabric.loggers), None)  # of the first process, if the run logs
        if isinstance(logger, TensorBoardLogger):
            env = getattr(envs.unwrapped, "envs", [None])[0]  # out of reach where they have processes of their own
            artist = Artist(self._cfg, envs.single_observation_space, env)
            self._open_loop = OpenLoop(self._fabric, self._cfg, artist, logger.experiment, self._start_step)

    def on_step(self, num_envs: int, ended: list[tuple[int, dict[str, Any]]]) -> None:
        self._step += num_envs * self._fabric.world_size
        first = self._fabric.global_rank * num_envs
        records = [episode_record(self._step, first + index, info) for index, info in ended]
        if self._file:
            for record in records:
                append_line(self._file, record)
        self._line.go_on(self._step, [record["reward"] for record in records])


class NewWorlds:
    """Makes an environment; one with `world_seeds` plays worlds that the run has not played before.

    SheepRL makes an environment again after a crash: in the list of worlds it then goes on where the last one was.
    """

    def __init__(self, make: Callable[[], gym.Env], start_step: int) -> None:
        self._make, self._start_step = make, start_step
        self._last: WorldSeeds | None = None

    def __call__(self) -> gym.Env:
        env = self._make()
        if env.has_wrapper_attr("world_seeds"):
            worlds = env.get_wrapper_attr("world_seeds")
            if self._last:
                worlds.go_on_after(self._last)
            else:
                worlds.start_at(self._start_step)
            self._last = worlds
        return OwnOutcome(env)


class OwnOutcome(gym.Wrapper):
    """Gives a number for a reward, and each step an `info` of its own, where the environment gives neither.

    Gymnasium's environments can't batch a reward of the shape [1] (its issue 1445), and their processes send the last
    `info` of an episode only after the next `reset`, which may have used it again (its issue 1132).
    """

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        if np.ndim(reward):
            reward = np.asarray(reward).item()
        own = {key: dict(value) if isinstance(value, dict) else value for key, value in info.items()}
        return obs, reward, terminated, truncated, own


class RecordedEnvironments(gym.vector.VectorWrapper):
    """Tells a recorder after each step how many environments there are, and of each ended episode its last `info`.

    SheepRL's loop resets them once, when it has built and checked all that it needs.
    """

    def __init__(self, envs: gym.vector.VectorEnv, recorder: Recorder) -> None:
        super().__init__(envs)
        self._recorder = recorder

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self._recorder.on_reset(self)
        return self.env.reset(seed=seed, options=options)

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        *outcome, infos = self.env.step(actions)
        last = infos.get("final_info", {})
        ended = np.flatnonzero(last.get("_episode", ())).tolist()
        self._recorder.on_step(self.num_envs, [(index, info_of(last, index)) for index in ended])
        return *outcome, infos


def info_of(infos: dict[str, Any], index: int) -> dict[str, Any]:
    """The `info` of one environment, out of those that Gymnasium has put together."""
    own = (key for key in infos if f"_{key}" in infos and infos[f"_{key}"][index])
    return {key: info_of(infos[key], index) if isinstance(infos[key], dict) else infos[key][index] for key in own}


def episode_record(step: int, env: int, info: dict[str, Any]) -> dict[str, Any]:
    """The record of an episode, from its last `info`, with achievements as in Crafter's own records."""
    reward, length = round(episode_return(info), 6), int(info["episode"]["l"])
    record = {"step": step, "length": length, "reward": reward, "env": env}
    for key, value in told(info).items():
        if isinstance(value, dict):
            record |= {f"{key.removesuffix('s')}_{name}": count for name, count in value.items()}
        else:
            record[key] = value
    return record


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Appends a record as JSON in one piece, so that the lines of several processes never mix.

    Raises:
        OSError: it can't be written (disk full, say).
    """
    line = json.dumps(record).encode() + b"\n"
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)
