"""The KL autoencoder: moments, latents, reconstructions, losses and gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from torch_weights import nchw, nhwc

from drifting.core import gaussian
from drifting.pretrained import autoencoder_weights
from models import registry
from models.autoencoder_kl import AutoencoderKL

KL_WEIGHT = 1e-6


def create(g: dict[str, np.ndarray]) -> AutoencoderKL:
    """The network that the file's numbers come from."""
    channels, *sides = (int(n) for n in g["cfg.shape"])
    values = dict(
        widths=tuple(int(n) for n in g["cfg.chs"]),
        blocks_per_level=int(g["cfg.num_res_blocks"]),
        attention_resolutions=tuple(int(n) for n in g["cfg.attn_sizes"]),
        mltools_attention=True,
        middle_attention=bool(g["cfg.mid_attn"]),
        num_heads=int(g["cfg.n_attention_heads"]),
        latent_channels=int(g["cfg.embed_dim"]),
        inner_channels=int(g["cfg.z_channels"]),
        kernel=g["w.encoder.conv_in.weight"].shape[-1],
        activation="silu" if g["cfg.act_is_silu"] else "gelu",
        logvar=True,
        unused_resampling=True,
    )
    return registry.create("autoencoder_kl", values, (*sides, channels), 0)


def weights(g: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {key.removeprefix("w."): array for key, array in g.items() if key.startswith("w.")}


@pytest.fixture(scope="module")
def computed(golden):
    """The file, and our outputs and gradients by the file's names."""
    g = golden("08_vae.npz")
    network = create(g)
    params = autoencoder_weights.to_params("mltools", network, weights(g))
    x, noise = nhwc(g["in.x"]), nhwc(g["in.eps"])
    difference = jnp.square if g["cfg.nll_is_l2"] else jnp.abs

    def loss(params):
        apply = functools.partial(network.apply, {"params": params})
        moments = apply(x, method="encode")
        mean, log_variance = gaussian.split(moments)
        z = gaussian.latents(moments, noise)
        decoded, divergence = apply(z, method="decode"), gaussian.kl(moments)
        errors = difference(x - decoded) / jnp.exp(params["logvar"]) + params["logvar"]
        nll = jnp.sum(errors) / len(x)
        kl = KL_WEIGHT * jnp.mean(divergence)
        maps = dict(
            encoder_raw=apply(x, method=lambda network, x: network.encoder(x)),
            moments=moments, mean=mean, logvar=log_variance, z_sample=z, decoded=decoded,
            decoded_from_mode=apply(x, method="__call__"),
        )  # fmt: skip
        rest = dict(kl_per_sample=divergence, kl_loss=kl, nll_loss=nll, loss=nll + kl)
        return nll + kl, maps | rest

    (_, out), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params)
    out = {k: nchw(v) if v.ndim == 4 else v for k, v in out.items()}
    return g, out, autoencoder_weights.to_state("mltools", network, grads)


def test_every_output(computed):
    g, out, _ = computed
    theirs = {key[4:] for key in g if key.startswith("out.") and "clamp" not in key}
    assert theirs == set(out)
    for name, value in out.items():
        tolerance = dict(rtol=1e-5) if "loss" in name else dict(rtol=1e-4, atol=5e-5)
        np.testing.assert_allclose(value, g[f"out.{name}"], **tolerance, err_msg=name)


def test_every_gradient(computed):
    g, _, grads = computed
    theirs = {key[5:]: array for key, array in g.items() if key.startswith("grad.")}
    assert theirs
    for name, array in theirs.items():
        np.testing.assert_allclose(grads[name], array, rtol=1e-4, atol=5e-5, err_msg=name)


def test_log_variances_are_clipped(golden):
    g = golden("08_vae.npz")
    moments = nhwc(g["in.clamp.moments"])
    _, log_variance = gaussian.split(moments)
    np.testing.assert_allclose(nchw(log_variance), g["out.clamp.logvar"], rtol=1e-6)
    np.testing.assert_allclose(gaussian.kl(moments), g["out.clamp.kl"], rtol=1e-5)


def test_weights_come_back_bit_for_bit(golden):
    g = golden("08_vae.npz")
    network, state = create(g), weights(g)
    params = autoencoder_weights.to_params("mltools", network, state)
    back = autoencoder_weights.to_state("mltools", network, params)
    assert back.keys() == state.keys()
    assert all(back[key].tobytes() == state[key].tobytes() for key in state)
    assert all(back[key].shape == state[key].shape for key in state)
