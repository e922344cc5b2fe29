"""What a training shows in TensorBoard of what its world model foresees."""

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch
from conftest import TINY_AGENT, TINY_LIGHTS_OUT, Command
from lightning.fabric import Fabric
from omegaconf import OmegaConf
from sheeprl.utils.utils import dotdict
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_configs import experiment

from sheeprl_dnp.envs.lights_out import CELL
from sheeprl_dnp.learner import Learner, build_learner
from sheeprl_dnp.open_loop import APART, CONTEXT, GAP, MOMENTS, PICTURES, OpenLoop, film, foresee
from sheeprl_dnp.pictures import Artist

SPACE = gym.spaces.Dict(
    {"rgb": gym.spaces.Box(0, 255, (3, 64, 64), np.uint8), "reward": gym.spaces.Box(-np.inf, np.inf, (1,), np.float32)}
)


class Writer:
    """Of TensorBoard, as far as the open loop needs one."""

    def __init__(self) -> None:
        self.images: dict[int, np.ndarray] = {}

    def add_image(self, tag: str, image: np.ndarray, step: int, dataformats: str) -> None:
        assert dataformats == "HWC"
        self.images[step] = image


@pytest.fixture
def learner() -> Learner:
    torch.manual_seed(0)
    cfg = dotdict(OmegaConf.to_container(experiment("exp=dnp_crafter_small", *TINY_AGENT), resolve=True))
    return build_learner(Fabric(devices=1, accelerator="cpu"), cfg, SPACE, gym.spaces.Discrete(17))


def open_loop(learner: Learner, start_step: int = 0) -> tuple[OpenLoop, Writer]:
    writer, fabric = Writer(), Fabric(devices=1, accelerator="cpu")
    return OpenLoop(fabric, learner.cfg, Artist(learner.cfg, SPACE), writer, start_step), writer


def test_it_sees_the_first_moments_then_the_actions_alone(learner: Learner) -> None:
    batch = learner.batch(8, 2)
    batch["is_first"][0] = 1

    def latents(changed: dict[str, torch.Tensor]) -> torch.Tensor:
        torch.manual_seed(1)
        with torch.no_grad():
            return foresee(learner.world_model, learner.cfg, changed, 3)

    believed = latents(batch)
    assert believed.shape == (8, 2, 16 + 4 * 4)
    for key, first, at in (("rgb", 2, 2), ("rgb", 3, 8), ("actions", 2, 3), ("actions", 7, 8)):
        other = {name: value.clone() for name, value in batch.items()}
        other[key][first:] = learner.batch(8, 2)[key][first:]
        same = (latents(other) == believed).flatten(1).all(1).tolist()
        assert same[:at] == [True] * at and not any(same[at:]), key


def test_a_picture_has_what_happened_below_it_what_was_foreseen_and_the_difference(learner: Learner) -> None:
    batch = learner.batch(30, 3)
    batch["is_first"][4, 0] = batch["is_first"][0] = 1  # an episode begins in the first sequence: the others are shown
    picture = open_loop(learner)[0].picture(learner.world_model, batch)
    assert picture.shape == (6 * (64 + GAP), MOMENTS * (64 + GAP) + 2 * GAP, 3) and picture.dtype == np.uint8
    for row, sequence in ((0, 1), (3, 2)):
        truth, belief, difference = (picture[(row + i) * (64 + GAP) :][:64].astype(int) for i in range(3))
        for moment in (0, CONTEXT - 1, CONTEXT, MOMENTS - 1):
            left = moment * (64 + GAP) + (2 * GAP if moment >= CONTEXT else 0)
            frame = truth[:, left : left + 64]
            assert np.array_equal(frame, batch["rgb"][moment, sequence].permute(1, 2, 0).numpy())
            shown = belief[:, left : left + 64]
            assert np.array_equal(np.abs(frame - shown), difference[:, left : left + 64])
            assert shown.std() > 0


def test_the_wider_gap_is_where_it_begins_to_foresee() -> None:
    row = film(np.zeros((3, 1, 4, 3), np.uint8), context=2)[0, :, 0]
    assert np.flatnonzero(row).tolist() == [4, 5, 10, 11, 12, 13, 14, 15, 20, 21]


def test_a_training_has_ten_pictures_that_cost_less_than_one_gradient_step_in_a_hundred(learner: Learner) -> None:
    learner.cfg.algo.total_steps = 10_000
    shown, writer = open_loop(learner, start_step=500)
    batch = learner.batch(4, 1)
    for step in range(500, 10_001, 5):
        shown.after_gradient_step(learner.world_model, batch, step)
    assert list(writer.images) == list(range(1500, 10_001, 10_000 // PICTURES))
    learner.cfg.algo.total_steps = 1000
    rare, writer = open_loop(learner)
    for step in range(0, 1001, 5):
        rare.after_gradient_step(learner.world_model, batch, step)
    assert list(writer.images) == [5 * (APART - 1), 5 * (2 * APART - 1)]


def test_it_draws_no_random_number_of_the_training_and_changes_no_weight(learner: Learner) -> None:
    before = [parameter.clone() for parameter in learner.world_model.parameters()]
    batch = learner.batch(8, 2)
    torch.manual_seed(3)
    open_loop(learner)[0].picture(learner.world_model, batch)
    drawn = torch.rand(4)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(4))
    assert all(map(torch.equal, before, learner.world_model.parameters()))
    assert all(parameter.grad is None for parameter in learner.world_model.parameters())


@pytest.mark.slow
def test_the_stock_command_shows_it_with_the_pictures_of_the_environment(train: Command, tmp_path: Path) -> None:
    longer = ["algo.total_steps=192", "algo.replay_ratio=1"]
    train("exp=dnp_lights_out_baseline", *TINY_LIGHTS_OUT, *longer)
    events = EventAccumulator(str(next(tmp_path.rglob("events.out.tfevents.*")))).Reload()
    (tag,) = events.Tags()["images"]
    (image,) = events.Images(tag)
    size = 3 * CELL  # 2 sequences of 8 moments, each 3 boards of 3 x 3 lights one below the other
    assert image.height == 6 * (size + GAP)
    assert image.width == 8 * (size + GAP) + 2 * GAP
