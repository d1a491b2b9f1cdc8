"""Suites: many runs, worked off by one command and compared in one table.

A suite file (configs/suites) says which runs there are; each is trained, and where the table asks
for it scored, in a process of its own. Nothing here computes with JAX, whose first computation
would take memory of the GPUs that the runs need.

    suite       what a suite file is written in: Suite, RunSpec, matrix
    plan        from a suite file to what is to be done in a folder
    runner      works off a plan, or says what that would be
    processes   GPUs, and a run as processes on one of them
    folder      one session at a time in a folder, and the same settings throughout
    tables      what all tables share; accuracy.py and scores.py are the two kinds
"""

from drifting.suites.plan import read_plan
from drifting.suites.runner import run
from drifting.suites.suite import RunSpec, Suite, SuiteError, matrix

__all__ = ["RunSpec", "Suite", "SuiteError", "matrix", "read_plan", "run"]
