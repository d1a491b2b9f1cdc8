"""Loop, sharding, checkpoints and metric writers; knows no method by name."""
