"""Unconditional CIFAR-10 by flow matching: meanflow_cifar10.py without mean velocities.

    python train.py --config configs/flow_cifar10.py
    python evaluate.py --workdir runs/flow_cifar10 --sampler heun --sampling_steps 50

Uniform times and the plain squared error, as in Lipman et al. (arXiv:2210.02747).
"""

from configs import meanflow_cifar10


def get_config():
    config = meanflow_cifar10.get_config()
    config.method.share_r_neq_t = 0.0
    config.method.norm_power = 0.0
    config.method.times = "uniform"
    config.method.sampler = "euler"
    config.method.sampling_steps = 100
    config.train.total_steps = 400_000
    return config
