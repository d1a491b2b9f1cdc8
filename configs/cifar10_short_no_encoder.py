"""cifar10_short.py on pixels, otherwise equal: what the encoder is worth.

python train.py --config configs/cifar10_short_no_encoder.py
"""

from configs import cifar10_short


def get_config():
    config = cifar10_short.get_config()
    config.method.encoder = None
    return config
