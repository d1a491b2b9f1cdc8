"""Carries out all runs of a suite (configs/suites) and tabulates the results.

    python scripts/run_suite.py configs/suites/stage1.py --out runs/stage1
    python scripts/run_suite.py configs/suites/ldf.py --nano --out runs/ldf_nano

After an interruption the same command continues: finished runs are skipped, others are resumed.
Tables and a picture are written to --out. The exit code is 0 only if all runs are finished.
"""

import sys

from absl import flags

from drifting import cli, suites

OUT = flags.DEFINE_string("out", None, "Folder of the suite; each run is a folder in it")
NANO = flags.DEFINE_bool("nano", False, "Use the suite's small budget, for two CPU cores")
ENCODER = flags.DEFINE_string(
    "encoder", None, "Workdir of a trained encoder; if not given, the suite trains its own"
)
JOBS = flags.DEFINE_integer(
    "jobs", None, "Concurrent runs; by default one per visible GPU, or one on CPUs", lower_bound=1
)
FEATURES = flags.DEFINE_enum(
    "features", None, ["inception", "pixels"], "Features of the scores; default: the configs'"
)
REMOVE_CHECKPOINTS = flags.DEFINE_bool(
    "remove_checkpoints",
    False,
    "Remove the checkpoints of each run once all its scores are recorded",
)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Only print what would be done")


def main(argv):
    if len(argv) != 2:
        raise flags.ValidationError("name one suite file, such as configs/suites/stage1.py")
    code = suites.run(
        argv[1],
        OUT.value,
        NANO.value,
        ENCODER.value,
        JOBS.value,
        dry_run=DRY_RUN.value,
        features=FEATURES.value,
        remove_checkpoints=REMOVE_CHECKPOINTS.value,
    )
    sys.exit(code)


if __name__ == "__main__":
    flags.mark_flag_as_required("out")
    cli.run(main, takes_words=True)
