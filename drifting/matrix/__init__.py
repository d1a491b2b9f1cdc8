"""Experiment matrices: every combination of data set, model, precision and seed as a run.

Each run is a process of its own. Nothing here imports JAX, whose first computation would
take memory of the GPUs that the runs need.

    plan        from a matrix file to its runs
    folder      one matrix at a time in a folder, and the same settings throughout
    workdirs    what is left to do of a run, and its result
    processes   a run as a process, on a GPU of its own
    session     works off the runs
    tables      CSV, Markdown and a picture of all results
"""

from drifting.matrix.plan import MatrixError, MatrixRun, read_matrix
from drifting.matrix.session import describe, run

__all__ = ["MatrixError", "MatrixRun", "describe", "read_matrix", "run"]
