"""Encodes images with a trained autoencoder, so that other runs train in its latents.

    python scripts/encode_latents.py --workdir runs/vae --out data/latents
    python train.py --config ... --config.data.source=latents:data/latents --workdir ...

After an interruption the same command goes on where it stopped.
"""

from drifting.core import interrupts

if __name__ == "__main__":
    interrupts.listen()  # before the imports that take time

from absl import flags

from drifting import cli

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the autoencoder's run", required=True)
OUT = flags.DEFINE_string("out", None, "Folder to write", required=True)
SOURCE = flags.DEFINE_string(
    "source", None, "Images to encode, as in config.data.source. Default: the autoencoder's"
)
SPLITS = flags.DEFINE_list(
    "splits", "train,test", "Splits; the statistics of the first standardise the latents of all"
)
FLIP = flags.DEFINE_bool("flip", False, "Encode mirror images, too, as config.data.flip needs")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 256, "Images per batch", lower_bound=1)
SHARD_ROWS = flags.DEFINE_integer("shard_rows", 4096, "Images per file", lower_bound=1)


def main(_):
    from drifting.runs import encode
    from drifting.training import backend

    backend.configure(deterministic=True)  # else a GPU may round shards of two runs differently
    encode.encode(
        WORKDIR.value,
        OUT.value,
        source=SOURCE.value,
        splits=SPLITS.value,
        flip=FLIP.value,
        batch_size=BATCH_SIZE.value,
        shard_rows=SHARD_ROWS.value,
    )


if __name__ == "__main__":
    cli.run(main)
