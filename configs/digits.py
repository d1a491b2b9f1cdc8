"""Class-conditional 8x8 digits (scikit-learn's 1,797 real ones), the quickstart.

    python train.py --config configs/digits.py
"""

from configs import base


def get_config():
    config = base.get_config()
    config.data.source = "digits"
    config.model.size = "nano"
    config.model.patch_size = 2
    config.optimizer.learning_rate = 1e-3
    config.optimizer.warmup_steps = 100
    config.method.label_dropout = 0.0
    config.train.total_steps = 2000
    config.train.sample_steps = 500
    config.train.checkpoint_steps = 500
    config.train.keep_checkpoints = 10
    config.eval.num_samples = 1000
    config.eval.cfg_scale = 1.0
    return config
