"""The path from data to noise, the MeanFlow objective and ODE solvers: pure functions of arrays."""

from drifting.flows import objective, paths, solvers

__all__ = ["objective", "paths", "solvers"]
