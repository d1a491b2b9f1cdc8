"""CIFAR-10 for 9,750 steps (50 epochs of 195), the budget of the ablations.

python train.py --config configs/cifar10_short.py
"""

from configs import cifar10


def get_config():
    config = cifar10.get_config()
    config.optimizer.warmup_steps = 500
    config.train.total_epochs = None
    config.train.total_steps = 9_750
    return config
