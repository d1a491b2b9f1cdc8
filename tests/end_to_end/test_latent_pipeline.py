"""Autoencoder, latents, generator in them, samples and scores: the networks of the configs."""

import jax
import numpy as np
import pytest
import small_runs

import drifting
from configs import drifting_digits_latent, meanflow_digits_latent, vae_digits
from drifting.evaluation import record
from drifting.runs import frozen
from input_pipeline import pixels

SHORT = small_runs.LOGGED | {
    "train.total_steps": 4,
    "train.sample_steps": 4,
    "train.checkpoint_steps": 4,
    "train.steps_per_call": 4,
    "data.source": "latents:latents",
    "optimizer.warmup_steps": 1,
    "eval.num_samples": 40,
    "eval.batch_size": 40,
}
AUTOENCODER = {
    "data.source": "digits",
    "method.batch_size": 32,
    "model.widths": (8, 8),
    "train.total_steps": 8,
    "train.checkpoint_steps": 8,
}


@pytest.mark.slow
@pytest.mark.parametrize("module", [drifting_digits_latent, meanflow_digits_latent])
def test_a_run_in_latents_from_end_to_end(module, one_block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    vae = vae_digits.get_config()
    vae.update_from_flattened_dict(SHORT | AUTOENCODER)
    drifting.train(vae, "vae")
    drifting.encode("vae", "latents")
    config = module.get_config()
    config.update_from_flattened_dict(SHORT)
    drifting.train(config, "run")

    run, labels = drifting.load("run"), np.arange(10, dtype=np.int32)
    found = run.sample(labels, seed=3)
    key = jax.random.fold_in(jax.random.key(3), 0)
    latents = jax.jit(run.sampler(1.0, True))(run.last[0], key, labels)
    codec = frozen.load_autoencoder("vae")
    offset, factor = (np.float32(getattr(run.facts.latents, n)) for n in ("mean", "std"))
    latents = np.asarray(latents) * factor + offset
    images = codec.decode(codec.parameters, latents)
    np.testing.assert_allclose(found.astype(int), pixels.to_uint8(images), atol=1)

    drifting.evaluate("run")
    (row,) = record.read(tmp_path / "run")
    assert row["data_set"] == "digits" and 0.0 <= row["knn_accuracy"] <= 1.0
