"""A generator with a known distribution, scored like a run, without training."""

import dataclasses

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from drifting.evaluation import record, scorer
from drifting.evaluation.checkpoints import CheckpointEvaluator
from drifting.evaluation.features import feature_function
from drifting.evaluation.generation import SampleProgram
from drifting.evaluation.settings import ScoreSettings
from drifting.training.mesh import batch_sharding
from input_pipeline import sources
from input_pipeline.sources import toy2d
from input_pipeline.space import Points


@dataclasses.dataclass
class Exact:
    """Draws from the eight Gaussians of the data, shifted by the step of the checkpoint."""

    workdir: object
    sampler_name: str = "euler-3"
    config = ConfigDict()

    def steps(self):
        return [0, 1]

    def restore(self, step):
        return {"shift": np.float32(step)}, {"loss": 0.25}

    def program(self, cfg_scale, ema, sharding):
        mixture = toy2d.mixture("gaussians")
        centres, deviation = mixture.centres.astype(np.float32), np.float32(mixture.deviations[0])

        def generate(state, key, labels):
            noise = jax.random.normal(key, (len(labels), 2))
            return jax.numpy.asarray(centres)[labels] + deviation * noise + state["shift"]

        return SampleProgram(generate, Points((2,)), sharding)

    def nfe(self, cfg_scale):
        return 3 if cfg_scale == 1.0 else 6

    def batch_sharding(self, batch_size):
        return batch_sharding(batch_size)


@pytest.fixture
def exact():
    """The class of runs that draw from the data's own distribution."""
    return Exact


@pytest.fixture
def points():
    whole = sources.load("toy2d:gaussians", "test", image_size=8, channels=1)
    return dataclasses.replace(whole, images=whole.images[:1500], labels=whole.labels[:1500])


@pytest.fixture
def score(points, tmp_path):
    """score(which, run, **settings) -> the rows of the table."""

    def make(which="all", run=None, skip=False, **changed):
        given = dict(
            num_samples=600, batch_size=256, cfg_scale=1.0, seed=0, features="pixels",
            fid_mode="clean", metrics=("fid", "energy", "prdc"),
        )  # fmt: skip
        run = run or Exact(tmp_path)
        settings = ScoreSettings(**given | changed)
        function = feature_function(settings.features, points.space, settings.fid_mode)
        scales = [settings.cfg_scale]
        scorers = scorer.make_scorers(run, points, None, function, settings, scales, [0])
        CheckpointEvaluator(run, lambda step: scorers, skip).score(which)
        return record.read(tmp_path)

    return make
