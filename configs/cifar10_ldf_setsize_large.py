"""`--config configs/cifar10_ldf_setsize_large.py`: the same as cifar10.py:ldf_setsize_large."""

from configs import cifar10


def get_config():
    return cifar10.get_config("ldf_setsize_large")
