"""Small variational autoencoders of 8x8 digits, without and with a discriminator."""

import facts

from configs import base
from drifting import methods

FACTS = facts.make()
SMALL = {
    "model.widths": (8, 8),
    "method.batch_size": 8,
    "optimizer.warmup_steps": 5,
    "train.total_steps": 100,
}
JUDGED = {
    "discriminator.weight": 0.5,
    "discriminator.start_step": 1,
    "discriminator.width": 8,
    "discriminator.layers": 1,
    "discriminator_optimizer.warmup_steps": 1,
}


def make(made_of=FACTS, **changed):
    """The method; `changed` holds values by dotted key."""
    config = base.of("autoencoder")
    config.update_from_flattened_dict(SMALL | changed)
    return methods.create(config, made_of)
