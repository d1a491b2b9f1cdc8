"""A finished run opens anywhere: without its data, in a notebook, with the library alone."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from PIL import Image

import drifting
from drifting.core import config as config_lib
from drifting.runs.workdir import WorkdirError
from input_pipeline.space import Pixels


@pytest.fixture
def moved(run_copy):
    """Workdir of a finished run whose data are no longer there."""
    path = run_copy / "config.json"
    config, facts = config_lib.read(path)
    config.data.source = "npz:/gone/data.npz"
    config_lib.write(path, config, facts)
    return run_copy


def test_a_run_without_its_data_is_sampled(moved, tmp_path):
    run = drifting.load(moved)
    images = run.sample(labels=range(10), seed=0)
    assert images.shape == (10, 8, 8, 1) and images.dtype == np.uint8
    np.testing.assert_array_equal(images, run.sample(range(10), 0))
    assert np.any(images != run.sample(range(10), 1))
    assert (run.facts.space, run.facts.num_classes) == (Pixels((8, 8, 1)), 10)
    assert Image.open(drifting.sample(moved, 8, tmp_path / "x.png")).width > 100
    with pytest.raises(WorkdirError, match=r"labels \[10\]: the run has 10 classes"):
        run.sample([3, 10])


def test_scoring_says_which_data_are_missing(moved):
    with pytest.raises(drifting.UserError, match="no file .*data.npz"):
        drifting.evaluate(moved, num_samples=20)


def python(code, cwd):
    environment = {**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=0"}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_library_loads_nothing(tmp_path):
    out = python(
        """
        import sys, drifting
        assert "jax" not in sys.modules and "numpy" not in sys.modules
        assert {"train", "load", "fields", "metrics"} <= set(dir(drifting))
        drifting.metrics.frechet.frechet_distance, drifting.fields.kernel.drift
        drifting.flows.solvers.solve, drifting.methods.create
        print("jax" in sys.modules, "tensorflow" in sys.modules)
        """,
        tmp_path,
    )
    assert out.split() == ["True", "False"]
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        drifting.trian  # noqa: B018


@pytest.mark.slow  # tests/test_extend.py trains a config of another tree
def test_a_config_outside_the_tree_needs_the_library_alone(tmp_path):
    (tmp_path / "mine.py").write_text(
        textwrap.dedent(
            """
            from drifting.core.config import of

            def get_config():
                config = of("meanflow", "cnn")
                config.model.width, config.model.depth = 8, 1
                config.method.batch_size = 16
                config.train.total_steps = 3
                config.train.tensorboard = False
                return config
            """
        )
    )
    out = python(
        """
        import sys, mine, drifting
        drifting.train(mine.get_config(), "run")
        print(drifting.load("run").sample([1, 2]).shape, "configs" in sys.modules)
        """,
        tmp_path,
    )
    assert out.strip() == "(2, 8, 8, 1) False"
