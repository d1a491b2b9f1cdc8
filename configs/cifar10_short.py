"""`--config configs/cifar10_short.py`: the same as cifar10.py:short."""

from configs import cifar10


def get_config():
    return cifar10.get_config("short")
