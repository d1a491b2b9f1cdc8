"""Samples from a run, or a folder of images translated by it.

python sample.py --workdir runs/digits --num 64 --out samples.png
python sample.py --workdir runs/cut_monet --translate photos --out paintings
"""

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
    "<workdir>/samples.png. With --translate: a folder"
)  # fmt: skip
LABELS = flags.DEFINE_list("labels", None, "Classes in turn, e.g. 0,3,7. Default: all, balanced")
CFG_SCALE = flags.DEFINE_float("cfg_scale", None, "Guidance scale. Default: the config's")
SAMPLER = flags.DEFINE_string(
    "sampler", None, "For flows: meanflow, euler, heun or rk4. Default: the config's"
)
SAMPLING_STEPS = flags.DEFINE_integer("sampling_steps", None, "Steps of the sampler", lower_bound=1)
BATCH_SIZE = flags.DEFINE_integer(
    "batch_size", None, "Images per batch. Default: the config's; with --translate as many as "
    "have the pixels of a training batch", lower_bound=1
)  # fmt: skip
SEED = flags.DEFINE_integer("seed", 42, "Random seed")
NOEMA = flags.DEFINE_bool("noema", False, "Use the raw weights instead of their average")
TRANSLATE = flags.DEFINE_string(
    "translate", None, "A folder of images, whose translations are written to the folder --out"
)
LIMIT = flags.DEFINE_integer("limit", None, "Translate only the first images", lower_bound=1)
FORMAT = flags.DEFINE_enum("format", "png", ["png", "jpg"], "Of the translations")
MAX_SIDE = flags.DEFINE_integer(
    "max_side", None, "Scale images down to this many pixels on their longer side", lower_bound=1
)
CHECKPOINT = flags.DEFINE_string(
    "checkpoint", "last", "By which --translate translates: last, best, or a step"
)
OF_SAMPLES = (NUM, LABELS, CFG_SCALE, SAMPLER, SAMPLING_STEPS, SEED)
OF_TRANSLATIONS = (LIMIT, FORMAT, MAX_SIDE, CHECKPOINT)


def main(_):
    unfit = OF_SAMPLES if TRANSLATE.value else OF_TRANSLATIONS
    given = ", ".join(f"--{flag.name}" for flag in unfit if flag.present)
    if given:
        what = "of samples only, not of" if TRANSLATE.value else "only with"
        raise flags.ValidationError(f"{given}: {what} --translate")
    if TRANSLATE.value and not OUT.value:
        raise flags.ValidationError("--translate needs --out, a folder for the translations")
    from drifting.training import backend

    backend.configure(large_maps=bool(TRANSLATE.value))
    if TRANSLATE.value:
        drifting.translate(
            WORKDIR.value,
            TRANSLATE.value,
            OUT.value,
            limit=LIMIT.value,
            format=FORMAT.value,
            batch_size=BATCH_SIZE.value,
            max_side=MAX_SIDE.value,
            checkpoint=CHECKPOINT.value,
            ema=not NOEMA.value,
        )
        return
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
