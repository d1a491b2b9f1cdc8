"""Faces in one step: MeanFlow on CelebA at 64x64, with the U-Net of its release, unconditional.

    python train.py --config configs/meanflow_celeba.py --config.data.source=folder:<path>
    python evaluate.py --workdir runs/meanflow_celeba

A job for a GPU. <path> is the folder of the aligned images, 178x218 pixels each; they are read
while training, and the central square of each is resized. The settings are those of the release
for CIFAR-10 (configs/meanflow_cifar10.py), with a quarter of its batch, as an image has four times
the pixels, and half its learning rate. No score of a run is known yet.
"""

from configs import meanflow_cifar10


def get_config():
    config = meanflow_cifar10.get_config()
    config.data.source = "folder:data/celeba"
    config.data.image_size = 64
    config.data.streaming = True
    config.ema_decay = 0.9999
    config.method.batch_size = 256
    config.optimizer.learning_rate = 3e-4
    config.train.total_steps = 400_000
    return config
