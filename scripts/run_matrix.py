"""Trains every run of an experiment matrix and tabulates the results.

    python scripts/run_matrix.py --matrix configs/matrices/stage1.py --out runs/stage1

The same command goes on with what is missing. It leaves matrix.csv, summary.csv, summary.md and
matrix.png in --out, and exits with 0 only if every run is finished.
"""

import sys

from absl import flags

from drifting import cli, matrix

MATRIX = flags.DEFINE_string("matrix", None, "File with get_matrix() (configs/matrices)")
OUT = flags.DEFINE_string("out", None, "Folder of the matrix; each run is a folder in it")
JOBS = flags.DEFINE_integer(
    "jobs", None, "Runs at a time: one a visible GPU, or one on CPUs, if not given", lower_bound=1
)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Only say what would be done")


def main(_):
    if DRY_RUN.value:
        matrix.describe(MATRIX.value, OUT.value, JOBS.value)
    else:
        sys.exit(matrix.run(MATRIX.value, OUT.value, JOBS.value))


if __name__ == "__main__":
    flags.mark_flags_as_required(["matrix", "out"])
    cli.run(main)
