"""Suites: many runs, carried out by one command and compared in one table.

A suite file (configs/suites) lists the runs. Each is trained, and scored if the table needs it, in
a process of its own. Nothing here computes with JAX, whose first computation would allocate memory
on the GPUs that the runs need.

    suite       the building blocks of a suite file: Suite, RunSpec, matrix
    plan        turns a suite file and a folder into a plan
    runner      carries out a plan, or prints it
    processes   GPUs, and a run as processes on one of them
    folder      the folder of a suite: one session at a time, the same settings throughout
    tables      the base class of tables; accuracy.py and scores.py are the two kinds
"""

from drifting.suites.plan import read_plan
from drifting.suites.runner import run
from drifting.suites.suite import RunSpec, Suite, SuiteError, matrix

__all__ = ["RunSpec", "Suite", "SuiteError", "matrix", "read_plan", "run"]
