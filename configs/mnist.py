"""Class-conditional MNIST at 32x32, in pixel space.

    python train.py --config configs/mnist.py

A job for a GPU: 9.0 M parameters (DriftDiT-Tiny), 100 epochs.
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
