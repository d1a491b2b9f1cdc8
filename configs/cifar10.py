"""Class-conditional CIFAR-10, drifting in the features of an encoder trained here.

    python train.py --config configs/classifier_cifar10.py:resnet18 --workdir runs/encoder
    python train.py --config configs/cifar10.py

Another encoder: --config.method.encoder=<workdir>. On pixels: --config.method.encoder=''.

An epoch is 195 steps, as the original system counts (50,000 images in batches of 256).
"""

from configs import base


def get_config():
    config = base.of("drifting")
    base.cifar10(config)
    config.method.encoder = "runs/encoder"
    config.optimizer.warmup_steps = 2000
    config.train.steps_per_epoch = 195
    config.train.total_steps = None
    config.train.total_epochs = 400.0
    return config
