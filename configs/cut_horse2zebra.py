"""Horses become zebras, 256x256, with the values of the CUT release.

    python train.py --config configs/cut_horse2zebra.py            # CUT
    python train.py --config configs/cut_horse2zebra.py:fastcut    # half the time and memory

A job for a GPU. The published FID is 45.5 for CUT and 73.4 for FastCUT (Park et al.,
arXiv:2007.15651, table 1); those who ran the release themselves report 61 to 68 for CUT.

An epoch is 1,334 steps of one image of each domain, as many as there are zebras (and 1,067 horses):
400 epochs of CUT, 200 of FastCUT, of which the learning rate falls in the last 200 and 50. The
release scales images to 286x286 and crops 256x256, always 0.80 of the area; here crops have 0.80
to 1 of it. The release keeps the rate for an epoch; here it falls with every step.

Each checkpoint is scored as it is saved, which needs the weights of Inception
(scripts/fetch_inception.py). Without them: --config.train.evaluate=False.
"""

from configs import base

EPOCH = 1334  # steps: images of the larger domain
FASTCUT = {
    "method.nce_weight": 10.0,
    "method.nce_idt": False,
    "method.flip_equivariance": True,
    "optimizer.hold_share": 0.75,
    "discriminator_optimizer.hold_share": 0.75,
    "train.total_epochs": 200.0,
}
VARIANTS = {"cut": {}, "fastcut": FASTCUT}


def get_config(variant="cut"):
    config = base.of("cut")
    base.cut_release(config)
    config.data.source = "unpaired:tfds:cycle_gan/horse2zebra"
    config.data.image_size = 256
    config.data.channels = 3
    config.train.steps_per_epoch = EPOCH
    base.in_epochs(config, total=400.0, sample=1.0, checkpoint=5.0)
    config.train.evaluate = True
    return base.set_variant(config, variant, VARIANTS)
