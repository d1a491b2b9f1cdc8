"""A strict session: eight virtual CPU devices, no silent promotion of types or ranks."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
).strip()

import pathlib

import jax
import numpy as np
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = pathlib.Path(os.environ.get("GOLDEN_DIR", ROOT / "../shared/golden"))
TFDS_DATA = pathlib.Path(os.environ.get("TFDS_DATA_DIR", ROOT / "../shared/data/tfds"))


@pytest.fixture(scope="session", autouse=True)
def compiled_once(tmp_path_factory):
    """A program that several tests compile is compiled once a session."""
    jax.config.update("jax_compilation_cache_dir", str(tmp_path_factory.mktemp("xla")))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


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
