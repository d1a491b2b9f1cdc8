"""Every generating method steps on encoded latents, on the device or streamed."""

import exact_latents
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import drifting
from drifting.core import config as config_lib
from drifting.runs import build
from drifting.runs.encode import encode
from input_pipeline.streaming import Batch

DRIFTING = {"method.num_generated": 2, "method.num_positives": 2, "method.num_unconditional": 1}
QUEUE = {"method.queue_size": 4, "method.queue_push": 64, "data.streaming": True}
MEANFLOW = {"method.batch_size": 16, "model.size": "nano"}
FLOW = {"method.share_r_neq_t": 0.0, "method.sampler": "euler", "data.streaming": True}


@pytest.fixture(scope="module")
def latents(tmp_path_factory):
    """The config keys of mirrored digits in latents [4, 4, 4]."""
    with pytest.MonkeyPatch.context() as patch:
        exact_latents.register(patch)
        folder = tmp_path_factory.mktemp("latents")
        drifting.train(exact_latents.config("linear"), folder / "linear")
        encode(folder / "linear", folder / "set", flip=True)
        yield {
            "data.source": f"latents:{folder / 'set'}",
            "data.image_size": 4,
            "data.channels": 4,
            "data.flip": True,
            "data.read_threads": 1,
            "model.patch_size": 2,
            "mesh.data": 1,
        }


@pytest.mark.parametrize(
    ("method", "changed"),
    [
        ("drifting", DRIFTING),
        ("drifting", DRIFTING | QUEUE),
        ("meanflow", MEANFLOW),
        ("meanflow", MEANFLOW | FLOW),
    ],
)
def test_a_method_steps_on_latents(small_config, latents, method, changed):
    """A step is traced, not compiled, which would take most of a minute."""
    config = small_config() if method == "drifting" else config_lib.of("meanflow", "dit")
    config.update_from_flattened_dict(latents | changed)
    parts = build.build(config)
    assert not parts.method.flip  # the data hold the latents of mirror images
    np.testing.assert_allclose(parts.facts.std, np.ones(4), rtol=0.1)  # standardised
    if config.data.streaming:
        data = next(parts.data.batches(parts.method.stream_batch, 0, 1))
        assert isinstance(data, Batch)
    else:
        data = parts.data.to_device()
        assert data.mirrored.shape == data.images.shape == (1497, 4, 4, 4)
    key = jax.random.key(0)
    state = jax.eval_shape(parts.method.init, key)
    if "queue" in state.extra:
        assert state.extra["queue"].images.dtype == jnp.float32
    after, metrics = jax.eval_shape(parts.method.train_step, state, data, key, {})
    assert jax.tree.map(lambda x: (x.shape, x.dtype), after) == jax.tree.map(
        lambda x: (x.shape, x.dtype), state
    )
    assert metrics["loss"].shape == ()
