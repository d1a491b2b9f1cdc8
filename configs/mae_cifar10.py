"""A masked autoencoder of CIFAR-10, an encoder that needs no labels.

    python train.py --config configs/mae_cifar10.py --workdir runs/encoder

After the colon: the size (models/mae_resnet.py), mae_resnet if not given; mae_nano on a laptop.
"""

from configs import base


def get_config(size="mae_resnet"):
    config = base.masked_autoencoder()
    config.data.source = "tfds:cifar10"
    config.data.image_size = 32
    config.data.channels = 3
    config.model.size = size
    config.optimizer.warmup_steps = 880  # 5 epochs of 45,000 images
    config.train.total_steps = None
    config.train.total_epochs = 200.0
    config.train.sample_steps = None
    config.train.sample_epochs = 10.0
    config.train.checkpoint_steps = None
    config.train.checkpoint_epochs = 10.0
    return config
