"""Runs: from a config to its parts, from parts to a workdir, and one module per command.

    build      builds the parts of a run from its config
    frozen     loads the networks that a step uses but does not train
    sampled    what scoring and sampling need of a run
    workdir    the folder of a run: claimed, recorded, opened
    listing, points, removal   what scripts/runs.py shows and removes
    train, evaluate, sample, encode    the command of that name, from beginning to end

The entry points and `drifting.train`, ... call these.
"""
