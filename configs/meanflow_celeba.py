"""Faces in one step: MeanFlow on CelebA at 64x64, with the U-Net of its release, unconditional.

    python train.py --config configs/meanflow_celeba.py --config.data.source=folder:<path>
    python evaluate.py --workdir runs/meanflow_celeba

A job for a GPU. <path> is the folder of the aligned images, 178x218 pixels each; they are read
while training, and the central square of each is resized. The settings are those of the release
for CIFAR-10 (configs/meanflow_cifar10.py), with a quarter of its batch, as an image has four times
the pixels, and half its learning rate. No score of a run is known yet.
"""

from configs import base


def get_config():
    config = base.of("meanflow", "unet")
    config.data.source = "folder:data/celeba"
    config.data.image_size = 64
    config.data.channels = 3
    config.data.flip = True
    config.data.streaming = True
    config.precision = "bfloat16"
    config.ema_decay = 0.9999
    config.model.dropout = 0.2
    config.method.batch_size = 256
    config.method.share_r_neq_t = 0.75
    config.method.norm_power = 0.75
    config.method.norm_epsilon = 1e-3
    config.method.times_mean = -2.0
    config.method.times_std = 2.0
    config.method.class_conditional = False
    config.optimizer.learning_rate = 3e-4
    config.optimizer.warmup_steps = 10_000
    config.train.total_steps = 400_000
    config.train.sample_steps = 5_000
    config.train.checkpoint_steps = 20_000
    return config
