"""A classifier of CIFAR-100.

    python train.py --config configs/classifier_cifar100.py:resnet50

A job for a GPU. Variants as in classifier_cifar10.py.
"""

from configs import classifier_cifar10


def get_config(network="resnet18"):
    config = classifier_cifar10.get_config(network)
    config.data.source = "tfds:cifar100"
    return config
