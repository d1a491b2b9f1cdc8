"""The configs of the tests' runs, which take seconds: one for each kind of method."""

from configs import classifier_digits, cut_toy, digits, meanflow_toy2d, vae_digits

LOGGED = {"mesh.data": 1, "train.log_steps": 1, "train.tensorboard": False}
DRIFTING = LOGGED | {
    "method.num_generated": 4,
    "method.num_positives": 4,
    "method.num_unconditional": 2,
}
SCHEDULE = {
    "train.total_steps": 12,
    "train.sample_steps": 6,
    "train.checkpoint_steps": 4,
    "train.steps_per_call": 4,
}
CLASSIFIER = LOGGED | {
    "model.width": 0.125,
    "method.batch_size": 32,
    "optimizer.warmup_steps": 2,
    "train.total_steps": 12,
    "train.sample_steps": 12,
    "train.checkpoint_steps": 4,
    "train.keep_checkpoints": 9,
}
MEANFLOW = LOGGED | {
    "model.width": 16,
    "model.depth": 1,
    "method.batch_size": 32,
    "method.num_diagnosed": 50,
    "method.norm_power": 0.0,  # enough for a few steps
    "method.times": "uniform",
    "ema_decay": 0.99,
    "optimizer.learning_rate": 3e-3,
    "optimizer.schedule": "constant",
    "optimizer.warmup_steps": 2,
    "train.total_steps": 8,
    "train.sample_steps": 8,
    "train.checkpoint_steps": 4,
    "train.steps_per_call": 4,
    "eval.num_samples": 1000,
    "eval.batch_size": 500,
}
AUTOENCODER = LOGGED | {
    "model.widths": (8, 8),
    "method.batch_size": 32,
    "optimizer.warmup_steps": 2,
    "ema_decay": 0.5,
    "train.total_steps": 8,
    "train.sample_steps": 8,
    "train.checkpoint_steps": 4,
    "train.keep_checkpoints": 9,
}
CUT = LOGGED | {
    "data.image_size": 16,
    "data.limit": 40,
    "model.width": 4,
    "model.blocks": 2,
    "discriminator.width": 4,
    "discriminator.layers": 1,
    "method.batch_size": 2,
    "method.taps": ("pad", "down_2", "block_1"),
    "method.num_patches": 16,
    "method.patch_width": 8,
    "method.r1_gamma": 10.0,
    "method.r1_every": 3,
    "method.ema_start": 3,
    "train.total_steps": 8,
    "train.sample_steps": 8,
    "train.checkpoint_steps": 4,
    "train.keep_checkpoints": 9,
    "train.evaluate": False,
    "eval.num_samples": 20,
}


def drifting(**changed):
    """A drifting model of 8x8 digits; `changed` holds values by dotted key."""
    return _changed(digits.get_config(), DRIFTING | SCHEDULE | changed)


def classifier(**changed):
    """A classifier of 8x8 digits."""
    return _changed(classifier_digits.get_config(), CLASSIFIER | changed)


def meanflow(**changed):
    """MeanFlow on points in the plane."""
    return _changed(meanflow_toy2d.get_config(), MEANFLOW | changed)


def autoencoder(**changed):
    """A variational autoencoder of 8x8 digits."""
    return _changed(vae_digits.get_config(), AUTOENCODER | changed)


def cut(**changed):
    """CUT between two drawn styles, 16x16."""
    return _changed(cut_toy.get_config(), CUT | changed)


def _changed(config, values):
    config.update_from_flattened_dict(values)
    return config
