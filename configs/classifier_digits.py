"""A classifier of scikit-learn's 8x8 digits: seconds on a CPU, to see what a run leaves.

    python train.py --config configs/classifier_digits.py

Variants: the networks that classifier_cifar10.py names, at a quarter of their width, except
convnext_tiny, which needs images of 16 pixels.
"""

from configs import base, classifier_cifar10


def get_config(network="resnet18"):
    config = base.of("classifier")
    config.data.num_val = 200
    config.data.flip = False
    config.model.name = base.require_variant(network, classifier_cifar10.NETWORKS)
    config.model.width = 0.25
    config.method.batch_size = 64
    config.method.crop_padding = 1
    config.optimizer.warmup_steps = 20
    config.train.total_steps = 200
    config.train.sample_steps = 100
    config.train.checkpoint_steps = 40
    config.train.keep_checkpoints = 1
    config.eval.batch_size = 100
    return config
