"""Readings of memory and GPUs in the rows of a run: the right values, and never an error."""

import ctypes
import json
import logging
import sys
import threading
import time
import types

import jax
import pytest
import weight_run

from drifting.training import checkpoints, loop, telemetry, writers
from drifting.training.schedule import Schedule
from drifting.training.telemetry import GIB, Telemetry

HOST = {"host_memory_gib", "host_memory_peak_gib"}


def device(ordinal=0, stats=None, platform="cpu"):
    return types.SimpleNamespace(
        memory_stats=lambda: stats,
        local_hardware_id=ordinal,
        client=types.SimpleNamespace(platform_version=platform),
    )


def cuda(ordinal):
    return device(ordinal, platform="PJRT C API\ncuda 12090")


class NotSupported(Exception):
    pass


class Nvml:
    """Two GPUs, which NVML numbers in the order of their PCI addresses."""

    NVMLError_NotSupported = NotSupported
    NVML_TEMPERATURE_GPU = 0
    GPUS = {b"0000:3B:00.0": (10, 60_000, 30), b"0000:AF:00.0": (97, 312_500, 71)}
    broken = False

    def nvmlInit(self):
        pass

    def nvmlDeviceGetHandleByPciBusId(self, address):
        return self.GPUS[address]

    def nvmlDeviceGetUtilizationRates(self, gpu):
        return types.SimpleNamespace(gpu=gpu[0], memory=3)

    def nvmlDeviceGetPowerUsage(self, gpu):
        if self.broken:
            raise OSError("GPU is lost\nmore")
        return gpu[1]

    def nvmlDeviceGetTemperature(self, gpu, sensor):
        assert sensor == self.NVML_TEMPERATURE_GPU
        return gpu[2]


class Driver:
    """CUDA with the GPU of the higher PCI address first, as CUDA_VISIBLE_DEVICES=1,0 has it."""

    ADDRESSES = [b"0000:AF:00.0", b"0000:3B:00.0"]

    def cuDeviceGet(self, device, ordinal):
        device._obj.value = 7 + ordinal  # a handle, not a number
        return 0

    def cuDeviceGetPCIBusId(self, address, size, device):
        address.value = self.ADDRESSES[device.value - 7]
        return 0


@pytest.fixture
def nvml(monkeypatch):
    fake = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: {"libcuda.so.1": Driver()}[name])
    monkeypatch.setattr(telemetry, "PERIOD", 0.01)
    return fake


@pytest.fixture
def readings():
    """readings(devices) -> Telemetry, closed after the test."""
    made = []

    def make(devices):
        made.append(Telemetry(devices))
        return made[-1]

    yield make
    for one in made:
        one.close()


def settled(one, wanted):
    """The first row for which `wanted` holds, within seconds."""
    for _ in range(500):
        if wanted(row := one.row()):
            return row
        time.sleep(0.01)
    raise AssertionError(row)


@pytest.fixture
def warnings(caplog):
    caplog.set_level(logging.WARNING, logger="drifting")
    return lambda: caplog.messages


def has_gpus(row):
    return row.keys() >= telemetry.GPUS.keys()


def short_run(workdir, **train):
    """Rows at steps 2 and 4 of a run, and the metrics of its last checkpoint."""
    parts = weight_run.parts(4, **train)
    parts.schedule = Schedule(4, log=2, sample=99, checkpoint=99, per_call=1, per_epoch=4.0)
    loop.train(parts, workdir)
    saved = json.loads((workdir / "checkpoints" / "4" / checkpoints.METRICS).read_bytes())
    return writers.read_metrics(workdir / "metrics.jsonl"), saved


def test_rows_of_a_run_hold_the_memory_of_its_process(tmp_path):
    rows, saved = short_run(tmp_path)
    status = telemetry.STATUS.read_text().splitlines()
    (peak,) = [int(line.split()[1]) for line in status if line.startswith("VmHWM")]
    assert [row["step"] for row in rows] == [2, 4]
    for row in rows:  # JAX alone takes more than 0.05 GiB
        assert 0.05 < row["host_memory_gib"] <= row["host_memory_peak_gib"] <= peak / 2**20
    assert not {name.removeprefix("avg_") for name in saved} & set(telemetry.NAMES)
    curves = writers._curves(rows)
    assert "loss" in curves and not curves.keys() & set(telemetry.NAMES)


def test_telemetry_can_be_switched_off(tmp_path):
    rows, _ = short_run(tmp_path, telemetry=False)
    assert len(rows) == 2 and all("loss" in row for row in rows)
    assert not set().union(*rows) & set(telemetry.NAMES)


def test_host_memory_is_in_gib(tmp_path, monkeypatch):
    path = tmp_path / "status"
    path.write_text("Name:\tpython\nVmHWM:\t 3145728 kB\nVmRSS:\t 1572864 kB\nThreads:\t8\n")
    monkeypatch.setattr(telemetry, "STATUS", path)
    assert telemetry.host_memory() == {"host_memory_gib": 1.5, "host_memory_peak_gib": 3.0}
    path.write_text("Name:\tpython\nVmRSS:\t 1572864 kB\n")
    assert telemetry.host_memory() == {"host_memory_gib": 1.5}
    monkeypatch.setattr(sys, "platform", "darwin")
    assert telemetry.host_memory() == {}


def test_device_memory_is_that_of_the_fullest_device():
    full = device(stats={"bytes_in_use": 3 * GIB, "peak_bytes_in_use": 5 * GIB, "num_allocs": 2})
    other = device(stats={"bytes_in_use": 2 * GIB, "peak_bytes_in_use": 7 * GIB})
    expected = {"device_memory_gib": 3.0, "device_memory_peak_gib": 7.0}
    assert telemetry.device_memory([full, other, device()]) == expected
    assert telemetry.device_memory([device(stats={"bytes_in_use": GIB})]) == {
        "device_memory_gib": 1.0
    }
    assert telemetry.device_memory([device(), device()]) == {}
    assert telemetry.device_memory(jax.local_devices()) == {}, "these are CPUs"


@pytest.mark.parametrize(
    "ordinals,expected",
    [([0], (97.0, 312.5, 71.0)), ([1], (10.0, 60.0, 30.0)), ([1, 0], (97.0, 312.5, 71.0))],
)
def test_gpus_are_those_that_cuda_means(nvml, readings, ordinals, expected):
    row = settled(readings([cuda(n) for n in ordinals]), has_gpus)
    names = "gpu_utilization_percent", "gpu_power_watts", "gpu_temperature_celsius"
    assert tuple(row[name] for name in names) == expected
    assert row.keys() <= set(telemetry.NAMES)


def test_a_reading_that_a_gpu_does_not_support_is_left_out(nvml, readings, monkeypatch, warnings):
    def unsupported(gpu):
        raise NotSupported

    monkeypatch.setattr(nvml, "nvmlDeviceGetUtilizationRates", unsupported)
    row = settled(readings([cuda(0)]), lambda row: "gpu_power_watts" in row)
    assert row["gpu_power_watts"] == 312.5 and "gpu_utilization_percent" not in row
    assert warnings() == []


def test_only_nvidia_gpus_are_read_through_nvml(nvml, readings):
    readings([device(0, platform="PJRT C API\nrocm 60300"), device()])
    assert "telemetry" not in [thread.name for thread in threading.enumerate()]


def test_without_nvml_the_rest_is_logged(readings, monkeypatch, warnings):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert readings([cuda(0)]).row().keys() == HOST
    assert warnings() == []


def test_an_error_is_one_warning_and_ends_what_failed(nvml, readings, warnings):
    one = readings([cuda(0)])
    settled(one, has_gpus)
    nvml.broken = True
    settled(one, lambda row: row.keys() == HOST)
    nvml.broken = False
    assert one.row().keys() == HOST
    assert warnings() == [
        "telemetry: the state of the GPUs is not logged from here on: GPU is lost"
    ]


def test_no_reading_of_the_wrong_gpu_if_the_driver_does_not_name_it(
    nvml, readings, monkeypatch, warnings
):
    monkeypatch.setattr(Driver, "cuDeviceGetPCIBusId", lambda *_: 101)
    one = readings([cuda(0)])
    settled(one, lambda _: warnings())
    assert one.row().keys() == HOST
    (warning,) = warnings()
    assert "does not give the PCI address of device 0 (error 101)" in warning


def test_a_reading_does_not_outlive_an_nvml_that_hangs(nvml, readings, monkeypatch):
    one, hanging = readings([cuda(0)]), threading.Event()
    settled(one, has_gpus)
    monkeypatch.setattr(telemetry, "STALE", 0.05)
    monkeypatch.setattr(nvml, "nvmlDeviceGetPowerUsage", lambda _: hanging.wait(10))
    settled(one, lambda row: row.keys() == HOST)
    hanging.set()


def test_a_failing_device_does_not_end_a_run(tmp_path, monkeypatch, warnings):
    def failing(devices):
        raise RuntimeError("UNIMPLEMENTED: memory stats")

    monkeypatch.setattr(telemetry, "device_memory", failing)
    rows, _ = short_run(tmp_path)
    assert len(rows) == 2 and all(row.keys() >= HOST for row in rows)
    assert warnings() == [
        "telemetry: the device memory is not logged from here on: UNIMPLEMENTED: memory stats"
    ]


def test_the_thread_ends_with_the_run(nvml, tmp_path, monkeypatch):
    make = loop.Telemetry
    monkeypatch.setattr(loop, "Telemetry", lambda _: make([cuda(0)]))
    rows, _ = short_run(tmp_path)
    assert rows[-1]["gpu_power_watts"] == 312.5
    assert "telemetry" not in [thread.name for thread in threading.enumerate()]
