"""cifar10_ldf.py with twice the samples and positives a class.

python train.py --config configs/cifar10_ldf_setsize_large.py
"""

from configs import cifar10_ldf


def get_config():
    config = cifar10_ldf.get_config()
    config.method.num_generated = 64
    config.method.num_positives = 64
    return config
