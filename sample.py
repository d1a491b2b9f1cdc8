"""Samples from a run: python sample.py --workdir runs/digits --num 64 --out samples.png."""

from drifting.core import interrupts

if __name__ == "__main__":
    interrupts.listen()  # before the imports that take time

from absl import flags

import drifting
from drifting import cli

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run", required=True)
NUM = flags.DEFINE_integer("num", 64, "Number of samples", lower_bound=1)
OUT = flags.DEFINE_string(
    "out", None, "X.png, X.jpg or X.webp: a grid, or a scatter plot of points; X.npz: arrays "
    "images (or points) and labels; else a folder of PNGs (or points.npz). Default: "
    "<workdir>/samples.png"
)  # fmt: skip
LABELS = flags.DEFINE_list("labels", None, "Classes in turn, e.g. 0,3,7. Default: all, balanced")
CFG_SCALE = flags.DEFINE_float("cfg_scale", None, "Guidance scale. Default: the config's")
SAMPLER = flags.DEFINE_string(
    "sampler", None, "For flows: meanflow, euler, heun or rk4. Default: the config's"
)
SAMPLING_STEPS = flags.DEFINE_integer("sampling_steps", None, "Steps of the sampler", lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", None, "Images per batch. Default: the config's", lower_bound=1
)
SEED = flags.DEFINE_integer("seed", 42, "Random seed")
NOEMA = flags.DEFINE_bool("noema", False, "Use the raw weights instead of their average")


def main(_):
    from drifting.training import backend

    backend.configure()
    drifting.sample(
        WORKDIR.value,
        NUM.value,
        OUT.value,
        labels=cli.numbers("labels", LABELS.value, int),
        cfg_scale=CFG_SCALE.value,
        sampler=SAMPLER.value,
        sampling_steps=SAMPLING_STEPS.value,
        batch_size=BATCH_SIZE.value,
        seed=SEED.value,
        ema=not NOEMA.value,
    )


if __name__ == "__main__":
    cli.run(main)
