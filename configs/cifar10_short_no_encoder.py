"""`--config configs/cifar10_short_no_encoder.py`: the same as cifar10.py:short_no_encoder."""

from configs import cifar10


def get_config():
    return cifar10.get_config("short_no_encoder")
