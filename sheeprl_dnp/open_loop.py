"""What the world model of a training foresees, as pictures in TensorBoard: the open-loop prediction of DreamerV3."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from lightning.fabric import Fabric
from sheeprl.algos.dreamer_v2.agent import WorldModel
from sheeprl.algos.dreamer_v3.agent import RSSM
from sheeprl.algos.dreamer_v3.dreamer_v3 import world_model_loss, world_model_loss_kwargs
from sheeprl.utils.fabric import autocast_cache_scope
from sheeprl.utils.utils import dotdict
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from sheeprl_dnp.pictures import Artist, Picture, decoded

TAG = "Open loop/what happened, was foreseen, differs"
PICTURES = 10  # of a training
APART = 100  # gradient steps between two: a picture costs less than one of them
CONTEXT = 5  # moments that are seen, before the rest is foreseen (DreamerV3, arXiv 2301.04104, figure 4)
MOMENTS = 20  # at most
SEQUENCES = 2  # at most
GAP = 2  # pixels between pictures; three times as much where it begins to foresee


class OpenLoop:
    """Draws sequences of the replay buffer: below each what the world model believes in the first moments, which it
    sees, then foresees, knowing the actions alone, and below that the difference. No random number of a training on the
    CPU or CUDA is drawn. Sequences of one moment show nothing.

    Args:
        start_step: that the training begins with.
    """

    def __init__(self, fabric: Fabric, cfg: dotdict, artist: Artist, writer: SummaryWriter, start_step: int) -> None:
        self._fabric, self._cfg, self._artist, self._writer = fabric, cfg, artist, writer
        self._every = cfg.algo.total_steps / PICTURES
        self._due, self._gradient_steps = start_step + self._every, 0

    def after_gradient_step(self, world_model: WorldModel, batch: dict[str, Tensor], step: int) -> None:
        """
        Args:
            batch: that it learned from, `[T, B, ...]`.
            step: of the environments.
        """
        self._gradient_steps += 1
        if step >= self._due and self._gradient_steps >= APART and len(batch["actions"]) > 1:
            self._due, self._gradient_steps = step + self._every, 0
            self._writer.add_image(TAG, self.picture(world_model, batch), step, dataformats="HWC")

    def picture(self, world_model: WorldModel, batch: dict[str, Tensor]) -> Picture:
        """One column a moment, three rows a sequence: of the batch, those in which the fewest episodes begin."""
        chosen = batch["is_first"][1:MOMENTS].sum((0, 2)).argsort(stable=True)[:SEQUENCES]
        sequences = {key: value[:MOMENTS, chosen] for key, value in batch.items()}
        context = min(CONTEXT, len(sequences["actions"]) // 2)
        pixels = self._cfg.algo.cnn_keys.decoder
        with undisturbed(self._fabric.device), autocast_cache_scope(self._fabric):
            latents = foresee(world_model, self._cfg, sequences, context)
            foreseen = decoded(world_model, latents, pixels)
        happened = {key: (sequences[key].byte() if key in pixels else sequences[key]).cpu().numpy() for key in foreseen}
        rows = []
        for i in range(len(chosen)):
            truth, belief = (self._drawn({key: x[:, i] for key, x in part.items()}) for part in (happened, foreseen))
            rows += [film(x, context) for x in (truth, belief, np.abs(truth.astype(int) - belief).astype(np.uint8))]
        return np.concatenate(rows)

    def _drawn(self, moments: dict[str, np.ndarray]) -> np.ndarray:
        """Observations `[T, ...]` as pictures, `[T, height, width, 3]`."""
        count = len(next(iter(moments.values())))
        return np.stack([self._artist({key: x[t] for key, x in moments.items()}) for t in range(count)])


def film(pictures: np.ndarray, context: int) -> Picture:
    """Pictures `[T, height, width, 3]` side by side, with a wider gap after the first `context`."""
    gaps = [3 * GAP if t == context else GAP for t in range(1, len(pictures) + 1)]
    padded = (
        np.pad(picture, ((0, GAP), (0, gap), (0, 0)), constant_values=255)
        for picture, gap in zip(pictures, gaps, strict=True)
    )
    return np.concatenate([*padded], 1)


def foresee(world_model: WorldModel, cfg: dotdict, sequences: dict[str, Tensor], context: int) -> Tensor:
    """The latent states of sequences of which the first moments are seen.

    Args:
        sequences: observations, actions and what else a batch has, `[T, B, ...]`.
        context: how many moments are seen.

    Returns:
        `[T, B, L]`: posteriors, then what is imagined, knowing the actions alone.
    """
    seen = {key: value[:context] for key, value in sequences.items()}
    kwargs = world_model_loss_kwargs(cfg)
    _, posteriors, recurrent_states, _ = world_model_loss(world_model, seen, **kwargs, entropies=False)
    seen_latents = torch.cat((posteriors.flatten(-2), recurrent_states), -1)
    actions = sequences["actions"][context - 1 : -1].split(1)
    imagined = follow(world_model.rssm, posteriors[-1:].flatten(-2), recurrent_states[-1:], actions)
    return torch.cat((seen_latents, imagined))


def follow(rssm: RSSM, stochastic: Tensor, recurrent: Tensor, actions: Iterable[Tensor]) -> Tensor:
    """What is imagined where the actions are known.

    Args:
        stochastic: `[1, B, S]`, where it begins, as is `recurrent`, `[1, B, R]`.
        actions: `[1, B, A]` each.

    Returns:
        The latent states after each action, `[T, B, L]`.
    """
    latents = []
    for action in actions:
        stochastic, recurrent = rssm.imagination(stochastic, recurrent, action)
        stochastic = stochastic.flatten(-2)
        latents.append(torch.cat((stochastic, recurrent), -1))
    return torch.cat(latents)


@contextmanager
def undisturbed(device: torch.device) -> Iterator[None]:
    """What is drawn comes from forked generators: the agent goes on as if nobody had asked it."""
    with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield
