"""Class-conditional MNIST at 32x32, in pixel space.

python train.py --config configs/mnist.py
"""

from configs import base


def get_config():
    config = base.of("drifting")
    config.data.source = "tfds:mnist"
    config.data.image_size = 32
    config.data.fit = "pad"
    config.train.total_epochs = 100.0
    config.train.total_steps = None
    return config
