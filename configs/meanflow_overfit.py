"""Sixteen images, each its own class, learned by heart: a model that cannot do that has a fault.

    python train.py --config configs/meanflow_overfit.py

Memorising works: after 3,000 steps each of 160 samples in one step is closest to the image of its
class, from which it is 6.5 of 255 levels away in the mean over pixels; different images are 25 or
more apart. Two CPU cores: 25 s.
"""

from configs import base


def get_config():
    config = base.of("meanflow", "cnn")
    config.data.source = "overfit:16"
    config.data.image_size = 8
    config.data.channels = 3
    config.model.width = 32
    config.model.depth = 3
    config.method.batch_size = 16
    config.method.share_r_neq_t = 0.5
    config.method.norm_power = 0.75
    config.method.times_mean = 0.0
    config.method.times_std = 2.0  # often near r = 0 and t = 1, which a single step joins
    config.method.label_dropout = 0.0
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 50
    config.ema_decay = 0.99
    config.train.total_steps = 3000
    config.train.log_steps = 100
    config.train.sample_steps = 500
    config.train.checkpoint_steps = 1000
    config.train.steps_per_call = 50
    config.eval.num_samples = 800
    config.eval.features = "pixels"
    config.eval.metrics = ("fid",)
    return config
