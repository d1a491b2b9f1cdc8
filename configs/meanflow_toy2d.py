"""MeanFlow in the plane, for one step: eight normal distributions around a circle.

    python train.py --config configs/meanflow_toy2d.py
    python scripts/animate.py --workdir runs/meanflow_toy2d
"""

from configs import base


def get_config():
    config = base.meanflow("mlp")
    config.data.source = "toy2d:gaussians"
    config.method.batch_size = 1024
    config.method.share_r_neq_t = 0.75
    config.method.times = "uniform"
    config.method.class_conditional = False
    config.method.norm_power = 0.0
    config.method.num_diagnosed = 2000
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 100
    config.ema_decay = 0.99
    config.train.total_steps = 4000
    config.train.log_steps = 100
    config.train.sample_steps = 500
    config.train.checkpoint_steps = 1000
    config.train.steps_per_call = 50
    config.eval.num_samples = 5000
    config.eval.batch_size = 1000
    config.eval.features = "pixels"
    config.eval.metrics = ("energy",)
    return config
