"""CUT on two drawn styles whose translation is known: 32x32, a few minutes on two CPU cores.

python train.py --config configs/cut_toy.py
"""

from configs import base


def get_config():
    config = base.of("cut")
    config.data.source = "styles"
    config.data.image_size = 32
    config.data.channels = 3
    config.model.width = 16
    config.model.blocks = 4
    config.method.taps = ("pad", "down_1", "down_2", "block_1", "block_3")
    config.method.batch_size = 4
    config.method.num_patches = 64
    config.method.patch_width = 64
    config.discriminator.width = 16
    config.discriminator.layers = 2
    config.ema_decay = 0.99
    config.train.total_steps = 4000
    config.train.sample_steps = 500
    config.train.checkpoint_steps = 1000
    config.eval.features = "pixels"
    return config
