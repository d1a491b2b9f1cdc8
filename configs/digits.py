"""Class-conditional 8x8 digits (scikit-learn's 1,797 real ones), the quickstart.

    python train.py --config configs/digits.py
    python train.py --config configs/digits.py:ldf    # with a learned drifting field

Two CPU cores: 2 minutes (ldf: 7). A 3-nearest-neighbour classifier gives 99.5 % (99.9 %) of 1,000
samples the label they were asked for; their Frechet distance on pixels is 0.13 (0.52), after 12.2
at step 0.
"""

from configs import base

VARIANTS = {"ldf": {"method.field": "learned"}}


def get_config(variant=None):
    config = base.of("drifting")
    config.data.source = "digits"
    config.model.size = "nano"
    config.model.num_registers = 4
    config.optimizer.learning_rate = 2e-3
    config.optimizer.warmup_steps = 100
    config.ema_decay = 0.99
    # Sharper temperatures pull samples to class means here: a Frechet distance of 1.6, not 0.2.
    config.method.temperatures = (0.05, 0.2, 0.5)
    config.train.total_steps = 1500
    config.train.sample_steps = 250
    config.train.checkpoint_steps = 250
    config.train.keep_checkpoints = 10
    config.eval.num_samples = 1000
    config.eval.cfg_scale = 1.0
    config.eval.features = "pixels"
    config.eval.metrics = ("fid", "neighbours")
    return base.set_variant(config, variant, VARIANTS)
