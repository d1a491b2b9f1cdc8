"""Scores the checkpoints of a run: python evaluate.py --workdir runs/digits --checkpoints all."""

from absl import flags

from drifting import cli

WORKDIR = flags.DEFINE_string("workdir", None, "Folder of the run", required=True)
CHECKPOINTS = flags.DEFINE_string("checkpoints", "last", "last, all, or steps: 500,1000")
NUM_SAMPLES = flags.DEFINE_integer("num_samples", None, "Samples; the config's if not given")
BATCH_SIZE = flags.DEFINE_integer("batch_size", None, "Images a batch; the config's if not given")
CFG_SCALE = flags.DEFINE_list("cfg_scale", None, "Guidance scales; the config's if not given")
SEED = flags.DEFINE_integer("seed", None, "Seed of the samples; the config's if not given")
SPLIT = flags.DEFINE_string("split", None, "Real images compared with; the config's if not given")
FEATURES = flags.DEFINE_string("features", None, "Feature function; the config's if not given")
NOEMA = flags.DEFINE_bool("noema", False, "Raw weights instead of their average")
SKIP_EXISTING = flags.DEFINE_bool("skip_existing", False, "Leave out what the CSV holds already")


def main(_):
    from drifting import experiment
    from drifting.training import backend

    backend.configure()
    experiment.evaluate(
        WORKDIR.value,
        CHECKPOINTS.value,
        SKIP_EXISTING.value,
        split=SPLIT.value,
        ema=not NOEMA.value,
        cfg_scales=cli.numbers("cfg_scale", CFG_SCALE.value, float),
        num_samples=NUM_SAMPLES.value,
        batch_size=BATCH_SIZE.value,
        seed=SEED.value,
        features=FEATURES.value,
    )


if __name__ == "__main__":
    cli.run(main)
