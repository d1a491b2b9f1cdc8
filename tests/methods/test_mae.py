"""Masked autoencoding: the mask, the loss on hidden squares, and training."""

import shutil

import facts
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import workdirs

import drifting
from configs import base, mae_imagenet_latent
from drifting import methods
from drifting.core.errors import ConfigError
from drifting.methods import mae
from drifting.runs import frozen
from input_pipeline import sources
from input_pipeline.space import Latents
from input_pipeline.streaming import Batch
from models import mae_resnet

FACTS = facts.make()


@pytest.fixture
def make(monkeypatch):
    small = dict(base_channels=8, blocks=(1, 1), stage_norm=False)
    monkeypatch.setitem(mae_resnet.SIZES, "mae_nano", small)

    def method(**changed):
        config = base.of("mae")
        values = {
            "model.size": "mae_nano",
            "method.batch_size": 32,
            "method.mask_patch": 2,
            "method.crop_padding": 0,
            "optimizer.warmup_steps": 5,
            "train.total_steps": 1000,
        }
        config.update_from_flattened_dict(values | changed)
        return methods.create(config, FACTS)

    return method


@pytest.fixture(scope="module")
def data():
    return sources.load("digits", image_size=8, channels=1).to_device()


def test_squares_are_hidden_whole_and_as_often_as_asked():
    mask = np.asarray(mae.square_mask(jax.random.key(0), (500, 8, 12), 4, 0.5, 0.75))
    squares = mask.reshape(500, 2, 4, 3, 4)
    np.testing.assert_array_equal(squares, squares[:, :, :1, :, :1] + np.zeros((1, 1, 4, 1, 4)))
    assert set(np.unique(mask)) == {0.0, 1.0}
    # The share is uniform on [0.5, 0.75]; 3,000 squares.
    assert abs(mask.mean() - 0.625) < 4 * np.sqrt(0.25 / 3000)
    full = mae.square_mask(jax.random.key(0), (2, 8, 8), 4, 1.0, 1.0)
    np.testing.assert_array_equal(full, np.ones((2, 8, 8, 1)))


def test_the_loss_looks_at_hidden_values_alone():
    images, filled = jax.random.normal(jax.random.key(0), (2, 3, 8, 8, 3))
    mask = mae.square_mask(jax.random.key(1), (3, 8, 8), 2, 0.5, 0.5)
    loss = mae.reconstruction_loss(images, filled, mask)
    shown = filled + 100.0 * (1.0 - mask)
    np.testing.assert_allclose(mae.reconstruction_loss(images, shown, mask), loss, rtol=1e-6)
    hidden = np.broadcast_to(np.asarray(mask) == 1, images.shape)
    for i in range(3):
        error = np.square(np.asarray(filled - images)[i][hidden[i]])
        places = hidden[i][..., 0].sum()  # the release's denominator, without the channels
        np.testing.assert_allclose(loss[i], error.sum() / places, rtol=1e-5)
    assert mae.reconstruction_loss(images, filled, jnp.zeros_like(mask)).tolist() == [0, 0, 0]


@pytest.mark.slow
def test_the_loss_falls_and_pictures_show_it(make, data):
    method = make()
    state = jax.jit(method.init)(jax.random.key(0))
    step = jax.jit(method.train_step)
    losses = []
    for i in range(30):
        state, metrics = step(state, data, jax.random.fold_in(jax.random.key(1), i), {})
        losses.append(float(metrics["loss"]))
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])
    shown = method.summaries(state, jax.random.key(2), data, {})["reconstructions"]
    images, seen, filled = shown.images
    np.testing.assert_array_equal(np.where(seen == 0, 0, images), seen)
    assert np.abs(filled - images)[seen != 0].max() == 0.0
    assert np.abs(filled - images)[seen == 0].max() > 0.0


@pytest.mark.slow
def test_the_classification_loss_takes_its_share(make, data):
    both, one, none = (make(**{"method.classification_weight": w}) for w in (0.25, 1.0, 0.0))
    state = jax.jit(both.init)(jax.random.key(0))
    images, labels = data.draw(jax.random.key(1), 16)
    key, weight = jax.random.key(2), jnp.ones(16)
    mixed, alone, pixels = (
        m.scores(jax.jit(m.tally)(state, images, labels, weight, key)) for m in (both, one, none)
    )
    assert "accuracy" in mixed and "accuracy" not in pixels
    np.testing.assert_allclose(
        mixed["loss"], 0.25 * alone["loss"] + 0.75 * pixels["loss"], rtol=1e-5
    )


def test_the_last_steps_classify_with_a_weight_that_rises(make):
    method = make(
        **{
            "method.classification_weight": 0.1,
            "method.classification_last_steps": 300,
            "method.classification_warmup_steps": 100,
        }
    )
    steps = {0: 0.0, 699: 0.0, 700: 0.0, 725: 0.025, 800: 0.1, 999: 0.1, 1000: 0.1}
    for step, weight in steps.items():
        np.testing.assert_allclose(method.classification_weight(jnp.int32(step)), weight, rtol=1e-6)
    whole = make(**{"method.classification_weight": 0.1})
    assert whole.classification_weight(jnp.int32(0)) == 0.1


def test_an_encoder_is_the_averaged_network_without_its_decoder(make):
    method = make()
    state = jax.jit(method.init)(jax.random.key(0))
    state = state.replace(ema_params=jax.tree.map(lambda x: 2.0 * x, state.ema_params))
    parameters = method.encoder(state)
    assert set(parameters) == {"encoder", "classifier"}
    found = method.encode(parameters, jnp.ones((2, 8, 8, 1)))
    other = method.encode(state.params["autoencoder"], jnp.ones((2, 8, 8, 1)))
    assert found.maps["stage2"].shape == (2, 4, 4, 16)
    assert np.abs(found.maps["stage2"] - other.maps["stage2"]).max() > 1e-3


@pytest.mark.parametrize(
    "changed,message",
    [
        ({"method.mask_patch": 3}, "mask_patch = 3 does not divide"),
        ({"method.mask_ratio_min": 0.9}, "mask_ratio_min and mask_ratio_max"),
        ({"method.classification_weight": 1.5}, "classification_weight"),
        ({"method.classification_last_steps": -1}, "classification_last_steps = -1 is less than 0"),
        ({"method.classification_last_steps": 1001}, "1001 is more than the run's 1000 steps"),
        ({"model.size": "mae_mano"}, "did you mean 'mae_nano'"),
    ],
)
def test_values_that_cannot_be_name_their_key(make, changed, message):
    with pytest.raises(ConfigError, match=message):
        make(**changed)


@pytest.fixture
def latents(tmp_path, monkeypatch):
    """train(name, steps) -> workdir of a run of a tiny network on streamed random moments."""
    small = dict(base_channels=8, blocks=(1, 1), stage_norm=False)
    monkeypatch.setitem(mae_resnet.SIZES, "mae_640", small)
    rng = np.random.default_rng(0)
    np.save(tmp_path / "train_moments.npy", rng.standard_normal((40, 8, 8, 8), np.float32))
    np.save(tmp_path / "train_labels.npy", np.arange(40) % 4)

    def train(name, steps):
        config = mae_imagenet_latent.get_config("640")
        config.update_from_flattened_dict(
            {
                "data.source": f"latents:{tmp_path}",
                "data.image_size": 8,
                "data.flip": False,  # npy files hold no latents of mirror images
                "precision": "float32",
                "method.batch_size": 16,
                "method.classification_last_steps": 2,
                "method.classification_warmup_steps": 1,
                "optimizer.warmup_steps": 2,
                "mesh.data": 1,
                "train.total_steps": steps,
                "train.sample_steps": 2,
                "train.checkpoint_steps": 2,
                "train.log_steps": 1,
                "train.tensorboard": False,
            }
        )
        drifting.train(config, tmp_path / name)
        return tmp_path / name

    return train


@pytest.mark.slow
def test_an_autoencoder_of_streamed_latents_resumes_and_is_an_encoder(latents):
    whole = latents("whole", 4)
    rows = [row for row in workdirs.rows(whole) if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    for row, weight in zip(rows, (0.0, 0.0, 0.0, 0.1), strict=True):
        mixed = weight * row["classification"] + (1.0 - weight) * row["reconstruction"]
        np.testing.assert_allclose(row["loss"], mixed, rtol=1e-5)
    shutil.rmtree(whole / "checkpoints" / "4")
    again = latents("whole", 4)  # from step 2
    assert workdirs.losses(again)[2:] == [row["loss"] for row in rows[2:]]
    assert list((whole / "figures").rglob("*.png"))
    encoder = frozen.load_encoder(str(whole), (8, 8, 4))
    found = encoder.encode(encoder.parameters, jnp.ones((2, 8, 8, 4)))
    assert found.maps["stage1"].shape == (2, 8, 8, 8)


def test_latents_are_not_padded_with_black_and_are_shown_in_three_colours():
    config, given = base.of("mae"), facts.make(Latents((8, 8, 4)))
    with pytest.raises(ConfigError, match="crop_padding = 4 pads with black, which latents do not"):
        methods.create(config, given)
    config.method.crop_padding = 0
    config.model.size = "mae_nano"
    method = methods.create(config, given)
    state = jax.eval_shape(method.init, jax.random.key(0))
    batch = Batch(jnp.zeros((5, 8, 8, 4)), jnp.zeros(5, jnp.int32), given.space)
    shown = jax.eval_shape(method.summaries, state, jax.random.key(1), batch, {})
    assert shown["reconstructions"].images.shape == (3, 5, 8, 8, 3)


@pytest.mark.slow  # tests/methods/test_classifier.py has a fast one
def test_a_batch_in_parts_is_a_step_of_the_whole(make, data):
    """With every square hidden, masks are not random, so parts and whole are comparable."""
    hidden = {"method.mask_ratio_min": 1.0, "method.mask_ratio_max": 1.0}
    whole, parts = make(**hidden), make(**hidden, **{"method.micro_batches": 4})
    state = jax.jit(whole.init)(jax.random.key(0))
    key = jax.random.key(1)
    a, b = (jax.jit(method.train_step)(state, data, key, {})[1] for method in (whole, parts))
    np.testing.assert_allclose(a["loss"], b["loss"], rtol=1e-5)
    np.testing.assert_allclose(a["grad_norm"], b["grad_norm"], rtol=1e-4)
    with pytest.raises(ConfigError, match="micro_batches = 5 does not divide"):
        make(**{"method.micro_batches": 5})
