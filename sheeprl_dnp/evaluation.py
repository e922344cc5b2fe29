"""Frozen policies of `dreamer_v3` and of `dreamer_v3_ponder`, played in the same worlds: no training begins in one."""

import copy
import hashlib
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from lightning.fabric import Fabric
from sheeprl.algos.dreamer_v3.agent import PlayerDV3
from sheeprl.algos.dreamer_v3.utils import prepare_obs
from sheeprl.utils.env import make_env
from sheeprl.utils.fabric import get_single_device_fabric
from sheeprl.utils.utils import dotdict
from torch import Tensor

from sheeprl_dnp.checkpoints import build_agent
from sheeprl_dnp.dreamer_v3_ponder.config import check_dream, halting_rule, ponders
from sheeprl_dnp.dreamer_v3_ponder.lookahead import BestOfMostProbable, Lookahead
from sheeprl_dnp.dreamer_v3_ponder.utils import action_sizes
from sheeprl_dnp.envs.crafter_score import ACHIEVEMENTS, score
from sheeprl_dnp.envs.episode_list import EpisodeList
from sheeprl_dnp.envs.worlds import KEPT_SEEDS
from sheeprl_dnp.machine import start_method
from sheeprl_dnp.runs import local_folder

COMMAND = "scripts/evaluate"  # what usually plays an evaluation
LONGEST_CHANGES = 100  # characters of the overrides in the name of a file, which has room for 255

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a policy is evaluated.

    Args:
        checkpoint: its path, or its URL on a filesystem that SheepRL logs on.
        steps: the rule that chooses the ponder steps: `sample`, `threshold`, a number of steps, or `shuffled` (see
            `PlayerActor`); `None`: that of the training.
        dream: how many of the most probable actions the player dreams of, to take the best one (see
            `BestOfMostProbable`); `None`: it samples its policy, as in training.
        overrides: of the environment, for one that differs from that of the training: see `checkpoints.overridden`.
        seed: of PyTorch: of the sampled actions.
        worlds: `validation` or `evaluation`.
        num_envs: played at once.
        command: that plays it.
    """

    checkpoint: str
    episodes: int = 100
    steps: str | int | None = None
    dream: int | None = None
    overrides: Sequence[str] = ()
    seed: int = 0
    worlds: str = "evaluation"
    num_envs: int = 8
    command: str = COMMAND

    def record(self, fabric: Fabric, algo: dotdict) -> Record:
        """What the results of an evaluation begin with."""
        rule = self.steps
        if rule is None:
            rule = halting_rule(algo.ponder) if ponders(algo) else 1
        precision = fabric._precision.precision
        asked = {**vars(self), "overrides": list(self.overrides), "steps": rule, "num_episodes": self.episodes}
        return asked | {"algorithm": algo.name, "device": fabric.device.type, "precision": precision}

    def file(self, device: str) -> str:
        """Where the results are written: beside the checkpoint, under a name that says how it was played.

        Evaluations that may differ have different names, so that none replaces another:
        `ckpt_100_0.episodes_10_seed_0_envs_8_cpu.eval.json`, and what isn't usual after `cpu`.
        """
        parts = [f"episodes_{self.episodes}_seed_{self.seed}_envs_{self.num_envs}_{device}"]
        parts += [f"steps_{self.steps}"] if self.steps is not None else []
        parts += [f"dream_{self.dream}"] if self.dream is not None else []
        changes = "_".join(re.sub(r"[^\w.-]+", "_", override).strip("_") for override in self.overrides)
        if len(changes) > LONGEST_CHANGES:
            changes = f"overrides_{hashlib.sha256(' '.join(self.overrides).encode()).hexdigest()[:12]}"
        parts += [changes] if changes else []
        parts += [self.worlds] if self.worlds != "evaluation" else []
        parts += [self.command] if self.command != COMMAND else []
        return f"{self.checkpoint.removesuffix('.ckpt')}.{'_'.join(parts)}.eval.json"


class PlayerSteps:
    """The ponder steps of the last actions of a player."""

    def __init__(self, num_envs: int) -> None:
        self.halts = torch.ones(num_envs)  # those of a player that doesn't ponder

    def update(self, halts: Tensor) -> None:
        self.halts = halts.flatten()


def make_environments(
    cfg: dotdict, episodes: int, num_envs: int, log_dir: str, worlds: str = "evaluation"
) -> gym.vector.VectorEnv:
    """The environments of a run, which play `episodes` episodes between them, each with a seed of its own.

    Environments that keep worlds for it have the seeds from 0 on, others those of `KEPT_SEEDS`.

    Args:
        log_dir: where videos go, if `cfg.env.capture_video`.
        worlds: `validation` or `evaluation`.
    """
    cfg = copy.deepcopy(cfg)
    log_dir = str(local_folder(log_dir) or log_dir)  # SheepRL can't upload videos to `file://`
    seeds = KEPT_SEEDS[worlds]
    if "worlds" in cfg.env.wrapper:
        cfg.env.wrapper.worlds = worlds
        seeds = range(len(seeds))

    def make(index: int) -> gym.Env:
        own = seeds[index:episodes:num_envs]
        env = make_env(cfg, own[0], index, log_dir, "evaluation", vector_env_idx=index)()
        return EpisodeList(env, own)

    makers = [partial(make, index) for index in range(num_envs)]
    if num_envs == 1:
        return gym.vector.SyncVectorEnv(makers)
    return gym.vector.AsyncVectorEnv(makers, context=start_method())


def build_player(
    fabric: Fabric,
    cfg: dotdict,
    envs: gym.vector.VectorEnv,
    state: dict[str, Any],
    steps: PlayerSteps,
    dream: int | None = None,
) -> PlayerDV3:
    """The player of a checkpoint (`state`), which tells `steps` how many ponder steps it takes.

    Args:
        dream: see `Settings`.

    Raises:
        ConfigError: it can't dream of so many actions.
    """
    world_model, _, critic, moments, player = build_agent(fabric, cfg, envs, state, steps)
    if dream is not None:
        space = envs.single_action_space
        check_dream(dream, cfg.algo, action_sizes(space), isinstance(space, gym.spaces.Box))
        lookahead = Lookahead(cfg.algo, world_model, critic, moments, action_sizes(space)[0])
        actor = player.actor.module.actor if "ponder" in cfg.algo else player.actor.module
        player.actor = get_single_device_fabric(fabric).setup_module(BestOfMostProbable(actor, lookahead, dream))
        # Its policy is the mixture of all its ponder steps, or that of the last one
        steps.update(torch.full((envs.num_envs,), cfg.algo.ponder.max_halts if ponders(cfg.algo) else 1))
    return player


@torch.no_grad()
def play(
    player: PlayerDV3,
    steps: PlayerSteps,
    envs: gym.vector.VectorEnv,
    fabric: Fabric,
    cfg: dotdict,
    episodes: int,
    latencies: list[float],
) -> Iterator[Record]:
    """Plays the episodes of the environments with sampled actions, as in training; gives each as it ends.

    Args:
        latencies: gets the seconds of each decision, for all the environments at once.

    Returns:
        The records of `EpisodeList`, with the mean `ponder_steps` of the episode's actions, and `first_ponder_steps`,
        those of its first one.
    """
    obs, _ = envs.reset()
    player.init_states()
    first, pondered, acted = np.zeros((3, envs.num_envs))
    ended = 0
    while ended < episodes:
        start = time.perf_counter()
        actions = decide(player, fabric, cfg, obs, envs)
        latencies.append(time.perf_counter() - start)
        halts = steps.halts.cpu().numpy()
        first = np.where(acted == 0, halts, first)
        pondered += halts
        acted += 1
        obs, *_, info = envs.step(actions)
        finished = np.flatnonzero(info.get("_ended", np.zeros(envs.num_envs))).tolist()
        for index in finished:
            steps_taken = {"ponder_steps": pondered[index] / acted[index], "first_ponder_steps": int(first[index])}
            yield json.loads(info["ended"][index]) | steps_taken
        if finished:
            pondered[finished], acted[finished] = 0, 0
            player.init_states(finished)
            ended += len(finished)


def decide(
    player: PlayerDV3, fabric: Fabric, cfg: dotdict, obs: dict[str, np.ndarray], envs: gym.vector.VectorEnv
) -> np.ndarray:
    torch_obs = prepare_obs(fabric, obs, cnn_keys=cfg.algo.cnn_keys.encoder, num_envs=envs.num_envs)
    mask = {key: value for key, value in torch_obs.items() if key.startswith("mask")} or None
    actions = player.get_actions(torch_obs, mask=mask)
    if isinstance(envs.single_action_space, gym.spaces.Box):
        actions = torch.cat(actions, -1)
    else:
        actions = torch.stack([action.argmax(-1) for action in actions], -1)
    return actions.cpu().numpy().reshape(envs.action_space.shape)


def achievement_results(episodes: list[Record]) -> Record:
    """In how many of the episodes each achievement was unlocked, in percent; the score where they are Crafter's."""
    counts = [count for episode in episodes if isinstance(count := episode.get("achievements"), dict)]
    if len(counts) < len(episodes):
        return {"score": None, "success_rates": {}}
    names = dict.fromkeys(name for count in counts for name, value in count.items() if not isinstance(value, str))
    rates = {name: 100 * fmean(count.get(name, 0) > 0 for count in counts) for name in names}
    is_crafter = rates.keys() == set(ACHIEVEMENTS)
    return {"score": float(score(np.array(list(rates.values())))) if is_crafter else None, "success_rates": rates}


def results(episodes: list[Record], latencies: list[float]) -> Record:
    """What an evaluation found: the means, and each episode in the order of its seed.

    `latency_ms_per_action` is of one decision for all the environments.
    """
    median, p95 = np.percentile(latencies, (50, 95)) * 1000
    return {
        "mean_return": fmean(episode["return"] for episode in episodes),
        "mean_length": fmean(episode["length"] for episode in episodes),
        **achievement_results(episodes),
        "mean_ponder_steps": fmean(episode["ponder_steps"] for episode in episodes),
        "latency_ms_per_action": {"median": round(median, 3), "p95": round(p95, 3)},
        "episodes": sorted(episodes, key=lambda episode: episode["seed"]),
    }


def evaluate(
    fabric: Fabric,
    cfg: dotdict,
    state: dict[str, Any],
    settings: Settings,
    *,
    log_dir: str,
    on_episode: Callable[[Record], None],
) -> Record:
    """Plays the policy of a checkpoint, each episode with a seed that no training begins with, the same for all.

    The same checkpoint, seed of PyTorch and number of environments give the same episodes.

    Args:
        state: the checkpoint.
        on_episode: called with each episode as it ends.
        log_dir: see `make_environments`.

    Returns:
        How it was played, and what `results` has.

    Raises:
        ConfigError: it can't dream of so many actions.
    """
    episodes, num_envs = settings.episodes, settings.num_envs
    envs = make_environments(cfg, episodes, num_envs, log_dir, settings.worlds)
    latencies: list[float] = []
    records: list[Record] = []
    try:
        steps = PlayerSteps(num_envs)
        player = build_player(fabric, cfg, envs, state, steps, settings.dream)
        for record in play(player, steps, envs, fabric, cfg, episodes, latencies):
            records.append(record)
            on_episode(record)
    finally:
        envs.close()
    return settings.record(fabric, cfg.algo) | results(records, latencies)
