"""A classifier of CIFAR-10; also the encoder in whose features drifting works.

    python train.py --config configs/classifier_cifar10.py:resnet18 --workdir runs/encoder
    python train.py --config configs/classifier_cifar10.py:resnet18_nano

A job for a GPU, with the recipe of the suites that compare frameworks (docs/suites.md). Variants:
mobilenetv2, resnet18 (the default), resnet50, convnext_tiny; and resnet18_nano, a narrow network
for two CPU cores: 16 minutes, 78.9 % test accuracy.
"""

from configs import base
from models import registry

NETWORKS = registry.names("classifier")
NANO = "resnet18_nano"


def get_config(network="resnet18"):
    base.require_variant(network, (*NETWORKS, NANO))
    config = base.of("classifier")
    base.cifar10(config)
    config.model.name = "resnet18" if network == NANO else network
    config.method.batch_size = 256
    config.optimizer.weight_decay = 1e-4
    config.optimizer.warmup_steps = 879  # 5 epochs of 45,000 images
    base.in_epochs(config, total=200.0, sample=10.0, checkpoint=1.0)
    config.train.keep_checkpoints = 1
    if network == NANO:
        config.model.width = 0.25
        config.model.stem = "medium"  # 16x16 maps: a quarter of the time
        config.method.batch_size = 64
        config.method.crop_padding = 2
        config.optimizer.weight_decay = 5e-4
        config.optimizer.warmup_steps = 703
        config.train.total_epochs = 8.0
    return config
