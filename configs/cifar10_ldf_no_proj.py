"""cifar10_ldf.py whose field works on the features themselves, without a projection.

python train.py --config configs/cifar10_ldf_no_proj.py
"""

from configs import cifar10_ldf


def get_config():
    config = cifar10_ldf.get_config()
    config.field.projection = 0
    return config
