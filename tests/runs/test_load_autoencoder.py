"""An autoencoder trained here, loaded by its workdir to encode and decode."""

import exact_latents
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import drifting
from drifting.core.errors import ConfigError
from drifting.runs import frozen
from input_pipeline.space import Pixels


@pytest.fixture
def workdir(monkeypatch, tmp_path):
    exact_latents.register(monkeypatch)
    drifting.train(exact_latents.config("linear"), tmp_path / "linear")
    return tmp_path / "linear"


def test_a_codec_encodes_and_decodes(workdir):
    codec = frozen.load_autoencoder(str(workdir))
    assert codec.image_space == Pixels((8, 8, 1)) and codec.latent_shape == (4, 4, 4)
    images = jax.random.uniform(jax.random.key(0), (3, 8, 8, 1), minval=-1.0)
    moments = codec.moments(codec.parameters, images)
    assert moments.shape == (3, 4, 4, 8)
    gain, offset = (np.asarray(codec.parameters[name]) for name in ("gain", "offset"))
    expected = exact_latents.blocks_of(np.asarray(images)) * gain + offset
    np.testing.assert_allclose(np.asarray(moments)[..., :4], expected, rtol=1e-6)
    decoded = codec.decode(codec.parameters, moments[..., :4])
    np.testing.assert_allclose(decoded, images, atol=1e-6)


def test_its_identity_is_that_of_its_parameters(workdir, tmp_path):
    codec = frozen.load_autoencoder(str(workdir))
    assert codec.identity.endswith(":float32:2")
    assert frozen.load_autoencoder(str(workdir)).identity == codec.identity
    drifting.train(exact_latents.config("linear", seed=1), tmp_path / "other")
    other = frozen.load_autoencoder(str(tmp_path / "other"))
    assert other.identity != codec.identity
    assert jnp.any(other.parameters["gain"] != codec.parameters["gain"])


def test_what_is_no_autoencoder_is_refused(finished_run, tmp_path):
    with pytest.raises(ConfigError, match="no autoencoder at .*nowhere: .*config.data.autoencoder"):
        frozen.load_autoencoder(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="method 'drifting', which is not an autoencoder"):
        frozen.load_autoencoder(str(finished_run))
