"""ImageNet 256x256 in one step by drifting, in latents of a KL autoencoder (32x32x4).

    python train.py --config configs/drifting_imagenet_latent.py:b \\
        --config.data.source=latents:<folder> --config.method.encoder=<workdir> --workdir runs/b

A job for many GPUs. The folder is one of scripts/encode_latents.py with --flip, and decodes the
samples by the autoencoder that it names; for the npy files that meanflow_imagenet_latent.py takes,
set data.flip=False and data.autoencoder=<workdir>. The encoder is a run of mae_imagenet_latent.py.

Variants, with the values of lambertae/drifting:

    b       configs/gen/latent_ablation.yaml  DiT-B, features of mae_imagenet_latent.py:256
    b_sota  configs/gen/latent_sota_B.yaml    DiT-B, features of mae_imagenet_latent.py:640
    l       configs/gen/latent_sota_L.yaml    DiT-L, features of mae_imagenet_latent.py:640

The release's FID of b on 50,000 samples, at the best of its guidance scales, by training steps:

    steps          5,000  10,000  15,000  20,000  25,000  30,000
    FID            35.20   13.33   10.70    9.47    8.84    8.34
    cfg_scale        3.5     2.5     2.0     2.0     2.0     2.0

on 64 TPUs v6e. b_sota reached 1.74 at 1.1, and l 1.53 at 1.0, on 128 (its README).

There each of 16 (b) or 32 hosts fills queues of its own; here all devices share one, into which a
step pushes what those of all hosts together got. A step has distinct classes, which the release
draws from the images of a step. Weights, both moments, the average and the gradient take 20 bytes
per parameter, which `mesh.fsdp` divides; so does it the queue (2.1 GB). The devices should divide
the classes of a step: then each has the whole sets of its own classes. Where memory is short, set
method.micro_batches and model.remat=True. docs/drifting.md has the memory and the communication.

`nano` is all of this at the size of two CPU cores, on digits in 20 classes; see docs/drifting.md.
"""

from configs import base

# Size, encoder, classes per step, unconditional negatives, images pushed, power and share at one of
# the guidance scales, learning rate, warm-up, weight decay, steps.
VARIANTS = {
    "b": ("B", 256, 64, 16, 1024, 3.0, 0.0, 2e-4, 5000, 0.01, 30_000),
    "b_sota": ("B", 640, 128, 32, 4096, 5.0, 0.0, 4e-4, 10_000, 0.0, 200_000),
    "l": ("L", 640, 128, 32, 2048, 3.0, 0.5, 4e-4, 10_000, 0.01, 200_000),
}


def get_config(variant="b"):
    base.require_variant(variant, [*VARIANTS, "nano"])
    config = base.of("drifting", "drift_dit_latent")
    config.method.encoder_features = "locations"
    config.method.cfg_max = 4.0
    if variant == "nano":
        return nano(config)
    size, encoder, classes, negatives, pushed, power, at_one, rate, warmup, decay, steps = VARIANTS[
        variant
    ]
    base.imagenet_latents(config)
    config.data.flip = True
    config.ema_decay = 0.999
    config.model.size = size
    config.method.encoder = f"runs/mae_imagenet_latent_{encoder}"
    config.method.classes_per_step = classes
    config.method.num_generated = 64
    config.method.num_positives = 64
    config.method.num_unconditional = negatives
    config.method.queue_size = 128
    config.method.queue_unconditional = 1000
    config.method.queue_push = pushed
    config.method.cfg_power = power
    config.method.cfg_share_at_one = at_one
    config.optimizer.learning_rate = rate
    config.optimizer.warmup_steps = warmup
    config.optimizer.weight_decay = decay
    config.train.total_steps = steps
    config.train.sample_steps = 1000
    config.train.checkpoint_steps = 2000
    config.train.keep_every_steps = 10_000
    return config


def nano(config):
    """The same system for latents of digits, 4x4x2, in 20 classes."""
    base.inverted_digits_latents(config)
    config.model.size = "nano"
    config.model.patch_size = 1
    config.method.encoder = "runs/mae_digits20"
    config.method.temperatures = (0.05, 0.2, 0.5)  # as in digits.py
    config.method.classes_per_step = 8
    config.method.num_generated = 16
    config.method.num_positives = 16
    config.method.num_unconditional = 4
    config.method.queue_size = 32
    config.method.queue_unconditional = 250
    config.method.queue_push = 64
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 100
    config.train.total_steps = 4000
    config.train.sample_steps = 500
    config.train.checkpoint_steps = 500
    config.eval.num_samples = 1000
    config.eval.cfg_scale = 1.0
    config.eval.features = "pixels"
    config.eval.metrics = ("fid", "neighbours")
    return config
