"""A masked autoencoder of CIFAR-10, an encoder that needs no labels.

    python train.py --config configs/mae_cifar10.py --workdir runs/encoder

A job for a GPU. Variants: the sizes of models/mae_resnet.py, of which mae_resnet is the default and
mae_nano fits a laptop.
"""

from configs import base
from models import registry


def get_config(size="mae_resnet"):
    config = base.of("mae")
    base.cifar10(config)
    config.model.size = base.require_variant(size, registry.sizes("mae_resnet"))
    config.optimizer.warmup_steps = 880  # 5 epochs of 45,000 images
    base.in_epochs(config, total=200.0, sample=10.0, checkpoint=10.0)
    return config
