"""JAX settings that must be made before it starts."""

import os

import jax
import jaxlib.version

from drifting.core.files import cache_dir

# For GPU programs that are identical from run to run: no atomics in scatters and reductions, and no
# autotuning, which may pick another kernel (another order of sums) in another process.
DETERMINISTIC_GPU = ("--xla_gpu_deterministic_ops=true", "--xla_gpu_autotune_level=0")

# XLA's library for CPUs (YNNPACK) is fast at small padded convolutions. It takes 4 to 30 times as
# long as XLA's other path without padding (a 3x3 convolution of 256 channels at 64 x 64: 53 ms, and
# 11 ms without it), and up to 4 times as long for gradients of the kernels of large maps. The
# default has INDIVIDUAL_CONVOLUTION as well.
CPU_LIBRARY = "--xla_cpu_experimental_ynn_fusion_type"
CPU_LIBRARY_FOR = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
CPU_LIBRARY_IN = (0, 10)  # the version of jaxlib; others may end the process at an unknown flag


def configure(deterministic: bool = False, large_maps: bool = False) -> None:
    """Turns on the persistent compilation cache and, if asked, deterministic GPU programs.

    CPU and TPU programs are deterministic anyway. The cache folder is readable by its owner alone,
    because a cache that others can write to runs their code.

    Args:
      large_maps: chooses what is faster on CPUs for convolutions of large maps.
    """
    os.environ["XLA_FLAGS"] = xla_flags(os.environ.get("XLA_FLAGS", ""), deterministic, large_maps)
    folder = cache_dir() / "xla"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError:
        return  # no cache, only slower starts
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 1.0)


def xla_flags(given: str, deterministic: bool, large_maps: bool) -> str:
    """The flags of the environment and ours; a choice of the user's stays."""
    flags = given.split()
    wanted = list(DETERMINISTIC_GPU) if deterministic else []
    known = jaxlib.version.__version_info__[:2] == CPU_LIBRARY_IN
    if large_maps and known and CPU_LIBRARY not in given:
        wanted.append(f"{CPU_LIBRARY}={CPU_LIBRARY_FOR}")
    return " ".join(flags + [f for f in wanted if f not in flags])
