"""Full-size networks have exactly the published numbers of parameters."""

import json

import pytest
import script_modules
from places import GOLDEN

param_table = script_modules.load("param_table")

SONG = "py-meanflow SongUNet"
FILM = "DenoisingZoo UNet"
# The sizes are part of the names in the table, in words: no array contains them.
# Name in the reference table: (network, values). Networks that this project lacks are left out.
UNETS = {
    f"{SONG}, CIFAR config (model_channels 128, channel_mult [2,2,2], 4 blocks, attention at 16, "
    "noise mult 2, 1331 filter), no augmentation label": ("unet", dict(size="ncsnpp")),
    f"{SONG}, same with augment_dim 6": ("unet", dict(size="ncsnpp", augment_dim=6)),
    f"{FILM}, unet.yaml (128, [1,2,2,2], 3 blocks, attention 16 and 8)": (
        "film_unet",
        dict(size="film"),
    ),
    f"{FILM}, unet_official.yaml (128, [2,2,2], 4 blocks, attention 16 and 8)": (
        "film_unet",
        dict(size="film_wide"),
    ),
    f"{FILM}, constructor defaults (128, [1,2,2,2], 2 blocks, attention 16)": (
        "film_unet",
        dict(size="film", num_blocks=2, attention_resolutions=(16,)),
    ),
    f"{FILM}, unet.yaml with one shared time embedding": (
        "film_unet",
        dict(size="film", shared_time=True),
    ),
}
SHAPES = {("S", 2): " (32x32x4, 1000 classes)"}  # occurs once in each list
DITS = {
    f"{prefix} DiT-{size}/{patch}{SHAPES.get((size, patch), '')}": (size, patch, form)
    for prefix, form, sizes in (
        ("MeanFlow official", param_table.RELEASE, ("S/2", "B/2", "M/2", "L/2", "XL/2")),
        ("MeanFlow official", param_table.RELEASE, ("S/4", "B/4", "L/4", "XL/4")),
        ("DenoisingZoo", param_table.DENOISING_ZOO, ("S/2", "B/2", "L/2", "XL/2")),
        ("DenoisingZoo", param_table.DENOISING_ZOO, ("S/4", "B/4", "L/4", "XL/4")),
    )
    for size, patch in ((name[:-2], int(name[-1])) for name in sizes)
}
AUTOENCODER = (
    "AutoencoderKL (1028x64x64, chs [512,256,128], middle attention, z_channels 32, embed_dim 32)"
)


GENERATOR = "CUT ResnetGenerator"
DISCRIMINATOR = "CUT NLayerDiscriminator 3 layers, ndf 64,"
HEADS = "CUT PatchSampleF MLPs, nc 256, layers 0,4,8,12,16 of the ngf 64 generator"
# Name in the reference table: (channels, blocks, number).
TRANSLATORS = {
    f"{GENERATOR} 9 blocks, ngf 64, 3->3, instance norm": (3, 9, 11_378_179),
    f"{GENERATOR} 6 blocks, ngf 64, 3->3": (3, 6, 7_837_699),
    f"{GENERATOR} 9 blocks, ngf 64, 1->1": (1, 9, 11_365_633),
}
DISCRIMINATORS = {
    f"{DISCRIMINATOR} 3 channels, instance norm": (3, 2_764_737),
    f"{DISCRIMINATOR} 1 channel": (1, 2_762_689),
}


@pytest.fixture(scope="module")
def published():
    path = GOLDEN / "00_param_counts.json"
    if not path.exists():
        pytest.skip(f"no reference numbers at {path} (set GOLDEN_DIR)")
    return json.loads(path.read_text())


@pytest.mark.parametrize("row", UNETS)
def test_unets(published, row):
    name, values = UNETS[row]
    assert param_table.count_generator(name, values, (32, 32, 3), 0) == published[row]


@pytest.mark.parametrize("row", DITS)
def test_dits(published, row):
    assert param_table.count_dit(*DITS[row]) == published[row]


def test_autoencoder(published):
    assert param_table.count_autoencoder("mltools") == published[AUTOENCODER] == 27_289_893


RESAMPLING = pytest.mark.parametrize("resampling", ["antialias", "strided"])


@RESAMPLING
@pytest.mark.parametrize("row", TRANSLATORS)
def test_translators(published, row, resampling):
    channels, blocks, expected = TRANSLATORS[row]
    found = param_table.count_translator(dict(blocks=blocks, resampling=resampling), channels)
    assert found == published[row] == expected


@RESAMPLING
@pytest.mark.parametrize("row", DISCRIMINATORS)
def test_discriminators_of_patches(published, row, resampling):
    channels, expected = DISCRIMINATORS[row]
    found = param_table.count_discriminator(channels, resampling=resampling)
    assert found == published[row] == expected


def test_heads_of_patches(published):
    assert param_table.count_heads(3) == published[HEADS] == 560_384


def test_no_size_of_these_networks_is_left_out(published):
    ours = {row for row in published if row.startswith((SONG, FILM, "CUT")) or "DiT-" in row}
    # Counted in tests/models/test_drift_dit.py.
    drifting = {row for row in ours if row.startswith("DriftDiT-")}
    assert ours - drifting == {*UNETS, *DITS, *TRANSLATORS, *DISCRIMINATORS, HEADS}
