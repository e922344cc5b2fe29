"""`sheeprl-eval checkpoint_path=...`: plays a trained agent, and writes what it did beside its checkpoint."""

import copy
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import gymnasium as gym
import torch
from lightning.fabric import Fabric
from sheeprl.algos.dreamer_v3.agent import PlayerDV3
from sheeprl.algos.dreamer_v3.utils import prepare_obs
from sheeprl.utils.env import make_env
from sheeprl.utils.logger import get_log_dir, get_logger
from sheeprl.utils.registry import register_evaluation

from sheeprl_dnp.dreamer_v3_ponder.agent import PonderedSteps, build_agent
from sheeprl_dnp.dreamer_v3_ponder.config import check_ponder_config

EVALUATION_SEED = 0  # of the worlds, the same for every checkpoint


@dataclass
class Episode:
    """One evaluation episode."""

    reward: float  # its return
    length: int  # in environment steps
    ponder_steps: float  # mean over its actions
    achievements: dict[str, int] | None = None  # of Crafter: how often each was done
    world_seed: int | None = None  # of Crafter


def action_sizes(space: gym.Space) -> tuple[int, ...]:
    """The size of each action head, as SheepRL counts them."""
    if isinstance(space, gym.spaces.Box):
        return space.shape
    return tuple(space.nvec.tolist()) if isinstance(space, gym.spaces.MultiDiscrete) else (space.n,)


def evaluation_env(cfg: dict[str, Any], log_dir: str) -> gym.Env:
    """One environment of the run; Crafter's in the worlds kept for evaluations."""
    cfg = copy.deepcopy(cfg)
    if "worlds" in cfg.env.wrapper:
        cfg.env.wrapper.worlds = "evaluation"
    return make_env(cfg, EVALUATION_SEED, 0, log_dir, "evaluation")()


@torch.no_grad()
def play(
    player: PlayerDV3, steps: PonderedSteps, env: gym.Env, fabric: Fabric, cfg: dict[str, Any]
) -> Iterator[Episode]:
    """Plays one episode after another, each in the next world, with sampled actions as in training."""
    player.num_envs = 1
    seed = EVALUATION_SEED
    while True:
        obs, _ = env.reset(seed=seed)
        seed = None
        player.init_states()
        done = False
        while not done:
            torch_obs = prepare_obs(fabric, obs, cnn_keys=cfg.algo.cnn_keys.encoder)
            mask = {k: v for k, v in torch_obs.items() if k.startswith("mask")} or None
            actions = player.get_actions(torch_obs, mask=mask)
            if not player.actor.is_continuous:
                actions = [action.argmax(-1) for action in actions]
            action = torch.stack(actions, -1).cpu().numpy().reshape(env.action_space.shape)
            obs, _, terminated, truncated, info = env.step(action)
            done = terminated or truncated
        yield Episode(
            reward=float(info["episode"]["r"]),
            length=int(info["episode"]["l"]),
            ponder_steps=steps.compute_and_reset(),
            achievements=info.get("achievements"),
            world_seed=info.get("world_seed"),
        )


def report(cfg: dict[str, Any], episodes: list[Episode]) -> dict[str, Any]:
    """What is written: the means, and each episode."""
    return {
        "checkpoint": str(cfg.checkpoint_path),
        "halting": cfg.algo.ponder.halting,
        "seed": cfg.seed,
        "mean_reward": fmean(episode.reward for episode in episodes),
        "mean_length": fmean(episode.length for episode in episodes),
        "mean_ponder_steps": fmean(episode.ponder_steps for episode in episodes),
        "episodes": [asdict(episode) for episode in episodes],
    }


@register_evaluation(algorithms="dreamer_v3_ponder")
def evaluate(fabric: Fabric, cfg: dict[str, Any], state: dict[str, Any]) -> None:
    """Plays `algo.ponder.eval_episodes` episodes, and writes `<checkpoint>.eval.json`."""
    check_ponder_config(cfg.algo.ponder)
    logger = get_logger(fabric, cfg)
    if logger and fabric.is_global_zero:
        fabric._loggers = [logger]
    log_dir = get_log_dir(fabric, cfg.root_dir, cfg.run_name, log_root=cfg.log_root)
    env = evaluation_env(cfg, log_dir)
    steps = PonderedSteps()
    *_, player = build_agent(
        fabric,
        action_sizes(env.action_space),
        isinstance(env.action_space, gym.spaces.Box),
        cfg,
        env.observation_space,
        state["world_model"],
        state["actor"],
        player_steps=steps,
    )
    episodes = []
    for episode in islice(play(player, steps, env, fabric, cfg), cfg.algo.ponder.eval_episodes):
        episodes.append(episode)
        fabric.print(
            f"Episode {len(episodes)}/{cfg.algo.ponder.eval_episodes}: return {episode.reward:.2f}, "
            f"{episode.length} steps, {episode.ponder_steps:.2f} ponder steps"
        )
    env.close()
    results = report(cfg, episodes)
    path = Path(cfg.checkpoint_path).with_suffix(".eval.json")
    path.write_text(json.dumps(results, indent=2) + "\n")
    fabric.print(
        f"Mean return {results['mean_reward']:.2f}, length {results['mean_length']:.0f}, "
        f"ponder steps {results['mean_ponder_steps']:.2f}; written to {path}"
    )
    if fabric.loggers:
        fabric.logger.log_metrics({"Test/cumulative_reward": results["mean_reward"]}, 0)
