"""One file an experiment; each says only how it differs from configs/base.py."""
