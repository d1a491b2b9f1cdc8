"""Batches for PyTorch: an endless stream of shuffled epochs of images that lie on the device."""

import functools
from collections.abc import Iterator

import numpy as np
import torch
from torch.nn import functional as F

from drifting.core.facts import DataFacts
from input_pipeline.image_set import ImageSet


class Stream:
    """The batches of training images, in an order that depends only on the seed.

    Position p of the stream is in epoch p // N, and each epoch is a permutation of all N images:
    none is dropped at its end, and a run resumed at step k continues the same stream.
    """

    def __init__(self, data: ImageSet, batch_size: int, seed: int, device: torch.device):
        self.images, self.labels = to_device(data, device)
        self.batch_size, self.seed = batch_size, seed

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """uint8 images [B, H, W, C] and int64 labels [B] of a step, counted from 0."""
        rows = torch.from_numpy(self.rows(step)).to(self.images.device)
        return self.images[rows], self.labels[rows]

    def rows(self, step: int) -> np.ndarray:
        """Which images these are, int64 [B]."""
        epoch, place = divmod(step * self.batch_size, len(self.images))
        parts, lacking = [], self.batch_size
        while lacking:
            parts.append(self._order(epoch)[place : place + lacking])
            lacking -= len(parts[-1])
            epoch, place = epoch + 1, 0
        return np.concatenate(parts)

    @functools.lru_cache(2)  # noqa: B019 (a run has one stream)
    def _order(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(len(self.images))


def in_order(
    data: tuple[torch.Tensor, torch.Tensor], batch_size: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """All images and labels once, in batches of which the last may be smaller."""
    yield from zip(*(values.split(batch_size) for values in data), strict=True)


def to_device(data: ImageSet, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """uint8 images [N, H, W, C] and int64 labels [N]."""
    images = torch.from_numpy(np.array(data.images)).to(device)
    return images, torch.from_numpy(data.labels.astype(np.int64)).to(device)


def augmented(images: torch.Tensor, padding: int, flip: bool) -> torch.Tensor:
    """uint8 images [B, H, W, C], padded with black, randomly cropped and mirrored."""
    count, height, width, _ = images.shape
    where = images.device
    if padding:
        images = F.pad(images, (0, 0, *[padding] * 4))  # with zeros
        top, left = torch.randint(2 * padding + 1, (2, count, 1), device=where)
        rows = top + torch.arange(height, device=where)  # [B, H]
        columns = left + torch.arange(width, device=where)  # [B, W]
        each = torch.arange(count, device=where)[:, None, None]
        images = images[each, rows[:, :, None], columns[:, None, :]]
    if flip:
        mirrored = torch.rand(count, 1, 1, 1, device=where) < 0.5
        images = torch.where(mirrored, images.flip(2), images)
    return images


def standardised(images: torch.Tensor, facts: DataFacts) -> torch.Tensor:
    """uint8 images [B, H, W, C] as a network sees them: float32 [B, C, H, W].

    Their channels have mean 0 and deviation 1 over the training set.
    """
    mean, std = (torch.tensor(v, device=images.device) for v in (facts.mean, facts.std))
    values = (images.float() / 127.5 - 1.0 - mean) / std
    return values.permute(0, 3, 1, 2).contiguous()
