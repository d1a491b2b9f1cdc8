"""`--config configs/cifar10_ldf_setsize_small.py`: the same as cifar10.py:ldf_setsize_small."""

from configs import cifar10


def get_config():
    return cifar10.get_config("ldf_setsize_small")
