"""Class-conditional CIFAR-10, drifting in the features of an encoder trained here.

    python train.py --config configs/classifier_cifar10.py:resnet18 --workdir runs/encoder
    python train.py --config configs/cifar10.py

A job for a GPU. Another encoder: --config.method.encoder=<workdir>. On pixels:
--config.method.encoder=''. An epoch is 195 steps, as in jaysarva/drifting-model (50,000 images in
batches of 256).

Variants, as in configs/cifar10.py:short:

    short               9,750 steps (50 epochs), the budget of the ablations
    short_no_encoder    the same on pixels, to show what the encoder is worth
    ldf                 short with a learned drifting field
    ldf_no_proj         ldf whose field works on the features themselves, without a projection
    ldf_setsize_small   ldf with half the samples and positives per class
    ldf_setsize_large   ldf with twice the samples and positives per class
    nano                on pixels, for two CPU cores: 25 minutes; the Frechet distance on pixels of
                        2,000 samples falls from 372 at step 0 to 28.5
"""

from configs import base

SHORT = {
    "optimizer.warmup_steps": 500,
    "train.total_epochs": None,
    "train.total_steps": 9_750,
}
LDF = SHORT | {"method.field": "learned"}
NANO = {
    "method.encoder": None,
    "model.size": "nano",
    "model.patch_size": 8,
    "model.num_registers": 4,
    "optimizer.learning_rate": 2e-3,
    "optimizer.warmup_steps": 100,
    "ema_decay": 0.99,
    "method.temperatures": (0.05, 0.2, 0.5),
    # Real pixels need no network pass: a step with eight times the positives takes a fifth longer,
    # and the Frechet distance after 1,000 steps is 37 instead of 45.
    "method.num_positives": 256,
    "train.total_epochs": None,
    "train.steps_per_epoch": 0,
    "train.total_steps": 4500,
    "train.sample_steps": 500,
    "train.checkpoint_steps": 500,
    "train.keep_checkpoints": 10,
    "eval.num_samples": 2000,
    "eval.cfg_scale": 1.0,
    "eval.features": "pixels",
    "eval.metrics": ("fid", "neighbours"),
}
VARIANTS = {
    "short": SHORT,
    "short_no_encoder": SHORT | {"method.encoder": None},
    "ldf": LDF,
    "ldf_no_proj": LDF | {"field.projection": 0},
    "ldf_setsize_small": LDF | {"method.num_generated": 16, "method.num_positives": 16},
    "ldf_setsize_large": LDF | {"method.num_generated": 64, "method.num_positives": 64},
    "nano": NANO,
}


def get_config(variant=None):
    config = base.of("drifting")
    base.cifar10(config)
    config.method.encoder = "runs/encoder"
    config.optimizer.warmup_steps = 2000
    config.train.steps_per_epoch = 195
    config.train.total_steps = None
    config.train.total_epochs = 400.0
    return base.set_variant(config, variant, VARIANTS)
