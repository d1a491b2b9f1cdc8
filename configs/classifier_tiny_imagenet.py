"""A classifier of Tiny-ImageNet, 64x64, 200 classes, from the official folder or from arrays.

    python train.py --config configs/classifier_tiny_imagenet.py:resnet50 \\
        --config.data.source=tiny_imagenet:tiny-imagenet-200

A job for a GPU. Variants as in classifier_cifar10.py. The test images are the official validation
images, as the official test images have no labels; 10,000 training images are held out for
validation.
"""

from configs import classifier_cifar10


def get_config(network="resnet18"):
    config = classifier_cifar10.get_config(network)
    config.data.source = "tiny_imagenet:tiny-imagenet-200"
    config.data.image_size = 64
    config.data.num_val = 10_000
    config.optimizer.warmup_steps = 1758  # 5 epochs of 90,000 images
    config.method.crop_padding = 8
    config.train.total_epochs = 100.0
    if network == classifier_cifar10.NANO:
        config.optimizer.warmup_steps = 1406  # 1 epoch
        config.method.crop_padding = 2
        config.train.total_epochs = 8.0
    return config
