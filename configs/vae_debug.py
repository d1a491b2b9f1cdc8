"""200 steps of a small variational autoencoder: seconds on a CPU, to see what a run leaves.

    python train.py --config configs/vae_debug.py

The network and the data are those of vae_digits.py.
"""

from configs import vae_digits


def get_config():
    config = vae_digits.get_config()
    config.optimizer.warmup_steps = 20
    config.train.total_steps = 200
    config.train.log_steps = 10
    config.train.plot_steps = 20
    config.train.sample_steps = 50
    config.train.checkpoint_steps = 100
    return config
