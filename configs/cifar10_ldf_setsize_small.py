"""cifar10_ldf.py with half the samples and positives a class.

python train.py --config configs/cifar10_ldf_setsize_small.py
"""

from configs import cifar10_ldf


def get_config():
    config = cifar10_ldf.get_config()
    config.method.num_generated = 16
    config.method.num_positives = 16
    return config
