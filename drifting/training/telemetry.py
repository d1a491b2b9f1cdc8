"""Readings for each row of metrics: memory of the host and the devices, and the state of GPUs.

They are readings of one moment, not means, and none of them waits for a device.
"""

import contextlib
import ctypes
import functools
import logging
import math
import pathlib
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax

log = logging.getLogger(__name__)

GIB = 2**30
STATUS = pathlib.Path("/proc/self/status")
# Not ru_maxrss of getrusage: it starts from the memory of the process that started this one.
HOST = {"host_memory_gib": "VmRSS", "host_memory_peak_gib": "VmHWM"}
DEVICES = {"device_memory_gib": "bytes_in_use", "device_memory_peak_gib": "peak_bytes_in_use"}
GPUS: dict[str, Callable[[Any, Any], float]] = {  # of (nvml, handle)
    "gpu_utilization_percent": lambda nvml, gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu,
    "gpu_power_watts": lambda nvml, gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,
    "gpu_temperature_celsius": lambda nvml, gpu: nvml.nvmlDeviceGetTemperature(
        gpu, nvml.NVML_TEMPERATURE_GPU
    ),
}
NAMES = (*HOST, *DEVICES, *GPUS)  # the columns that a row may have
GPU_STATE = "state of the GPUs"
PERIOD = 1.0  # seconds between two readings of the GPUs
STALE = 5.0  # seconds after which a reading of the GPUs no longer counts


class Telemetry:
    """Reads the host and the devices of a run; what fails once is left out from there on.

    Args:
      devices: those of the run that this process drives.
    """

    def __init__(self, devices: Sequence[jax.Device]):
        self._sources: dict[str, Callable[[], dict[str, float]]] = {
            "host memory": host_memory,
            "device memory": functools.partial(device_memory, devices),
        }
        self._gpus = _watch(devices)
        if self._gpus:
            self._sources[GPU_STATE] = self._gpus.latest

    def row(self) -> dict[str, float]:
        """The readings of this moment, by name: those of NAMES that there are."""
        row = {}
        for name, read in list(self._sources.items()):
            try:
                row |= read()
            except Exception as error:
                del self._sources[name]
                _warn(name, error)
        return row

    def close(self) -> None:
        if self._gpus:
            self._gpus.close()


def host_memory() -> dict[str, float]:
    """Resident memory of this process and its peak, in GiB; empty on systems other than Linux."""
    if sys.platform != "linux":
        return {}
    kib = dict(re.findall(r"^(\w+):\s+(\d+) kB$", STATUS.read_text(), re.MULTILINE))
    return {name: int(kib[key]) * 1024 / GIB for name, key in HOST.items() if key in kib}


def device_memory(devices: Sequence[jax.Device]) -> dict[str, float]:
    """Memory in use and its peak, in GiB, each of the device with the most; empty on CPUs."""
    stats = [device.memory_stats() or {} for device in devices]
    found = {name: [s[key] for s in stats if key in s] for name, key in DEVICES.items()}
    return {name: max(values) / GIB for name, values in found.items() if values}


def _warn(source: str, error: Exception) -> None:
    reason = str(error).partition("\n")[0] or type(error).__name__
    log.warning("telemetry: the %s is not logged from here on: %s", source, reason)


def _watch(devices: Sequence[jax.Device]) -> "_Gpus | None":
    """Begins to read the GPUs; None if they are not NVIDIA's, or cannot be read."""
    if not any("cuda" in device.client.platform_version for device in devices):
        return None
    try:
        import pynvml

        return _Gpus(pynvml, devices)
    except ImportError:
        log.info("nvidia-ml-py is not installed: no utilization, power and temperature of GPUs")
    except Exception as error:
        _warn(GPU_STATE, error)
    return None


class _Gpus:
    """The last readings of the GPUs, taken by a thread: NVML can take milliseconds per call."""

    def __init__(self, nvml: Any, devices: Sequence[jax.Device]):
        self._nvml, self._devices = nvml, devices
        self._taken: tuple[float, dict[str, float]] = (-math.inf, {})
        self._error: Exception | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._work, name="telemetry", daemon=True)
        self._thread.start()

    def latest(self) -> dict[str, float]:
        """The last readings; empty before the first ones, and while NVML does not answer."""
        if self._error:
            raise self._error
        taken, row = self._taken
        return row if time.monotonic() - taken < STALE else {}

    def close(self) -> None:
        self._closing.set()
        self._thread.join(timeout=STALE)

    def _work(self) -> None:
        try:
            self._nvml.nvmlInit()
            addresses = [pci_address(device.local_hardware_id) for device in self._devices]
            gpus = [self._nvml.nvmlDeviceGetHandleByPciBusId(a) for a in addresses]
            while True:
                began = time.monotonic()
                self._taken = began, gpu_state(self._nvml, gpus)
                if self._closing.wait(PERIOD):
                    return
        except Exception as error:
            self._error = error


def gpu_state(nvml: Any, gpus: Sequence[Any]) -> dict[str, float]:
    """The highest of each of GPUS; what one of the GPUs does not support is left out.

    Args:
      gpus: handles of NVML.
    """
    row = {}
    for name, read in GPUS.items():
        with contextlib.suppress(nvml.NVMLError_NotSupported):  # utilization with MIG, for one
            row[name] = float(max(read(nvml, gpu) for gpu in gpus))
    return row


def pci_address(ordinal: int) -> bytes:
    """The PCI address of a CUDA device, by which NVML finds the same GPU.

    Their numbers differ: CUDA's follow CUDA_VISIBLE_DEVICES and CUDA_DEVICE_ORDER, NVML's do not.
    """
    cuda = ctypes.CDLL("libcuda.so.1")  # which JAX has loaded and initialised
    device, address = ctypes.c_int(), ctypes.create_string_buffer(32)
    error = cuda.cuDeviceGet(ctypes.byref(device), ordinal)
    error = error or cuda.cuDeviceGetPCIBusId(address, len(address), device)
    if error:
        raise OSError(f"the CUDA driver does not give the PCI address of device {ordinal} "
                      f"(error {error})")  # fmt: skip
    return address.value
