"""`--config configs/cifar10_ldf_no_proj.py`: the same as cifar10.py:ldf_no_proj."""

from configs import cifar10


def get_config():
    return cifar10.get_config("ldf_no_proj")
