"""Class-conditional digits in one step by MeanFlow, in the 4x4x2 latents of an autoencoder.

    python train.py --config configs/vae_digits.py
    python scripts/encode_latents.py --workdir runs/vae_digits --out runs/digits_latents
    python train.py --config configs/meanflow_digits_latent.py

Samples, pictures and scores are decoded:

    python sample.py --workdir runs/meanflow_digits_latent
    python evaluate.py --workdir runs/meanflow_digits_latent
"""

from configs import base, meanflow_digits


def get_config():
    config = meanflow_digits.get_config()
    base.digits_latents(config)
    config.model.patch_size = 1
    return config
