"""Scores the checkpoints of a run, or one folder of images against another.

python evaluate.py --workdir runs/digits --checkpoints all
python evaluate.py --real photos --fake generated
"""

import json

from absl import flags

import drifting
from drifting import cli

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run")
REAL = flags.DEFINE_string("real", None, "Folder of real images, with --fake instead of --workdir")
FAKE = flags.DEFINE_string("fake", None, "Folder of images to score, with --real")
CHECKPOINTS = flags.DEFINE_string("checkpoints", "last", "last, all, best, or steps: 500,1000")
NUM_SAMPLES = flags.DEFINE_integer("num_samples", None, "Samples; the config's if not given")
BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "Images a batch; the config's if not given")
CFG_SCALE = flags.DEFINE_list("cfg_scale", None, "Guidance scales; the config's if not given")
SAMPLER = flags.DEFINE_string(
    "sampler", None, "meanflow, euler, heun or rk4, of a flow; the config's if not given"
)
SAMPLING_STEPS = flags.DEFINE_integer("sampling_steps", None, "Of the sampler", lower_bound=1)
SEED = flags.DEFINE_list("seed", None, "Seeds of the samples; the config's if not given")
SPLIT = flags.DEFINE_string("split", None, "Real images compared with; the config's if not given")
FEATURES = flags.DEFINE_string(
    "features", None, "inception, pixels or encoder:<workdir>; the config's if not given"
)
FID_MODE = flags.DEFINE_string(
    "fid_mode", None, "clean, legacy_tensorflow or legacy_pytorch; the config's if not given"
)
METRICS = flags.DEFINE_list(
    "metrics", None, "fid,kid,... of those in docs/evaluation.md; the config's if not given"
)
STATISTICS = flags.DEFINE_string(
    "statistics", None, "npz with mu and sigma (pytorch-fid, clean-fid) instead of real images"
)
NOEMA = flags.DEFINE_bool("noema", False, "Raw weights instead of their average")
SKIP_EXISTING = flags.DEFINE_bool("skip_existing", False, "Leave out what the CSV holds already")
WATCH = flags.DEFINE_bool("watch", False, "Go on with new checkpoints of a running job")
SAVE_SAMPLES = flags.DEFINE_bool("save_samples", False, "Keep all samples as PNG files")
CLEANUP_SAMPLES = flags.DEFINE_bool("cleanup_samples", False, "Remove kept samples once scored")


def main(_):
    if bool(WORKDIR.value) == bool(REAL.value) or bool(REAL.value) != bool(FAKE.value):
        raise flags.ValidationError("give either --workdir, or --real and --fake")
    from drifting.training import backend

    backend.configure()
    common = dict(
        batch_size=BATCH_SIZE.value,
        features=FEATURES.value,
        fid_mode=FID_MODE.value,
        metrics=METRICS.value,
    )
    seeds = cli.numbers("seed", SEED.value, int)
    if REAL.value:
        seed = seeds[0] if seeds else None
        row = drifting.compare(REAL.value, FAKE.value, seed=seed, **common)
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
        statistics=STATISTICS.value,
        save_samples=SAVE_SAMPLES.value,
        cleanup_samples=CLEANUP_SAMPLES.value,
        **common,
    )


if __name__ == "__main__":
    cli.run(main)
