"""The training loop, sharding, checkpoints and metric writers, for any method."""
