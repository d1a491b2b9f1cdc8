"""Trains and scores every run of an ablation at one budget and tabulates the results.

    python scripts/run_ablation.py configs/ablations/ldf.py --out runs/ablation_ldf
    python scripts/run_ablation.py configs/ablations/ldf.py --nano --out runs/ablation_nano

The same command goes on with what is missing. It leaves ablation.csv, ablation.md and ablation.png
in --out, and exits with 0 only if every run is finished.
"""

import sys

from absl import flags

from drifting import ablation, cli

OUT = flags.DEFINE_string("out", None, "Folder of the ablation; each run is a folder in it")
NANO = flags.DEFINE_bool("nano", False, "With the suite's budget for two CPU cores")
ENCODER = flags.DEFINE_string(
    "encoder", None, "Workdir of a trained encoder; the suite's is trained if not given"
)
JOBS = flags.DEFINE_integer(
    "jobs", None, "Runs at a time: one a visible GPU, or one on CPUs, if not given", lower_bound=1
)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Only say what would be done")


def main(argv):
    if len(argv) != 2:
        raise flags.ValidationError("name one suite file, such as configs/ablations/ldf.py")
    given = (argv[1], OUT.value, NANO.value, ENCODER.value, JOBS.value)
    if DRY_RUN.value:
        ablation.describe(*given)
    else:
        sys.exit(ablation.run(*given))


if __name__ == "__main__":
    flags.mark_flag_as_required("out")
    cli.run(main)
