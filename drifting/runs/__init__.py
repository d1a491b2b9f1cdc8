"""Runs: a config becomes parts, parts become a workdir, and each verb of the command line a story.

build      from a config to the parts of a run
frozen     the networks that a step uses and does not train
workdir    the folder of a run: claimed, recorded, opened
train, evaluate, sample    one readable story each
"""
