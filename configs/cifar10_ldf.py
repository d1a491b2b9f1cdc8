"""cifar10_short.py with a learned drifting field.

python train.py --config configs/cifar10_ldf.py
"""

from configs import cifar10_short


def get_config():
    config = cifar10_short.get_config()
    config.method.field = "learned"
    return config
