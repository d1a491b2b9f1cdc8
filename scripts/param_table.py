"""Writes tables of the networks' parameter counts, computed from shapes only.

python scripts/param_table.py
"""

import functools
import math
import pathlib

import jax
import jax.numpy as jnp
from absl import flags

from drifting import cli
from models import autoencoder_kl, registry
from models.conditions import STYLE_TOKENS, Condition
from models.patch_heads import PatchHeads
from models.patchgan import PatchGAN

OUT = flags.DEFINE_string("out", "docs/parameters.md", "Markdown file to write")

SMALL = ("mobilenetv2", "resnet50", "convnext_tiny")
SIZES = (32, 64)
CLASSES = (10, 100, 200)
IMAGENET = ("mobilenetv2", "resnet18", "resnet50", "convnext_tiny")

LATENTS, LATENT_CLASSES = (32, 32, 4), 1000
PATCHES = (2, 4, 8)
# The two published forms of the DiT.
RELEASE = dict(position="sincos", time_planes=False)
DENOISING_ZOO = dict(position="learned", time_planes=True)
MASKED = [("mae_resnet", (32, 32, 3), 10)]
MASKED += [(size, LATENTS, LATENT_CLASSES) for size in ("mae_256", "mae_640")]

HEADER = """# Parameters of the networks

Trainable parameters, counted by `python scripts/param_table.py`, which writes this file.

## Classifiers

Batch statistics are not counted. The stem follows the image size (see `stem_for` in
models/classifiers.py): 32 and 64 differ in strides and pools, which have no parameters. The rows
of 224 equal torchvision's counts.

| network | image size | classes | parameters |
| --- | ---: | ---: | ---: |
"""
GENERATOR_HEADER = """
## Generator networks

By the names of models/registry.py and the sizes defined with each network, with times and without
labels. `unet` with `ncsnpp` is the network of MeanFlow's CIFAR-10 release, `film_unet` with `film`
that of kylevedder/DenoisingZoo.

| network | sample | parameters |
| --- | --- | ---: |
"""
DIT_HEADER = """
The DiT on 32x32x4 latents of 1000 classes, in two forms: the MeanFlow release's (a fixed table of
positions) and kylevedder/DenoisingZoo's (`position="learned"`, `time_planes=True`).

| size | patch | the release's | DenoisingZoo's |
| --- | ---: | ---: | ---: |
"""
DRIFTING_HEADER = """
The generator of lambertae/drifting on the same latents, given labels, guidance and style. The
release has no row for the null class, which is as many parameters as the width.

| size | patch | parameters | the release's |
| --- | ---: | ---: | ---: |
"""
MASKED_HEADER = """
## Masked autoencoders

With the decoder. `mae_256` and `mae_640` are those that lambertae/drifting releases for latents.

| size | sample | classes | parameters |
| --- | --- | ---: | ---: |
"""
AUTOENCODER_HEADER = """
## Autoencoders

`autoencoder_kl` with the attributes of a variant (models/autoencoder_kl.py): `mltools` is the
reference configuration of cfpark00/MLtools, whose 1,114,752 unused parameters
`unused_resampling=False` leaves out; `stable_diffusion` is Stable Diffusion's.

| variant | sample | parameters |
| --- | --- | ---: |
"""
TRANSLATOR_HEADER = """
## Translators of images

`resnet_generator`, and what trains it: the discriminator (models/patchgan.py) and the heads of
PatchNCE (models/patch_heads.py) over the usual taps. Resampling does not change the numbers.

| network | channels | parameters |
| --- | ---: | ---: |
"""
AUTOENCODERS = {"nano": (32, 32, 3), "mltools": (64, 64, 1028), "stable_diffusion": (256, 256, 3)}


def count(shapes):
    """The number of parameters in a pytree of arrays or shapes."""
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


def count_network(network, *given):
    """The parameters of a network that is initialised from `given`."""
    return count(jax.eval_shape(network.init, jax.random.key(0), *given)["params"])


def count_translator(values, channels):
    network = registry.create("resnet_generator", values, (32, 32, channels), 0)
    return count_network(network, jnp.zeros((1, 32, 32, channels)))


def count_discriminator(channels, **values):
    return count_network(PatchGAN(**values), jnp.zeros((1, 32, 32, channels)))


def count_heads(channels):
    """The parameters of the heads over the taps of the default generator."""
    network = registry.create("resnet_generator", {}, (32, 32, channels), 0)
    images = jnp.zeros((1, 32, 32, channels))
    params = jax.eval_shape(network.init, jax.random.key(0), images)
    taps = jax.eval_shape(functools.partial(network.apply, method="features"), params, images)
    return count_network(PatchHeads(), tuple(jnp.zeros((1, 1, tap.shape[-1])) for tap in taps))


def count_classifier(name, image_size, num_classes):
    shape = (image_size, image_size, 3)
    network = registry.create(name, {}, shape, num_classes)
    images = jnp.zeros((1, *shape))
    init = functools.partial(network.init, train=False)
    return count(jax.eval_shape(init, jax.random.key(0), images)["params"])


def count_generator(name, values, shape, num_classes):
    network = registry.create(name, values, shape, num_classes)
    one = jnp.zeros(1)
    given = jnp.zeros((1, *shape)), Condition(one, one, jnp.zeros(1, jnp.int32))
    return count(jax.eval_shape(network.init, jax.random.key(0), *given)["params"])


def count_drifting(size):
    """The parameters of drift_dit_latent on latents, and those of its row of the null class."""
    network = registry.create("drift_dit_latent", dict(size=size), LATENTS, LATENT_CLASSES)
    one, label = jnp.zeros(1), jnp.zeros(1, jnp.int32)
    style = jnp.zeros((1, STYLE_TOKENS), jnp.int32)
    given = jnp.zeros((1, *LATENTS)), Condition(label=label, guidance=one, style=style)
    total = count(jax.eval_shape(network.init, jax.random.key(0), *given)["params"])
    return total, network.hidden_size


def count_masked(size, shape, num_classes):
    network = registry.create("mae_resnet", dict(size=size), shape, num_classes)
    init = functools.partial(network.init, train=False, method="reconstruct")
    images = jnp.zeros((1, *shape))
    return count(jax.eval_shape(init, jax.random.key(0), images)["params"])


def count_dit(size, patch, form):
    """The parameters of the DiT on latents; `form` is RELEASE or DENOISING_ZOO."""
    values = dict(size=size, patch_size=patch, **form)
    return count_generator("dit", values, LATENTS, LATENT_CLASSES)


def count_autoencoder(variant):
    values, shape = autoencoder_kl.VARIANTS[variant], AUTOENCODERS[variant]
    network = registry.create("autoencoder_kl", values, shape, 0)
    images = jnp.zeros((1, *shape))
    return count(jax.eval_shape(network.init, jax.random.key(0), images)["params"])


def classifier_rows():
    cases = [(name, size, k) for name in SMALL for size in SIZES for k in CLASSES]
    cases += [(name, 224, 1000) for name in IMAGENET]
    return "".join(f"| {n} | {s} | {k} | {count_classifier(n, s, k):,} |\n" for n, s, k in cases)


def generator_rows():
    """Rows for the networks of points and pixels, without labels."""
    cases = [
        ("mlp", {}, (2,)),
        ("cnn", {}, (8, 8, 1)),
        ("cnn", {}, (32, 32, 3)),
        ("unet", {"size": "nano"}, (32, 32, 3)),
        ("unet", {"size": "ncsnpp"}, (32, 32, 3)),
        ("unet", {"size": "ncsnpp", "augment_dim": 6}, (32, 32, 3)),
        ("film_unet", {"size": "nano"}, (32, 32, 3)),
        ("film_unet", {"size": "film"}, (32, 32, 3)),
        ("film_unet", {"size": "film_wide"}, (32, 32, 3)),
        ("dit", {"size": "nano"}, (8, 8, 1)),
        ("dit", {"size": "nano", "patch_size": 4}, (32, 32, 3)),
    ]
    return "".join(generator_row(*case) for case in cases)


def generator_row(name, values, shape):
    label = " ".join([name, *(f"{key}={value}" for key, value in values.items())])
    sample = "x".join(map(str, shape))
    return f"| {label} | {sample} | {count_generator(name, values, shape, 0):,} |\n"


def dit_rows():
    cases = [(size, patch) for patch in PATCHES for size in registry.sizes("dit") if size != "nano"]
    return "".join(
        f"| {s} | {p} | {count_dit(s, p, RELEASE):,} | {count_dit(s, p, DENOISING_ZOO):,} |\n"
        for s, p in cases
    )


def drifting_rows():
    counts = {size: count_drifting(size) for size in ("B", "L")}
    return "".join(f"| {s} | 2 | {n:,} | {n - null:,} |\n" for s, (n, null) in counts.items())


def masked_rows():
    return "".join(
        f"| {n} | {'x'.join(map(str, s))} | {k} | {count_masked(n, s, k):,} |\n"
        for n, s, k in MASKED
    )


def autoencoder_rows():
    return "".join(
        f"| {variant} | {'x'.join(map(str, shape))} | {count_autoencoder(variant):,} |\n"
        for variant, shape in AUTOENCODERS.items()
    )


def translator_rows():
    rows = [
        ("generator, 9 blocks", 3, count_translator({}, 3)),
        ("generator, 6 blocks", 3, count_translator(dict(blocks=6), 3)),
        ("generator, 9 blocks", 1, count_translator({}, 1)),
        ("discriminator, 3 layers", 3, count_discriminator(3)),
        ("discriminator, 3 layers", 1, count_discriminator(1)),
        ("heads, width 256", 3, count_heads(3)),
    ]
    return "".join(f"| {name} | {channels} | {n:,} |\n" for name, channels, n in rows)


def main(_):
    text = HEADER + classifier_rows() + GENERATOR_HEADER + generator_rows()
    text += DIT_HEADER + dit_rows() + DRIFTING_HEADER + drifting_rows()
    text += MASKED_HEADER + masked_rows() + AUTOENCODER_HEADER + autoencoder_rows()
    text += TRANSLATOR_HEADER + translator_rows()
    print(text, end="")
    pathlib.Path(OUT.value).write_text(text)


if __name__ == "__main__":
    cli.run(main)
