"""A strict session: eight virtual CPU devices, no silent promotion of types or ranks."""

import hashlib
import json
import os
import shutil

os.environ["JAX_PLATFORMS"] = "cpu"
# Most of the time of a test is compilation, so little is optimised; the tests of the entry points
# run processes with the default flags.
FLAGS = "--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}".strip()

import jax
import numpy as np
import pytest
import small_runs
from one_block import ONE_BLOCK
from places import GOLDEN, TFDS_DATA

import drifting
from drifting.core import files
from drifting.pretrained import inception
from models import classifiers, drift_dit

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def session_folder(tmp_path_factory):
    """A temporary folder that all workers of the session share."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session", autouse=True)
def caches(session_folder):
    """Keeps compiled programs and decoded data for the whole session."""
    os.environ["DRIFTING_CACHE"] = str(session_folder / "cache")
    jax.config.update("jax_compilation_cache_dir", str(session_folder / "xla"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)


@pytest.fixture(scope="session")
def make_once(session_folder, caches):
    """make_once(name, make) -> read-only folder that `make(folder)` fills once per session."""
    made = {}

    def get(name, make):
        folder = session_folder / f"once_{name}"
        with files.locked(f"{folder}.lock"):
            if not folder.exists():
                partial = folder.with_suffix(".partial")
                shutil.rmtree(partial, ignore_errors=True)
                make(partial)
                partial.rename(folder)
        made.setdefault(folder, _listing(folder))
        return folder

    yield get
    for folder, before in made.items():
        assert _listing(folder) == before, f"a test changed {folder}: it has to use a copy"


def _listing(folder):
    """Size and time of change of each file."""
    found = {path: path.stat() for path in folder.rglob("*") if path.is_file()}
    return {path: (status.st_size, status.st_mtime_ns) for path, status in found.items()}


@pytest.fixture(scope="session")
def train_once(make_once):
    """train_once(config) -> read-only workdir of its finished run, trained once per session."""

    def train(config):
        text = json.dumps(config.to_dict(), sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:16]
        return make_once(name, lambda workdir: drifting.train(config, workdir))

    return train


@pytest.fixture(scope="session")
def golden():
    """golden(name) -> dict of arrays of reference numbers; skips if they are absent."""

    def load(name: str) -> dict[str, np.ndarray]:
        path = GOLDEN / name
        if not path.exists():
            pytest.skip(f"no reference numbers at {path} (set GOLDEN_DIR)")
        with np.load(path) as arrays:
            return dict(arrays)

    return load


@pytest.fixture(scope="session")
def tfds_data_dir():
    """The folder of prepared TFDS data sets; skips if it is absent."""
    if not TFDS_DATA.exists():
        pytest.skip(f"no prepared data sets at {TFDS_DATA} (set TFDS_DATA_DIR)")
    return TFDS_DATA


@pytest.fixture
def one_block(monkeypatch):
    """Cuts the smallest DriftDiT to one block, which is enough to train and to resume."""
    monkeypatch.setitem(drift_dit.SIZES, "nano", ONE_BLOCK)


@pytest.fixture
def small_config(one_block):
    """small_config(**values by dotted key) -> config of a drifting model of 8x8 digits."""
    return small_runs.drifting


@pytest.fixture
def finished_run(small_config, train_once):
    """Read-only workdir of the run of `small_config()`: 12 steps, checkpoints at 0, 4, 8, 12."""
    return train_once(small_config())


@pytest.fixture
def run_copy(finished_run, tmp_path):
    """A copy of `finished_run` that a test may change."""
    return shutil.copytree(finished_run, tmp_path / "run")


@pytest.fixture
def train(small_config, tmp_path):
    """train(name, **changed) -> workdir in which the changed `small_config` was trained."""

    def run(name="run", **changed):
        drifting.train(small_config(**changed), tmp_path / name)
        return tmp_path / name

    return run


@pytest.fixture(scope="module")
def two_stages():
    """Cuts ResNet-18 to two stages of one block."""
    with pytest.MonkeyPatch.context() as patch:
        small = dict(blocks=(1, 1), bottleneck=False, width=64)
        patch.setitem(classifiers.RESNETS, "resnet18", small)
        yield


@pytest.fixture(scope="module")
def small_classifier(two_stages):
    """small_classifier(**values by dotted key) -> config of a classifier of 8x8 digits."""
    return small_runs.classifier


@pytest.fixture(scope="module")
def finished_classifier(small_classifier, train_once):
    """Read-only workdir of the run of `small_classifier()`: 12 steps."""
    return train_once(small_classifier())


@pytest.fixture(scope="module")
def finished_flow(train_once):
    """Read-only workdir of the run of `small_runs.meanflow()`: 8 steps on points in the plane."""
    return train_once(small_runs.meanflow())


@pytest.fixture(scope="session")
def torchvision():
    """The torchvision package; skips if it or PyTorch is not installed."""
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
    """Random weights for the FID Inception, scaled so that activations stay of order one."""
    generator = np.random.default_rng(0)

    def draw(key, shape):
        z = generator.standard_normal(shape, np.float32)
        if key.endswith("conv.weight"):
            return (z - z.mean()) * np.sqrt(2.0 / np.prod(shape[1:]))
        if key.endswith(("bn.weight", "running_var")):
            return 1.0 + 0.1 * np.abs(z)
        return z * np.sqrt(1.0 / 2048.0) if key == "fc.weight" else 0.1 * z

    return {k: np.asarray(draw(k, s), np.float32) for k, s in inception.state_shapes().items()}
