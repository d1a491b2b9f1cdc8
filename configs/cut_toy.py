"""CUT between two drawn styles whose translation is known: 32x32, minutes on two CPU cores.

    python train.py --config configs/cut_toy.py
    python evaluate.py --workdir runs/cut_toy

2 min 20 s on two CPU cores. The mean distance to what a translation should be, in [-1, 1], is 0.60
for the inputs and 0.11 for their translations (scripts/judge_translations.py).

What a translation should be is `restyle` of input_pipeline/sources/styles.py, of which training
knows nothing.
"""

from configs import base


def get_config():
    config = base.of("cut")
    base.small_cut(config, width=16, blocks=4)
    config.data.source = "styles"
    config.method.batch_size = 4
    config.discriminator.width = 32
    config.discriminator.layers = 2
    config.train.total_steps = 4000
    config.train.sample_steps = 500
    config.train.checkpoint_steps = 1000
    return config
