"""Photos become paintings by Monet: CUT with a regularised discriminator, 256x256.

    python train.py --config configs/cut_monet.py

A job for a GPU: 50,000 steps of 12 images of each domain. The data are the 6,287 photos and 1,072
paintings of TFDS's cycle_gan/monet2photo; for other folders of images:

    --config.data.source=unpaired:folder:<photos>,folder:<paintings>

A PyTorch system with the same objective logs a MiFID of 103 to 105 at 40,000 to 50,000 steps, after
8 to 10 hours on an A100. Half the memory and less time: --config.precision=bfloat16.

Each checkpoint is scored as it is saved, and the best one is kept, which needs the weights of
Inception (scripts/fetch_inception.py). Without them: --config.eval.features=pixels, or
--config.train.evaluate=False.
"""

from configs import base


def get_config():
    config = base.of("cut")
    config.data.source = "unpaired:tfds:cycle_gan/monet2photo@B,tfds:cycle_gan/monet2photo@A"
    config.data.image_size = 256
    config.data.channels = 3
    config.train.total_steps = 50_000
    config.train.sample_steps = 1000
    config.train.checkpoint_steps = 2500
    config.train.evaluate = True
    return config
