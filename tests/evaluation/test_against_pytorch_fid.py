"""The whole score beside pytorch-fid's, on the same images and the same random weights."""

import numpy as np
import pytest
from PIL import Image

from drifting.evaluation import extraction
from drifting.evaluation.features import feature_function, inception_features
from drifting.evaluation.folders import score_folders
from drifting.evaluation.settings import ScoreSettings
from drifting.pretrained import files, inception
from drifting.training.mesh import batch_sharding
from input_pipeline import sources

COUNT = 96


@pytest.fixture(scope="module")
def pytorch_fid(torchvision):
    """(fid_score, inception) of pytorch-fid."""
    fid_score = pytest.importorskip("pytorch_fid.fid_score")
    return fid_score, pytest.importorskip("pytorch_fid.inception")


@pytest.fixture(scope="module")
def folders(tmp_path_factory, tfds_data_dir):
    """Two folders of real CIFAR-10 images."""
    import os

    os.environ.setdefault("TFDS_DATA_DIR", str(tfds_data_dir))
    root = tmp_path_factory.mktemp("images")
    found = []
    for split, name in (("train", "a"), ("test", "b")):
        images = sources.load("tfds:cifar10", split, image_size=32, channels=3).images
        folder = root / name
        folder.mkdir()
        for i, image in enumerate(images[:COUNT]):
            Image.fromarray(image).save(folder / f"{i:04d}.png")
        found.append(folder)
    return found


@pytest.fixture
def their_model(pytorch_fid, inception_state, monkeypatch):
    """pytorch-fid's network with our weights."""
    import torch

    _, network = pytorch_fid
    monkeypatch.setattr(
        network, "load_state_dict_from_url",
        lambda *_, **__: {k: torch.from_numpy(v) for k, v in inception_state.items()},
    )  # fmt: skip
    return network.InceptionV3([network.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]).eval()


def test_features_of_images(their_model, inception_state):
    import torch

    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    features = inception_features(inception.to_params(inception_state), "legacy_pytorch")
    ours = np.asarray(extraction.extract(features.apply, images).features)
    with torch.inference_mode():
        x = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)) / 255.0).float()
        theirs = their_model(x)[0][:, :, 0, 0].numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


@pytest.mark.slow
def test_frechet_distance_of_two_folders(
    pytorch_fid, their_model, inception_state, folders, tmp_path, monkeypatch
):
    fid_score, _ = pytorch_fid
    theirs = [
        fid_score.calculate_activation_statistics(
            sorted(folder.iterdir()), their_model, batch_size=32, num_workers=0
        )
        for folder in folders
    ]
    expected = fid_score.calculate_frechet_distance(*theirs[0], *theirs[1])

    monkeypatch.setenv("DRIFTING_CACHE", str(tmp_path))
    files.write(inception_state, inception.default_path())
    real, fake = map(sources.load_unresized, folders)
    function = feature_function("inception", real.space, "legacy_pytorch")
    settings = ScoreSettings(batch_size=32, metrics=("fid",))
    row = score_folders(real, fake, function, settings, batch_sharding(1))
    assert row["frechet_distance"] == pytest.approx(expected, rel=1e-3)
