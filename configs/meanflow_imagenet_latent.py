"""ImageNet 256x256 in one step, in the latents of a KL autoencoder (32x32x4): MeanFlow with a DiT.

    python train.py --config configs/meanflow_imagenet_latent.py:b4 \\
        --config.data.source=latents:<folder> --workdir runs/meanflow_b4

A job for a GPU. Variants: b4 (80 epochs, the paper's ablation), b2, l2, xl2 (240 epochs). The
folder holds `train_moments.npy` (or `train_latents.npy`) and `train_labels.npy`, see the README.
The paper's FIDs with one step (Geng et al., arXiv:2505.13447, tables 1 and 2): B/4 15.53, B/2 6.17,
L/2 3.84, XL/2 3.43.
"""

from configs import base

# Size, patch size, epochs; guidance: omega, kappa, and the time at which its window ends.
VARIANTS = {
    "b4": ("B", 4, 80.0, 1.0, 0.5, 1.0),
    "b2": ("B", 2, 240.0, 1.0, 0.5, 1.0),
    "l2": ("L", 2, 240.0, 0.2, 0.92, 0.8),
    "xl2": ("XL", 2, 240.0, 0.2, 0.92, 0.75),
}


def get_config(variant="b4"):
    size, patch, epochs, omega, kappa, end = VARIANTS[base.require_variant(variant, VARIANTS)]
    config = base.of("meanflow", "dit")
    base.imagenet_latents(config)
    config.ema_decay = 0.9999
    config.model.size = size
    config.model.patch_size = patch
    config.method.guidance_omega = omega
    config.method.guidance_kappa = kappa
    config.method.guidance_end = end
    config.optimizer.learning_rate = 1e-4
    config.optimizer.beta2 = 0.95
    config.optimizer.warmup_steps = 0
    config.train.total_steps = None
    config.train.total_epochs = epochs
    config.train.sample_steps = 10_000
    config.train.checkpoint_steps = 20_000
    return config
