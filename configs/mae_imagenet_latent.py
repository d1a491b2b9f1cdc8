"""Masked autoencoders of ImageNet latents (32x32x4), in whose features drifting models drift.

    python train.py --config configs/mae_imagenet_latent.py:256 \\
        --config.data.source=latents:<folder> --workdir runs/mae_256

A job for many GPUs. Variants, by their widths and with the values of lambertae/drifting:

    256  configs/mae/latent_ablation_256.yaml  431 million parameters, 30,000 steps
    640  configs/mae/latent_640.yaml           2,688 million, 200,000 steps; the last 3,000 classify

`nano` is for the latents of drifting_imagenet_latent.py:nano, 4x4x2 in 20 classes.

Half of the squares of 2x2 latents are masked, and the features for drifting are also taken over
patches of 2x2 and 4x4.

The folder is one of scripts/encode_latents.py with --flip; for the npy files that
meanflow_imagenet_latent.py takes, set data.flip=False. The release encodes random crops of the
images at each step; here each visit draws a latent of the whole image or of its mirror image.

Weights, both moments, the average and the gradient take 20 bytes per parameter: 8.6 GB and 54 GB,
which `mesh.fsdp` divides over devices (released: 4 and 8). Each step sums the gradients over the
devices, 1.7 GB and 10.8 GB. `method.micro_batches` divides the memory of activations.

The release reports no score of the autoencoders, but the FID of generators that were trained in
their features: 8.49 with 256 (ablation), and 1.74 and 1.53 with 640 (B and L).
"""

from configs import base

# Steps, and the last of them, in which the autoencoder also classifies.
VARIANTS = {"256": (30_000, 0), "640": (200_000, 3000)}


def get_config(width="256"):
    base.require_variant(width, [*VARIANTS, "nano"])
    config = base.of("mae")
    config.data.num_val = 0  # streams are not split
    config.method.crop_padding = 0
    config.method.mask_patch = 2
    config.method.mask_ratio_min = config.method.mask_ratio_max = 0.5
    if width == "nano":
        return nano(config)
    total, last = VARIANTS[width]
    base.imagenet_latents(config)
    config.ema_decay = 0.9995
    config.model.size = f"mae_{width}"
    config.method.batch_size = 8192
    if last:
        config.method.classification_weight = 0.1
        config.method.classification_last_steps = last
    config.optimizer.learning_rate = 4e-3
    config.optimizer.schedule = "constant"
    config.optimizer.warmup_steps = 4000
    config.optimizer.weight_decay = 0.01
    config.train.total_steps = total
    config.train.sample_steps = 2000
    config.train.checkpoint_steps = 5000
    return config


def nano(config):
    """An encoder of the latents of digits, 4x4x2."""
    base.inverted_digits_latents(config)
    config.data.flip = False
    config.model.size = "mae_nano"
    config.method.mask_patch = 1
    config.method.batch_size = 128
    config.method.classification_weight = 0.1
    config.optimizer.warmup_steps = 100
    config.train.total_steps = 1000
    config.train.sample_steps = 500
    config.train.checkpoint_steps = 500
    return config
