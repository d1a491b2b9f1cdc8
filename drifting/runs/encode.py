"""Encoding a source of images once, so that other runs train in the latents of an autoencoder."""

import logging
import pathlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from drifting.core import config as config_lib
from drifting.core.errors import ConfigError
from drifting.core.networks import Codec
from drifting.runs import folder, frozen
from input_pipeline import latent_sets, sources
from input_pipeline.image_set import ImageSet
from input_pipeline.latent_sets import OPTIONS, LatentSet, LatentSplit
from input_pipeline.streaming import Stream

log = logging.getLogger(__name__)


def encode(
    workdir: str | pathlib.Path,
    out: str | pathlib.Path,
    *,
    source: str | None = None,
    splits: Sequence[str] = ("train", "test"),
    flip: bool = False,
    batch_size: int = 256,
    shard_rows: int = 4096,
) -> LatentSet:
    """Writes the moments of all images of a source to a folder, for `latents:<folder>`.

    Memory holds one batch of them and, of a source that cannot be streamed, all its images as
    uint8. After an interruption the same call writes the shards that are missing, with the bytes
    that they would have had on the same device (of a GPU, with deterministic programs, see
    `backend.configure`).

    Args:
      workdir: of the autoencoder; its best checkpoint is used.
      source: of images, which are brought to the shape of the autoencoder's; those that it was
        trained on if None.
      splits: the first one's statistics standardise the latents of all.
      flip: whether to encode the mirror image of each image, too.
      batch_size: images per call of the encoder.
      shard_rows: images per file.

    Raises:
      UserError: the autoencoder or the images cannot be used, or the folder holds other latents.
    """
    if not splits:
        raise ConfigError("--splits names no split; name one or more, such as train,test")
    config, _ = config_lib.read(pathlib.Path(workdir).expanduser() / "config.json")
    codec = frozen.load_autoencoder(str(workdir))
    out = pathlib.Path(out).expanduser()
    with folder.owned(out, "is encoding to", "--out"):
        source = source or config.data.source
        options = {key: config.data[key] for key in OPTIONS}
        data = {split: _open(source, split, options, codec) for split in splits}
        latent_set = LatentSet(
            autoencoder=str(workdir),
            autoencoder_identity=codec.identity,
            source=source,
            **options,
            latent_shape=codec.latent_shape,
            mirrored=flip,
            batch_size=batch_size,
            shard_rows=shard_rows,
            splits={
                name: LatentSplit(len(found), found.fingerprint, found.class_names)
                for name, found in data.items()
            },
        )
        _write(out, latent_set, codec, data)
        return latent_sets.finish(out, latent_set)


def _open(source: str, split: str, options: dict[str, Any], codec: Codec) -> ImageSet | Stream:
    """A split in the shape of the autoencoder's images."""
    found = sources.open_rows(source, split, **options)
    if found.space != codec.image_space:
        raise ConfigError(
            f"--source {source} holds {found.space.noun} {found.space.shape}, but {codec.name} "
            f"encodes {codec.image_space.noun} {codec.image_space.shape}; name another source or "
            "autoencoder"
        )
    return found


def _write(
    out: pathlib.Path, latent_set: LatentSet, codec: Codec, data: dict[str, ImageSet | Stream]
) -> None:
    """Writes the shards that are missing, and logs how fast."""
    missing = latent_sets.claim(out, latent_set)
    total = sum(split.count for split in latent_set.splits.values())
    rows = [latent_set.rows(split)[number] for split, number in missing]
    left = sum(stop - first for first, stop in rows)
    program = _compiled(codec, latent_set) if left else None
    start = time.perf_counter()
    with tqdm(
        desc="encoding", total=total, initial=total - left, unit="img", mininterval=1.0
    ) as bar:

        def encoded(split: str, first: int, stop: int) -> Iterator[tuple[np.ndarray, int]]:
            """Batches start with the shard and are all full, so a shard's bytes are its own."""
            size = latent_set.batch_size
            for begin in range(first, stop, size):
                images, labels = data[split].rows(begin, min(begin + size, stop))
                images = np.resize(images, (size, *images.shape[1:]))
                moments = np.asarray(program(codec.parameters, images))
                yield from zip(moments[: len(labels)], labels.tolist(), strict=True)
                bar.update(len(labels))

        for split, number in missing:
            latent_sets.write_shard(out, latent_set, split, number, encoded)
    if left:
        rate = left / (time.perf_counter() - start)
        log.info("%s: %d of %d images encoded now, %.0f images/s", out, left, total, rate)
    else:
        log.info("%s: all %d images were encoded already", out, total)


def _compiled(codec: Codec, latent_set: LatentSet) -> jax.stages.Compiled:
    """(parameters, stored images [B, H, W, C]) -> moments, float32 [B, copies, h, w, 2c]."""
    space = codec.image_space

    def moments(parameters: Any, stored: jax.Array) -> jax.Array:
        images = space.to_model(stored)
        copies = [images, jnp.flip(images, axis=-2)] if latent_set.mirrored else [images]
        found = [codec.moments(parameters, copy) for copy in copies]
        return jnp.stack(found, axis=1).astype(jnp.float32)

    batch = jax.ShapeDtypeStruct((latent_set.batch_size, *space.shape), space.dtype)
    return jax.jit(moments).lower(codec.parameters, batch).compile()
