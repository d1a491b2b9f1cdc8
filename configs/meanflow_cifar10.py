"""Unconditional CIFAR-10 in one step: MeanFlow with the U-Net of its release, 55.9 M parameters.

    python train.py --config configs/meanflow_cifar10.py
    python train.py --config configs/meanflow_cifar10.py:flow
    python evaluate.py --workdir runs/meanflow_cifar10_flow --sampler heun --sampling_steps 50

A job for a GPU. The release (Geng et al., arXiv:2505.13447, appendix A) reaches FID 2.92 in 800,000
steps, with EDM's non-leaking augmentation, of which only the mirroring is here. The variant `flow`
is flow matching, without mean velocities: uniform times and the plain squared error, as in Lipman
et al. (arXiv:2210.02747).
"""

from configs import base

VARIANTS = {
    "flow": {
        "method.share_r_neq_t": 0.0,
        "method.norm_power": 0.0,
        "method.times": "uniform",
        "method.sampler": "euler",
        "method.sampling_steps": 100,
        "train.total_steps": 400_000,
    },
}


def get_config(variant=None):
    config = base.of("meanflow", "unet")
    base.cifar10(config)
    config.precision = "bfloat16"
    config.ema_decay = 0.99995
    config.model.dropout = 0.2
    config.method.batch_size = 1024
    config.method.share_r_neq_t = 0.75
    config.method.norm_power = 0.75
    config.method.norm_epsilon = 1e-3
    config.method.times_mean = -2.0
    config.method.times_std = 2.0
    config.method.class_conditional = False
    config.optimizer.learning_rate = 6e-4
    config.optimizer.warmup_steps = 10_000
    config.train.total_steps = 800_000
    config.train.sample_steps = 5_000
    config.train.checkpoint_steps = 20_000
    return base.set_variant(config, variant, VARIANTS)
