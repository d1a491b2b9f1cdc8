"""Class-conditional 8x8 digits in one step, by MeanFlow.

    python train.py --config configs/meanflow_digits.py
    python evaluate.py --workdir runs/meanflow_digits
    python evaluate.py --workdir runs/meanflow_digits --sampler euler --sampling_steps 50

Two CPU cores: 6 minutes. With one step the Frechet distance on pixels of 1,000 samples is 0.079,
and a 3-nearest-neighbour classifier gives 98.1 % of them the label they were asked for.
"""

from configs import base


def get_config():
    config = base.of("meanflow", "dit")
    config.data.source = "digits"
    config.model.size = "nano"
    config.model.patch_size = 2
    config.method.batch_size = 128
    base.small_meanflow(config)
    config.train.total_steps = 6000
    config.train.sample_steps = 1000
    config.train.checkpoint_steps = 1000
    config.eval.metrics = ("fid", "energy", "neighbours")
    return config
