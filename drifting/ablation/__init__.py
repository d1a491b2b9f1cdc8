"""Ablations: a few runs that differ in one thing each, trained and scored alike by one command.

The runs are worked off as those of drifting/matrix, which see; nothing here computes with JAX.

    plan        from a suite file to its runs, each with its resolved config
    suite       the runs as jobs in a folder: the encoder, then training and scoring of each run
    workdirs    what the folder of a run says: its scores, its speed
    tables      CSV, Markdown and a picture of all results
"""

from drifting.ablation.plan import Ablation, AblationRun, read_ablation
from drifting.ablation.suite import describe, run

__all__ = ["Ablation", "AblationRun", "describe", "read_ablation", "run"]
