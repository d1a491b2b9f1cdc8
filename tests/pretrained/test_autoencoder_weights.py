"""Weights of autoencoders by their published names; golden 08 has MLtools' numbers."""

import functools

import jax
import numpy as np
import pytest

from drifting.pretrained import autoencoder_weights, files
from drifting.pretrained.files import WeightsError
from models import registry
from models.autoencoder_kl import VARIANTS

GROUPS = 4
# Two levels of different widths: one of everything that has a name.
TINY = {
    "mltools": VARIANTS["mltools"]
    | dict(widths=(8, 16), num_heads=2, latent_channels=3, inner_channels=2, norm_groups=GROUPS),
    "diffusers": VARIANTS["stable_diffusion"] | dict(widths=(8, 16), norm_groups=GROUPS),
}


def create(values, shape=(8, 8, 3)):
    return registry.create("autoencoder_kl", values, shape, 0)


@functools.cache
def made(form):
    """A tiny network and a state for it, drawn so that every array counts."""
    network = create(TINY[form])
    generator = np.random.default_rng(0)
    state = {}
    for key, shape in autoencoder_weights.state_shapes(form, network).items():
        z = generator.standard_normal(shape, np.float32)
        spread = np.sqrt(1 / np.prod(shape[1:])) if len(shape) > 1 else 0.3
        state[key] = np.float32(spread) * z + np.float32("norm" in key and "weight" in key)
    return network, state


@pytest.mark.parametrize("form", autoencoder_weights.FORMS)
def test_weights_come_back_bit_for_bit(form, tmp_path):
    network, state = made(form)
    files.write(state, tmp_path / "w.safetensors")
    read = autoencoder_weights.read(tmp_path / "w.safetensors")
    params = autoencoder_weights.to_params(form, network, read)
    expected = jax.eval_shape(network.init, jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
    assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, expected["params"])
    back = autoencoder_weights.to_state(form, network, params)
    files.write(back, tmp_path / "back.safetensors")
    assert back.keys() == state.keys()
    for key, array in state.items():
        assert back[key].shape == array.shape and back[key].tobytes() == array.tobytes(), key
    again = (tmp_path / name for name in ("w.safetensors", "back.safetensors"))
    assert len({path.read_bytes() for path in again}) == 1


@pytest.mark.parametrize(
    "form,variant,shape,arrays,some",
    [
        (
            "mltools",
            "mltools",
            (64, 64, 1028),
            133,
            {
                "logvar": (),
                "encoder.conv_in.weight": (512, 1028, 3, 3),
                "encoder.downs.1.resnet_blocks.0.skip_conv.weight": (256, 512, 1, 1),
                "decoder.ups.0.up.weight": (128, 256, 2, 2),
                "decoder.ups.2.up.weight": (512, 512, 2, 2),
                "quant_conv.weight": (64, 64, 1, 1),
            },
        ),
        (
            "diffusers",
            "stable_diffusion",
            (256, 256, 3),
            248,
            {
                "encoder.down_blocks.0.resnets.0.norm1.weight": (128,),
                "encoder.down_blocks.2.resnets.0.conv_shortcut.weight": (512, 256, 1, 1),
                "encoder.mid_block.attentions.0.to_q.weight": (512, 512),
                "decoder.up_blocks.2.resnets.0.conv1.weight": (256, 512, 3, 3),
                "decoder.up_blocks.3.resnets.2.conv2.bias": (128,),
                "decoder.up_blocks.2.upsamplers.0.conv.weight": (256, 256, 3, 3),
                "decoder.conv_norm_out.weight": (128,),
                "quant_conv.weight": (8, 8, 1, 1),
            },
        ),
    ],
)
def test_names_and_shapes_are_those_published(form, variant, shape, arrays, some):
    shapes = autoencoder_weights.state_shapes(form, create(VARIANTS[variant], shape))
    assert len(shapes) == arrays and some.items() <= shapes.items()


def test_names_of_older_files():
    network, state = made("diffusers")
    older = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}

    def rename(key):
        for new, old in older.items():
            key = key.replace(f"attentions.0.{new}.", f"attentions.0.{old}.")
        return key

    renamed = {rename(key): array for key, array in state.items()}
    assert len(renamed.keys() - state.keys()) == 16
    params = autoencoder_weights.to_params("diffusers", network, renamed)
    expected = autoencoder_weights.to_params("diffusers", network, state)
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_other_weights_are_refused():
    network, state = made("diffusers")

    def load(state, form="diffusers", network=network):
        return autoencoder_weights.to_params(form, network, state)

    few = {key: array for key, array in state.items() if "mid_block.resnets.1" not in key}
    with pytest.raises(WeightsError, match="as diffusers saves them: 16 arrays are missing, dec"):
        load(few)
    with pytest.raises(WeightsError, match="1 arrays are unexpected, loss.logvar among them"):
        load(state | {"loss.logvar": np.zeros(())})
    with pytest.raises(WeightsError, match=r"quant_conv.bias has shape \(7,\), .* is \(8,\); comp"):
        load(state | {"quant_conv.bias": np.zeros(7)})
    needed = "mltools need config.model.downsampling = 'conv2x2', .*config.model.logvar = True"
    with pytest.raises(WeightsError, match=needed):
        load(state, "mltools")
    unused = create(TINY["mltools"] | dict(unused_resampling=False))
    with pytest.raises(WeightsError, match="mltools need config.model.unused_resampling = True$"):
        autoencoder_weights.to_state("mltools", unused, {})
    with pytest.raises(ValueError, match="unknown format 'ldm'; use one of mltools, diffusers"):
        load(state, "ldm")


def test_pytorch_files(tmp_path):
    torch = pytest.importorskip("torch")
    _, state = made("mltools")
    for name in ("w.pt", "w.pth"):
        torch.save({key: torch.tensor(array) for key, array in state.items()}, tmp_path / name)
        read = autoencoder_weights.read(tmp_path / name)
        assert all(read[key].tobytes() == array.tobytes() for key, array in state.items())


# --- Stable Diffusion's autoencoder in PyTorch's functions ---------------------------------------


class Reference:
    """Encoder and decoder of images [B, C, H, W], written from the published architecture."""

    def __init__(self, state, levels):
        import torch

        self.functions, self.pad = torch.nn.functional, torch.nn.functional.pad
        self.state = {key: torch.from_numpy(array) for key, array in state.items()}
        self.levels = levels

    def conv(self, name, x, **options):
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return self.functions.conv2d(x, weight, bias, **options)

    def norm(self, name, x):
        weight, bias = self.state[f"{name}.weight"], self.state[f"{name}.bias"]
        return self.functions.group_norm(x, GROUPS, weight, bias, eps=1e-6)

    def activated(self, name, x):
        return self.functions.silu(self.norm(name, x))

    def block(self, name, x):
        h = self.conv(f"{name}.conv1", self.activated(f"{name}.norm1", x), padding=1)
        h = self.conv(f"{name}.conv2", self.activated(f"{name}.norm2", h), padding=1)
        changes = f"{name}.conv_shortcut.weight" in self.state
        return h + (self.conv(f"{name}.conv_shortcut", x) if changes else x)

    def attention(self, name, x):
        batch, channels, height, width = x.shape
        tokens = self.norm(f"{name}.group_norm", x).flatten(2).transpose(1, 2)  # [B, T, C]

        def dense(layer, y):
            weight, bias = (self.state[f"{name}.{layer}.{kind}"] for kind in ("weight", "bias"))
            return y @ weight.T + bias

        q, k, v = (dense(layer, tokens) for layer in ("to_q", "to_k", "to_v"))
        weights = (q @ k.transpose(1, 2) / channels**0.5).softmax(dim=-1)
        out = dense("to_out.0", weights @ v).transpose(1, 2)
        return x + out.reshape(batch, channels, height, width)

    def middle(self, name, x):
        x = self.attention(f"{name}.attentions.0", self.block(f"{name}.resnets.0", x))
        return self.block(f"{name}.resnets.1", x)

    def head(self, name, x):
        return self.conv(f"{name}.conv_out", self.activated(f"{name}.conv_norm_out", x), padding=1)

    def encode(self, x):
        x = self.conv("encoder.conv_in", x, padding=1)
        for level in range(self.levels):
            name = f"encoder.down_blocks.{level}"
            for i in range(2):
                x = self.block(f"{name}.resnets.{i}", x)
            if level < self.levels - 1:
                x = self.pad(x, (0, 1, 0, 1))  # on the right and below
                x = self.conv(f"{name}.downsamplers.0.conv", x, stride=2)
        return self.conv("quant_conv", self.head("encoder", self.middle("encoder.mid_block", x)))

    def decode(self, z):
        x = self.conv("decoder.conv_in", self.conv("post_quant_conv", z), padding=1)
        x = self.middle("decoder.mid_block", x)
        for level in range(self.levels):
            name = f"decoder.up_blocks.{level}"
            for i in range(3):
                x = self.block(f"{name}.resnets.{i}", x)
            if level < self.levels - 1:
                x = self.functions.interpolate(x, scale_factor=2.0, mode="nearest")
                x = self.conv(f"{name}.upsamplers.0.conv", x, padding=1)
        return self.head("decoder", x)


def test_stable_diffusions_autoencoder_is_the_one_in_pytorch():
    torch = pytest.importorskip("torch")
    network, state = made("diffusers")
    variables = {"params": autoencoder_weights.to_params("diffusers", network, state)}
    reference = Reference(state, levels=2)
    draw = np.random.default_rng(1).standard_normal
    for method, channels, side in (("encode", 3, 8), ("decode", 4, 4)):
        x = draw((2, side, side, channels), np.float32)
        with torch.no_grad():
            theirs = getattr(reference, method)(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
        theirs = theirs.numpy().transpose(0, 2, 3, 1)
        ours = jax.jit(functools.partial(network.apply, method=method))(variables, x)
        assert ours.shape == theirs.shape and np.abs(theirs).max() > 0.5
        np.testing.assert_allclose(ours, theirs, atol=2e-5 * np.abs(theirs).max())
