"""Experiment matrices: every combination of data set, model, precision and seed as a run.

Each run is a process of its own. Nothing here computes with JAX, whose first computation would
take memory of the GPUs that the runs need.

    plan        from a matrix file to its runs
    suite       the runs as jobs in a folder
    workdirs    the result of a run
    tables      CSV, Markdown and a picture of all results

What drifting/ablation works with as well:

    definition  a Python file that says what is to run
    folder      one session at a time in a folder, and the same settings throughout
    jobs        the commands that are left of a run
    processes   a job as processes, on a GPU of its own
    session     works off jobs
    outcomes    how runs ended, and tables of it
"""

from drifting.matrix.definition import PlanError
from drifting.matrix.plan import MatrixRun, read_matrix
from drifting.matrix.suite import describe, run

__all__ = ["MatrixRun", "PlanError", "describe", "read_matrix", "run"]
