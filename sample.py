"""Samples from a run: python sample.py --workdir runs/digits --num 64 --out samples.png."""

from absl import flags

import drifting
from drifting import cli

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run", required=True)
NUM = flags.DEFINE_integer("num", 64, "How many images", lower_bound=1)
OUT = flags.DEFINE_string(
    "out", None, "X.png: a grid, or a scatter plot of points; X.npz: arrays images (or points) and "
    "labels; else a folder of PNGs (or points.npz). <workdir>/samples.png if not given"
)  # fmt: skip
LABELS = flags.DEFINE_list("labels", None, "Classes in turn, as 0,3,7; all, balanced, if not given")
CFG_SCALE = flags.DEFINE_float("cfg_scale", None, "Guidance; the config's if not given")
SAMPLER = flags.DEFINE_string(
    "sampler", None, "meanflow, euler, heun or rk4, of a flow; the config's if not given"
)
SAMPLING_STEPS = flags.DEFINE_integer("sampling_steps", None, "Of the sampler", lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "Images a batch; the config's if not given")
SEED = flags.DEFINE_integer("seed", 42, "Seed of the samples")
NOEMA = flags.DEFINE_bool("noema", False, "Raw weights instead of their average")


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
