"""Drifting on CIFAR-10 in an encoder's features or on pixels, equal otherwise, on two CPU cores.

python train.py --config configs/classifier_cifar10.py:resnet18_nano --workdir runs/encoder
python train.py --config configs/cifar10_features_nano.py:encoder
python train.py --config configs/cifar10_features_nano.py:pixels
"""

from configs import cifar10_nano


def get_config(features="encoder"):
    config = cifar10_nano.get_config()
    if features == "encoder":
        config.method.encoder = "runs/encoder"
    elif features != "pixels":
        raise ValueError(f"cifar10_features_nano.py:{features}: give encoder or pixels")
    config.method.encoder_features = "locations"
    config.method.encoder_every_block = 0
    config.method.num_generated = 16
    config.method.num_positives = 16
    config.train.total_steps = 1000
    config.train.sample_steps = 250
    config.train.checkpoint_steps = 250
    return config
