"""What an agent costs: its parameters, and the floating-point operations of an action and of a gradient step."""

import copy
from collections.abc import Callable
from contextlib import redirect_stdout
from io import StringIO
from typing import Any

import gymnasium as gym
import torch
from lightning.fabric import Fabric
from sheeprl.utils.utils import dotdict
from torch.optim import SGD
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from sheeprl_dnp.dreamer_v3_ponder.config import batch_states, root_states
from sheeprl_dnp.dreamer_v3_ponder.parameters import count_parameters
from sheeprl_dnp.learner import Learner, build_learner
from sheeprl_dnp.runs import local_folder, write_json

FILE_NAME = "costs.json"
SAMPLE = (4, 2)  # [T, B] of the batch that is counted: the operations of a gradient step are proportional to T * B


def costs(cfg: dotdict, observation_space: gym.spaces.Dict, action_space: gym.Space) -> dict[str, Any]:
    """Builds the agent of a configuration on the CPU, and counts.

    A multiply-add of a matrix product or of a convolution is two operations; nothing else is counted. What depends on
    chance, the ponder steps of imagined states, is that of the untrained agent.

    Returns:
        `parameters` of the `agent`, `world_model`, `actor` and `critic`, and `flops`: `per_action` of one environment,
        at 1, 2 and so on up to N forced ponder steps, `per_gradient_step`, and what of this learns the `world_model`
        and the `behaviour`.
    """
    cfg, share = copy.deepcopy(cfg), 1.0
    cfg.algo.compile.enabled = False
    if "ponder" in cfg.algo:
        share = root_states(cfg.algo) / batch_states(cfg.algo)
        cfg.algo.ponder.roots = "all"
    fabric = Fabric(accelerator="cpu", devices=1)
    with torch.random.fork_rng(devices=[]), redirect_stdout(StringIO()):
        torch.default_generator.manual_seed(0)
        with UniformWeights():
            learner = build_learner(fabric, cfg, observation_space, action_space, SGD)
        world_model, behaviour = flops_of_phases(learner)
        own = {name: count_parameters(getattr(learner, name)) for name in ("world_model", "actor", "critic")}
        parts = {"world_model": world_model, "behaviour": round(share * behaviour)}
        flops = {"per_action": flops_per_action(learner), "per_gradient_step": sum(parts.values()), **parts}
        return {"parameters": {"agent": sum(own.values()), **own}, "flops": flops}


class UniformWeights(TorchFunctionMode):
    """Spares the weights of a new agent what makes them normal: it takes most of the time, and changes no count."""

    def __torch_function__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        return args[0] if function is torch.Tensor.erfinv_ else function(*args, **(kwargs or {}))


def count_flops(function: Callable[[], Any]) -> int:
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


def flops_of_phases(learner: Learner) -> tuple[int, int]:
    """The operations of a gradient step that learn the world model, and those that learn the behaviour."""
    batch = learner.batch(*SAMPLE)
    world_model = count_flops(lambda: learner.learn_world_model(batch))
    total = count_flops(lambda: learner.step(batch))
    scale = batch_states(learner.cfg.algo) / (SAMPLE[0] * SAMPLE[1])
    return round(world_model * scale), round((total - world_model) * scale)


@torch.no_grad()
def flops_per_action(learner: Learner) -> list[int]:
    player, ponder, flops = learner.player, learner.cfg.algo.get("ponder"), []
    player.num_envs = 1
    observation = {key: value for key, value in learner.batch(1, 1).items() if key in learner.observation_space.spaces}
    for steps in range(1, (ponder.max_halts if ponder else 1) + 1):
        if ponder:
            player.actor.module.halting = steps
        player.init_states()
        flops.append(count_flops(lambda: player.get_actions(observation)))
    return flops


def report_costs(cfg: dotdict, log_dir: str, envs: gym.vector.VectorEnv) -> None:
    """Prints what the agent of a run that starts costs, and writes it to `costs.json` in the folder of the run."""
    counted = costs(cfg, envs.single_observation_space, envs.single_action_space)
    print(describe(counted))
    if folder := local_folder(log_dir):
        write_json(folder.parent / FILE_NAME, counted)


def describe(counted: dict[str, Any]) -> str:
    """One line for people."""
    parameters, flops = counted["parameters"], counted["flops"]
    per_action = [f"{count / 1e6:.3g}" for count in flops["per_action"]]
    actions = per_action[0] if len(per_action) == 1 else f"{per_action[0]} to {per_action[-1]}"
    return (
        f"Parameters of the agent: {parameters['agent']:,}, of its actor: {parameters['actor']:,}; "
        f"{actions} MFLOPs per action, {flops['per_gradient_step'] / 1e9:.4g} GFLOPs per gradient step"
    )
