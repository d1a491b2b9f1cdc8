"""CUT on real pictures with two CPU cores: the horses of CIFAR-10 become deer, 32x32.

    python train.py --config configs/cut_cifar10_nano.py
    python evaluate.py --workdir runs/cut_cifar10_nano

Each class has 5,000 images. Whether translations are deer is for a classifier to say
(scripts/judge_translations.py): configs/classifier_cifar10.py:resnet18_nano calls 66.2 % of them
deer, and 3.6 % of the inputs. Training took 53 min on two CPU cores that did other work.
"""

from configs import base


def get_config():
    config = base.of("cut")
    base.small_cut(config, width=24, blocks=6)
    config.data.source = "unpaired:tfds:cifar10#horse,tfds:cifar10#deer"
    config.discriminator.width = 48
    config.discriminator.layers = 3
    config.method.batch_size = 8
    config.method.identity_weight = 0.0  # half as many images pass through the generator
    config.train.total_steps = 6000
    config.train.sample_steps = 1000
    config.train.checkpoint_steps = 1000
    return config
