"""Every method of generation trains in encoded latents, on the device or streamed."""

import exact_latents
import numpy as np
import pytest

import drifting
from drifting.core import config as config_lib
from drifting.runs.encode import encode
from drifting.training import checkpoints, writers

SHORT = {
    "mesh.data": 1,
    "train.total_steps": 2,
    "train.sample_steps": 2,
    "train.checkpoint_steps": 2,
    "train.log_steps": 1,
    "train.tensorboard": False,
    "model.patch_size": 2,
}
DRIFTING = {"method.num_generated": 2, "method.num_positives": 2, "method.num_unconditional": 1}
QUEUE = {"method.queue_size": 4, "method.queue_push": 64}
MEANFLOW = {"method.batch_size": 16, "method.num_diagnosed": 4, "model.size": "nano"}
FLOW = {"method.share_r_neq_t": 0.0, "method.sampler": "euler"}


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
        }


@pytest.mark.parametrize(
    ("method", "changed"),
    [
        ("drifting", DRIFTING),
        ("drifting", DRIFTING | QUEUE | {"data.streaming": True}),
        ("meanflow", MEANFLOW),
        ("meanflow", MEANFLOW | FLOW | {"data.streaming": True}),
    ],
)
def test_a_method_trains_in_latents(small_config, latents, tmp_path, method, changed):
    config = small_config() if method == "drifting" else config_lib.of("meanflow", "dit")
    config.update_from_flattened_dict(SHORT | latents | changed)
    drifting.train(config, tmp_path / "run")
    assert checkpoints.valid_steps(tmp_path / "run" / "checkpoints") == [0, 2]
    rows = writers.read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert all(np.isfinite(row["loss"]) for row in rows if "loss" in row)
