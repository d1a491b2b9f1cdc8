"""JAX settings that must be made before it starts."""

import os

import jax

from drifting.core.files import cache_dir

# For GPU programs that are identical from run to run: no atomics in scatters and reductions, and no
# autotuning, which may pick another kernel (another order of sums) in another process.
DETERMINISTIC_GPU = ("--xla_gpu_deterministic_ops=true", "--xla_gpu_autotune_level=0")


def configure(deterministic: bool = False) -> None:
    """Turns on the persistent compilation cache and, if asked, deterministic GPU programs.

    CPU and TPU programs are deterministic anyway. The cache folder is readable by its owner alone,
    because a cache that others can write to runs their code.
    """
    if deterministic:
        flags = os.environ.get("XLA_FLAGS", "").split()
        missing = [f for f in DETERMINISTIC_GPU if f not in flags]
        os.environ["XLA_FLAGS"] = " ".join(flags + missing)
    folder = cache_dir() / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return  # no cache, only slower starts
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)
