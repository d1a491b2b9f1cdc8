"""A masked autoencoder of CIFAR-10, an encoder that needs no labels.

    python train.py --config configs/mae_cifar10.py --workdir runs/encoder

After the colon: the size (models/mae_resnet.py), mae_resnet if not given; mae_nano on a laptop.
"""

from configs import base


def get_config(size="mae_resnet"):
    config = base.of("mae")
    base.cifar10(config)
    config.model.size = size
    config.optimizer.warmup_steps = 880  # 5 epochs of 45,000 images
    base.in_epochs(config, total=200.0, sample=10.0, checkpoint=10.0)
    return config
