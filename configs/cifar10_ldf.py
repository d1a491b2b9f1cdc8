"""`--config configs/cifar10_ldf.py`: the same as cifar10.py:ldf."""

from configs import cifar10


def get_config():
    return cifar10.get_config("ldf")
