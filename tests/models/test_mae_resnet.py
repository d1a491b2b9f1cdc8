"""The masked autoencoder: exact sizes, maps, folding, and the whole beside PyTorch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from models import mae_resnet
from models.layers.norms import num_groups
from models.mae_resnet import MaskedAutoencoder

TINY = dict(base_channels=4, blocks=(1, 1))


def images(batch, size=8, channels=3):
    return jax.random.normal(jax.random.key(1), (batch, size, size, channels))


def parameter_shapes(model, x):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), x, False, method="reconstruct"))


def reconstruct(model):
    return jax.jit(functools.partial(model.apply, train=False, method="reconstruct"))


@pytest.fixture(scope="module")
def tiny():
    """reconstruct(variables, x), variables that are no start's, and a few images."""
    model, x = MaskedAutoencoder(5, 3, **TINY), images(3)
    generator = np.random.default_rng(0)

    def draw(path, leaf):
        noise = generator.standard_normal(leaf.shape, np.float32)
        return jnp.asarray(1.0 + 0.1 * noise if path[-1].key == "scale" else 0.3 * noise)

    variables = jax.tree_util.tree_map_with_path(draw, parameter_shapes(model, x))
    return reconstruct(model), variables, x


@pytest.mark.parametrize(
    "values,expected",
    [
        (dict(base_channels=256, channels=4), 431_354_348),
        (dict(base_channels=640, channels=4), 2_687_866_604),
        (dict(base_channels=640, channels=3, input_patch_size=8), 2_689_069_992),
    ],
)
def test_parameter_counts_of_the_release(values, expected):
    model = MaskedAutoencoder(1000, blocks=(3, 4, 6, 3), **values)
    shapes = parameter_shapes(model, images(1, 32, model.channels))
    assert sum(x.size for x in jax.tree.leaves(shapes)) == expected


@pytest.mark.parametrize("size", mae_resnet.SIZES)
def test_maps_of_every_size(size):
    model = MaskedAutoencoder(10, 3, **mae_resnet.SIZES[size])
    x = images(2, 32)
    restored, out = jax.eval_shape(reconstruct(model), parameter_shapes(model, x), x)
    assert restored.shape == (2, 32, 32, 3) and out.logits.shape == (2, 10)
    width = model.base_channels
    stages = [out.maps[name].shape for name in ("stem", "stage1", "stage2", "stage3", "stage4")]
    assert stages == [
        (2, side, side, width * times)
        for side, times in [(32, 1), (32, 1), (16, 2), (8, 4), (4, 8)]
    ]
    assert out.pooled.shape == (2, 8 * width)
    assert sum("_block" in name for name in out.maps) == sum(model.blocks)


@pytest.mark.parametrize("size,patch,side", [(28, 1, 28), (32, 2, 16)])
def test_reconstruct_gives_back_the_shape(size, patch, side):
    model = MaskedAutoencoder(10, 1, base_channels=4, input_patch_size=patch)
    x = images(2, size, channels=1)
    restored, out = jax.eval_shape(reconstruct(model), parameter_shapes(model, x), x)
    assert restored.shape == x.shape and out.maps["stem"].shape == (2, side, side, 4)
    assert out.maps["stage4"].shape == (2, (side + 7) // 8, (side + 7) // 8, 32)


def test_masking_one_image_leaves_the_others(tiny):
    reconstruct, variables, x = tiny
    whole = reconstruct(variables, x)
    masked = reconstruct(variables, x.at[0, 2:6, 2:6].set(0.0))
    whole, masked = ({"image": image, **out.maps} for image, out in (whole, masked))
    for name, before in whole.items():
        np.testing.assert_allclose(before[1:], masked[name][1:], atol=1e-5)
        assert jnp.abs(before[0] - masked[name][0]).max() > 1e-2, name


def test_gradients_reach_everything_and_survive_a_constant_image(tiny):
    reconstruct, variables, x = tiny
    x = x.at[0].set(-1.0)

    def loss(variables, x):
        restored, out = reconstruct(variables, x)
        return jnp.mean(jnp.square(restored - 1.0)) + jnp.mean(jnp.square(out.logits))

    grads = jax.jit(jax.grad(loss, argnums=(0, 1)))(variables, x)
    for path, grad in jax.tree_util.tree_leaves_with_path(grads):
        assert jnp.isfinite(grad).all() and jnp.abs(grad).max() > 0, path


def test_a_stage_ends_in_a_norm_unless_told_otherwise(tiny):
    reconstruct, variables, x = tiny
    maps = reconstruct(variables, x)[1].maps
    assert maps["stage1_block1"].min() >= 0 > maps["stage1"].min()
    plain = MaskedAutoencoder(5, 3, stage_norm=False, **TINY)
    without = parameter_shapes(plain, x)["params"]["encoder"]
    assert variables["params"]["encoder"].keys() - without.keys() == {"stage1_norm", "stage2_norm"}


def test_a_narrow_stage_norm_has_a_constant_mean(tiny):
    reconstruct, variables, x = tiny
    pooled = reconstruct(variables, x)[1].pooled
    np.testing.assert_allclose(pooled, jnp.broadcast_to(pooled[:1], pooled.shape), atol=1e-5)


@pytest.mark.parametrize("size", mae_resnet.SIZES)
def test_means_are_alive_at_every_size(size):
    model = MaskedAutoencoder(10, 3, **mae_resnet.SIZES[size])
    width = model.base_channels
    assert not model.stage_norm or num_groups(width) < width


def test_bfloat16_computes_with_float32_parameters(tiny):
    exact, variables, x = tiny
    model = MaskedAutoencoder(5, 3, dtype=jnp.bfloat16, **TINY)
    assert {p.dtype for p in jax.tree.leaves(parameter_shapes(model, x))} == {jnp.dtype("float32")}
    restored, out = reconstruct(model)(variables, x)
    exact_restored, exact_out = exact(variables, x)
    assert out.maps["stage2"].dtype == jnp.bfloat16
    assert {restored.dtype, out.logits.dtype, out.pooled.dtype} == {jnp.dtype("float32")}
    np.testing.assert_allclose(out.logits, exact_out.logits, atol=0.05)
    assert 0 < jnp.abs(restored - exact_restored).mean() < 0.05


def test_wrong_values_are_refused():
    x = images(1)
    with pytest.raises(ValueError, match=r"x has shape .*, expected \[B, H, W, 1\]"):
        parameter_shapes(MaskedAutoencoder(5, 1, **TINY), x)
    with pytest.raises(ValueError, match="input_patch_size 3 does not divide images of 8x8"):
        parameter_shapes(MaskedAutoencoder(5, 3, input_patch_size=3, **TINY), x)
    with pytest.raises(ValueError, match="unknown activation 'silu'; use one of relu, gelu"):
        parameter_shapes(MaskedAutoencoder(5, 3, activation="silu", **TINY), x)


# --- beside PyTorch ------------------------------------------------------------------------------


class Reference:
    """The network in PyTorch functions, channels first, from our parameters."""

    def __init__(self, torch, params, activate):
        self.torch, self.f, self.params = torch, torch.nn.functional, params
        self.activate = activate

    def get(self, path):
        leaf = functools.reduce(lambda tree, key: tree[key], path.split("/"), self.params)
        return self.torch.from_numpy(np.array(leaf))

    def conv(self, x, path, stride=1):
        kernel = self.get(f"{path}/kernel").permute(3, 2, 0, 1)
        return self.f.conv2d(x, kernel, stride=stride, padding=kernel.shape[-1] // 2)

    def norm(self, x, path):
        scale, bias = self.get(f"{path}/scale"), self.get(f"{path}/bias")
        return self.f.group_norm(x, x.shape[1], scale, bias, eps=1e-6)  # below 32 channels

    def conv_norm(self, x, path, stride=1):
        return self.norm(self.conv(x, f"{path}/conv", stride), f"{path}/norm")

    def block(self, x, path, stride):
        h = self.activate(self.conv_norm(x, f"{path}/first", stride))
        h = self.conv_norm(h, f"{path}/second")
        if x.shape != h.shape:
            x = self.conv_norm(x, f"{path}/projection", stride)
        return self.activate(h + x)

    def encode(self, x):
        maps = [self.activate(self.conv_norm(x, "encoder/stem"))]
        maps.append(self.block(maps[0], "encoder/stage1_block1", 1))
        return [*maps, self.block(maps[1], "encoder/stage2_block1", 2)]

    def decode(self, maps):
        x = self.activate(self.conv_norm(maps[2], "decoder/bridge"))
        for skip, name in ((maps[1], "stage1"), (maps[0], "stem")):
            path = f"decoder/up_to_{name}"
            x = self.f.interpolate(x, skip.shape[2:], mode="bilinear", align_corners=False)
            x = self.norm(self.torch.cat([x, skip], 1), f"{path}/norm")
            for layer in ("first", "second"):
                x = self.activate(self.conv_norm(x, f"{path}/{layer}"))
        return self.conv(x, "decoder/head") + self.get("decoder/head/bias")[None, :, None, None]


def test_the_multiscale_form_beside_pytorch(tiny):
    torch = pytest.importorskip("torch")
    _, variables, x = tiny
    model = MaskedAutoencoder(5, 3, stage_norm=False, activation="gelu", **TINY)
    restored, out = reconstruct(model)(variables, x)
    reference = Reference(torch, variables["params"], torch.nn.functional.gelu)
    maps = reference.encode(torch.from_numpy(np.array(x)).permute(0, 3, 1, 2))
    ours = [*(out.maps[name] for name in ("stem", "stage1", "stage2")), restored]
    for mine, theirs in zip(ours, [*maps, reference.decode(maps)], strict=True):
        np.testing.assert_allclose(mine, theirs.permute(0, 2, 3, 1), rtol=1e-4, atol=2e-5)
