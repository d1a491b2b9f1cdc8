"""Drawn shapes in colour in one step: MeanFlow with the small CNN, without a file of data.

python train.py --config configs/meanflow_shapes.py
python evaluate.py --workdir runs/meanflow_shapes
"""

from configs import base


def get_config():
    config = base.of("meanflow", "cnn")
    config.data.source = "shapes"
    config.data.image_size = 12
    config.data.channels = 3
    config.model.width = 48
    config.model.depth = 4
    config.method.batch_size = 64
    config.method.share_r_neq_t = 0.5
    config.method.norm_power = 0.75
    config.method.norm_epsilon = 1e-3
    config.optimizer.learning_rate = 1e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 200
    config.ema_decay = 0.995
    config.train.total_steps = 2000
    config.train.log_steps = 100
    config.train.sample_steps = 500
    config.train.checkpoint_steps = 500
    config.train.keep_checkpoints = 10
    config.eval.num_samples = 1000
    config.eval.features = "pixels"
    config.eval.metrics = ("fid", "energy")
    return config
