"""Scores the checkpoints of a run, or one folder or npz file of images against another.

python evaluate.py --workdir runs/digits --checkpoints all
python evaluate.py --real photos --fake generated
"""

from drifting.core import interrupts

if __name__ == "__main__":
    interrupts.listen()  # before the imports that take time

import json

from absl import flags

import drifting
from drifting import cli

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run")
REAL = flags.DEFINE_string("real", None, "Real images, with --fake, not --workdir: a folder or npz")
FAKE = flags.DEFINE_string("fake", None, "Images to score, with --real: a folder or npz file")
CHECKPOINTS = flags.DEFINE_string("checkpoints", "last", "last, all, best, or steps: 500,1000")
NUM_SAMPLES = flags.DEFINE_integer("num_samples", None, "Number of samples; default: the config's")
BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "Images per batch; default: the config's")
CFG_SCALE = flags.DEFINE_list("cfg_scale", None, "Guidance scales; default: the config's")
SAMPLER = flags.DEFINE_string(
    "sampler", None, "Sampler of a flow: meanflow, euler, heun or rk4; default: the config's"
)
SAMPLING_STEPS = flags.DEFINE_integer("sampling_steps", None, "Steps of the sampler", lower_bound=1)
SEED = flags.DEFINE_list("seed", None, "Seeds of the samples; default: the config's")
SPLIT = flags.DEFINE_string("split", None, "Split of the real images; default: the config's")
FEATURES = flags.DEFINE_string(
    "features", None, "inception, pixels or encoder:<workdir>; default: the config's"
)
FID_MODE = flags.DEFINE_string(
    "fid_mode", None, "clean, legacy_tensorflow or legacy_pytorch; default: the config's"
)
METRICS = flags.DEFINE_list(
    "metrics", None, "Names from docs/evaluation.md: fid,kid,...; default: the config's"
)
STATISTICS = flags.DEFINE_string(
    "statistics", None, "npz with mu and sigma (pytorch-fid, clean-fid) instead of real images"
)
NOEMA = flags.DEFINE_bool("noema", False, "Raw weights instead of their average")
SKIP_EXISTING = flags.DEFINE_bool("skip_existing", False, "Skip scores that are recorded already")
WATCH = flags.DEFINE_bool("watch", False, "Continue with new checkpoints of a running job")
SAVE_SAMPLES = flags.DEFINE_bool("save_samples", False, "Keep all samples as PNG files")
CLEANUP_SAMPLES = flags.DEFINE_bool(
    "cleanup_samples", False, "Keep only the scores: no preview, no metadata, no samples"
)
OF_RUNS = (
    CHECKPOINTS, NUM_SAMPLES, CFG_SCALE, SAMPLER, SAMPLING_STEPS, SPLIT, NOEMA, SKIP_EXISTING,
    WATCH, SAVE_SAMPLES, CLEANUP_SAMPLES,
)  # fmt: skip


def main(_):
    if bool(WORKDIR.value) == bool(REAL.value) or bool(REAL.value) != bool(FAKE.value):
        raise flags.ValidationError("give either --workdir, or --real and --fake")
    if REAL.value and any(flag.present for flag in OF_RUNS):
        given = ", ".join(f"--{flag.name}" for flag in OF_RUNS if flag.present)
        raise flags.ValidationError(f"{given}: of --workdir only, not of --real and --fake")
    from drifting.training import backend

    backend.configure()
    common = dict(
        batch_size=BATCH_SIZE.value,
        features=FEATURES.value,
        fid_mode=FID_MODE.value,
        metrics=METRICS.value,
        statistics=STATISTICS.value,
    )
    seeds = cli.numbers("seed", SEED.value, int)
    if REAL.value:
        if seeds and len(seeds) > 1:
            raise flags.ValidationError("--seed: give one seed with --real and --fake")
        row = drifting.compare(REAL.value, FAKE.value, seed=seeds and seeds[0], **common)
        print(json.dumps(row))
        return
    drifting.evaluate(
        WORKDIR.value,
        CHECKPOINTS.value,
        skip_existing=SKIP_EXISTING.value,
        watch=WATCH.value,
        split=SPLIT.value,
        cfg_scales=cli.numbers("cfg_scale", CFG_SCALE.value, float),
        seeds=seeds,
        sampler=SAMPLER.value,
        sampling_steps=SAMPLING_STEPS.value,
        num_samples=NUM_SAMPLES.value,
        ema=not NOEMA.value,
        save_samples=SAVE_SAMPLES.value,
        cleanup_samples=CLEANUP_SAMPLES.value,
        **common,
    )


if __name__ == "__main__":
    cli.run(main)
