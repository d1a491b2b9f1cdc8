"""Sampling many images, with exact class frequencies and one compiled program."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial
from tqdm import tqdm

from drifting.core.errors import UserError
from drifting.evaluation import extraction
from drifting.evaluation.features import FeatureBatch
from input_pipeline.space import Space
from input_pipeline.splits import apportion


class NonFiniteSamples(UserError):
    """The generator made samples with NaN or infinite values."""


def class_balanced_labels(num: int, class_counts: Sequence[int]) -> np.ndarray:
    """`num` labels in the proportions of `class_counts`, int32 [num]; no randomness.

    The counts are exact (`splits.apportion`). Classes are spread evenly over the order, so any
    first part of the labels is nearly in proportion as well.

    Raises ValueError for a negative num, negative counts, or no images at all.
    """
    shares = apportion(num, class_counts)
    labels = np.repeat(np.arange(len(shares), dtype=np.int32), shares)
    # The i-th of n images of a class is at position (i + 1/2) / n.
    place = np.concatenate([(np.arange(share) + 0.5) / max(share, 1) for share in shares])
    return labels[np.argsort(place, kind="stable")]


class Generated(NamedTuple):
    """One batch of samples, on the device.

    Attributes:
      images: uint8 [B, H, W, C], or points float32 [B, D].
      features: of the images, or None without a feature function.
    """

    images: jax.Array
    features: FeatureBatch | None


class SampleProgram:
    """A sampler that is compiled once and runs on the states of all checkpoints.

    Generation, decoding of latents, rounding to 8 bits and feature extraction are one program:
    samples stay on the device.

    Args:
      generate: (state, key, labels int32 [B]) -> float samples [B, ...] as models see them,
        jittable. With `of_images` it takes stored images [B, ...] instead of labels.
      space: of the samples; defines how they are decoded and stored.
      sharding: of the batch over devices; None for one device.
      frozen: parameters of networks that are not trained, by name: those of a decoder.
      of_images: whether the samples are reconstructions or translations of images.

    Attributes:
      shown: the space of the stored samples.
      of_images: the argument.
    """

    def __init__(
        self,
        generate: Callable[[Any, jax.Array, jax.Array], jax.Array],
        space: Space,
        sharding: jax.sharding.NamedSharding | None = None,
        frozen: Mapping[str, Any] | None = None,
        of_images: bool = False,
    ):
        self.shown, self.of_images = space.shown, of_images

        def run(state, key, batch, inputs, apply, frozen):
            samples = generate(state, jax.random.fold_in(key, batch), inputs)
            images = space.to_picture(samples, frozen)
            # A decoder may turn latents that are not finite into images that are.
            bad = ~(_finite(samples) & _finite(images))
            stored = space.shown.to_stored(images)
            features = None if apply is None else apply(stored)
            return Generated(stored, features), bad

        self._run = jax.jit(run)
        self._sharding, self._frozen = sharding, dict(frozen or {})

    def batches(
        self,
        state: Any,
        key: jax.Array,
        inputs: np.ndarray,
        batch_size: int,
        apply: Partial | None = None,
    ) -> Iterator[Generated]:
        """Yields batches of batch_size; the last one has the rows that are left.

        Batch b draws from fold_in(key, b). The last batch is padded before it is generated, so
        there is one program for each batch size. The device works on batch b + 1 while the caller
        handles batch b.

        Args:
          inputs: labels [N], or images [N, ...] for a program `of_images`.
          apply: of the FeatureFunction whose features are extracted; None for no features.

        Raises:
          NonFiniteSamples: at the first batch with NaN or infinity.
          ValueError: a batch size below one.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        others = state, apply, self._frozen
        if self._sharding is not None:  # once, not at every batch
            others = jax.device_put(others, extraction.replicated(self._sharding))
        state, apply, frozen = others
        waiting = None
        inputs = np.asarray(inputs, None if self.of_images else np.int32)
        for batch, start in enumerate(range(0, len(inputs), batch_size)):
            part = inputs[start : start + batch_size]
            missing = [(0, batch_size - len(part)), *[(0, 0)] * (part.ndim - 1)]
            padded = np.pad(part, missing, mode="edge")
            padded = jax.device_put(padded, self._sharding)
            found = self._run(state, key, np.uint32(batch), padded, apply, frozen)
            dispatched = (*found, start, len(part))
            if waiting is not None:
                yield _checked(*waiting)
            waiting = dispatched
        if waiting is not None:
            yield _checked(*waiting)


def _finite(values: jax.Array) -> jax.Array:
    """Whether all values of each row of [B, ...] are finite, bool [B]."""
    return jnp.isfinite(values).all(axis=tuple(range(1, values.ndim)))


def _checked(generated: Generated, bad: jax.Array, start: int, count: int) -> Generated:
    """The first `count` samples; raises NonFiniteSamples if one of them is `bad`, bool [B]."""
    num_bad = int(np.asarray(bad)[:count].sum())
    if num_bad:
        raise NonFiniteSamples(
            f"{num_bad} of {count} samples have NaN or infinite values "
            f"(samples {start} to {start + count - 1}): "
            "this checkpoint has diverged; choose an earlier one"
        )
    if count == len(bad):
        return generated
    return extraction.first_rows(generated, count)


def generate_images(
    program: SampleProgram,
    state: Any,
    labels: np.ndarray,
    key: jax.Array,
    batch_size: int,
    progress: bool = True,
) -> np.ndarray:
    """One image (uint8 [N, H, W, C]) or point (float32 [N, D]) per label, on the host.

    Raises NonFiniteSamples for NaN or infinite values, ValueError for no labels. `progress` shows
    images/s and the time left.
    """
    if len(labels) == 0:
        raise ValueError("no labels, so no images to generate: ask for at least one sample")
    images = None
    done = 0
    with tqdm(total=len(labels), unit="image", desc="generate", disable=not progress) as bar:
        for batch, _ in program.batches(state, key, labels, batch_size):
            if images is None:
                images = np.empty((len(labels), *batch.shape[1:]), batch.dtype)
            images[done : done + len(batch)] = np.asarray(batch)
            done += len(batch)
            bar.update(len(batch))
    return images
