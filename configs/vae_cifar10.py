"""A variational autoencoder of CIFAR-10: 32x32 images to latents of 8x8x4 and back.

    python train.py --config configs/vae_cifar10.py          # 200,000 steps, a job for a GPU
    python train.py --config configs/vae_cifar10.py:nano     # two CPU cores

Images and their reconstructions are in figures/, their PSNR on test images in test.json: for nano
25.8 dB after 7 min 46 s.
"""

from configs import base

VARIANTS = {
    "nano": {
        "model.widths": (16, 32, 64),
        "method.batch_size": 32,
        "optimizer.learning_rate": 2e-3,
        "optimizer.schedule": "cosine",
        "optimizer.warmup_steps": 200,
        "ema_decay": 0.995,
        "train.total_steps": 4000,
        "train.sample_steps": 500,
        "train.checkpoint_steps": 1000,
    },
}


def get_config(variant=None):
    config = base.of("autoencoder")
    base.cifar10(config)
    return base.set_variant(config, variant, VARIANTS)
