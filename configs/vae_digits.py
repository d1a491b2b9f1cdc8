"""A variational autoencoder of scikit-learn's 8x8 digits, to latents of 4x4x2 and back.

    python train.py --config configs/vae_digits.py

35 s on two CPU cores; the test images have a PSNR of 24.3 dB.
A larger weight of the divergence than the default gives latents of a scale of about 1.
"""

from configs import base


def get_config():
    config = base.of("autoencoder")
    config.data.num_val = 200
    config.model.widths = (16, 32)
    config.model.latent_channels = 2
    config.model.inner_channels = 2
    config.method.batch_size = 64
    config.method.kl_weight = 1e-3
    config.optimizer.learning_rate = 2e-3
    config.optimizer.schedule = "cosine"
    config.optimizer.warmup_steps = 100
    config.ema_decay = 0.99
    config.train.total_steps = 1000
    config.train.sample_steps = 250
    config.train.checkpoint_steps = 250
    config.eval.batch_size = 200
    config.eval.num_samples = 300
    config.eval.features = "pixels"
    return config
