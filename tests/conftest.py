"""A strict session: eight virtual CPU devices, no silent promotion of types or ranks."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
# Most of a test's time is compilation, so little is optimised; the entry points' own tests run
# processes with the defaults.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}".strip()

import jax
import numpy as np
import pytest
from places import GOLDEN, TFDS_DATA

import drifting
from configs import classifier_digits, digits
from drifting.pretrained import inception
from models import classifiers, drift_dit

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session", autouse=True)
def made_once(tmp_path_factory):
    """What several tests compile or decode is kept for the session, for all of its workers."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    os.environ["DRIFTING_CACHE"] = str(folder / "cache")
    jax.config.update("jax_compilation_cache_dir", str(folder / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="session")
def golden():
    """golden(name) -> dict of arrays of reference numbers; skips where they are absent."""

    def load(name: str) -> dict[str, np.ndarray]:
        path = GOLDEN / name
        if not path.exists():
            pytest.skip(f"no reference numbers at {path} (set GOLDEN_DIR)")
        with np.load(path) as arrays:
            return dict(arrays)

    return load


@pytest.fixture(scope="session")
def tfds_data_dir():
    """Folder of prepared TFDS data sets; skips where it is absent."""
    if not TFDS_DATA.exists():
        pytest.skip(f"no prepared data sets at {TFDS_DATA} (set TFDS_DATA_DIR)")
    return TFDS_DATA


@pytest.fixture
def one_block(monkeypatch):
    """Most of a test's time is compilation: one block is enough to train and to resume."""
    monkeypatch.setitem(drift_dit.SIZES, "nano", dict(hidden_size=64, depth=1, num_heads=2))


@pytest.fixture
def small_config(one_block):
    """small_config(**values by dotted key) -> a run of seconds, on 8x8 digits and one device."""

    def make(**changed):
        config = digits.get_config()
        values = {
            "mesh.data": 1,
            "method.num_generated": 4,
            "method.num_positives": 4,
            "method.num_unconditional": 2,
            "train.total_steps": 12,
            "train.log_steps": 1,
            "train.sample_steps": 6,
            "train.checkpoint_steps": 4,
            "train.steps_per_call": 4,
            "train.tensorboard": False,
        }
        config.update_from_flattened_dict(values | changed)
        return config

    return make


@pytest.fixture(scope="module")
def two_stages():
    """ResNet-18 is cut to two stages of one block."""
    with pytest.MonkeyPatch.context() as patch:
        small = dict(blocks=(1, 1), bottleneck=False, width=64)
        patch.setitem(classifiers.RESNETS, "resnet18", small)
        yield


@pytest.fixture(scope="module")
def small_classifier(two_stages):
    """small_classifier(**values by dotted key) -> a run of seconds, on 8x8 digits."""

    def make(**changed):
        config = classifier_digits.get_config()
        values = {
            "mesh.data": 1,
            "model.width": 0.125,
            "method.batch_size": 32,
            "optimizer.warmup_steps": 2,
            "train.total_steps": 12,
            "train.log_steps": 1,
            "train.sample_steps": 12,
            "train.checkpoint_steps": 4,
            "train.tensorboard": False,
        }
        config.update_from_flattened_dict(values | changed)
        return config

    return make


@pytest.fixture
def train(small_config, tmp_path):
    """train(name, **changed) -> workdir of a finished run."""

    def run(name="run", **changed):
        drifting.train(small_config(**changed), tmp_path / name)
        return tmp_path / name

    return run


@pytest.fixture(scope="session")
def torchvision():
    """The package with its networks, beside PyTorch; skips where one is not installed."""
    pytest.importorskip("torch")
    try:
        import torchvision
    except RuntimeError:  # a CPU build of PyTorch lacks its operators; the networks need none
        from torch import library as operators

        library = operators.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision
    except ImportError:
        pytest.skip("no torchvision")
    return torchvision


@pytest.fixture(scope="session")
def inception_state():
    """Weights of the FID Inception that are made, not trained: activations stay of order one."""
    generator = np.random.default_rng(0)

    def draw(key, shape):
        z = generator.standard_normal(shape, np.float32)
        if key.endswith("conv.weight"):
            return (z - z.mean()) * np.sqrt(2.0 / np.prod(shape[1:]))
        if key.endswith(("bn.weight", "running_var")):
            return 1.0 + 0.1 * np.abs(z)
        return z * np.sqrt(1.0 / 2048.0) if key == "fc.weight" else 0.1 * z

    return {k: np.asarray(draw(k, s), np.float32) for k, s in inception.state_shapes().items()}
