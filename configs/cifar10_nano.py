"""`--config configs/cifar10_nano.py`: the same as cifar10.py:nano."""

from configs import cifar10


def get_config():
    return cifar10.get_config("nano")
