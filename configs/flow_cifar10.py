"""`--config configs/flow_cifar10.py`: the same as meanflow_cifar10.py:flow."""

from configs import meanflow_cifar10


def get_config():
    return meanflow_cifar10.get_config("flow")
