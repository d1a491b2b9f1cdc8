"""The device mesh, and where the leaves of a state live on it.

Axes: `data` splits the batch; `fsdp` splits the batch and the parameters as well (fully sharded
data parallelism). The program is one global computation, so its numbers do not depend on the mesh
beyond rounding.
"""

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

MIN_SHARDED_SIZE = 2**14  # smaller leaves cost more to gather than they save


class MeshError(ValueError):
    """Devices, mesh and batch do not divide; the message prints the numbers."""


def make_mesh(data: int, fsdp: int, batch_size: int) -> Mesh:
    """A [data, fsdp] mesh; data = 0 takes all devices that fsdp leaves.

    Raises:
      MeshError: the mesh does not fit the devices, or does not divide the batch.
    """
    devices = jax.devices()
    if fsdp < 1 or data < 0 or (data == 0 and len(devices) % fsdp):
        raise MeshError(
            f"config.mesh.data = {data}, config.mesh.fsdp = {fsdp} for {len(devices)} devices"
        )
    data = data or len(devices) // fsdp
    if data * fsdp > len(devices):
        raise MeshError(
            f"config.mesh asks for {data} x {fsdp} = {data * fsdp} devices, there are "
            f"{len(devices)}"
        )
    if batch_size % (data * fsdp):
        raise MeshError(
            f"{batch_size} images a step do not divide over {data} x {fsdp} = {data * fsdp} "
            "devices; change config.method.num_generated or set config.mesh.data"
        )
    grid = np.asarray(devices[: data * fsdp]).reshape(data, fsdp)
    return Mesh(grid, ("data", "fsdp"), axis_types=(AxisType.Auto, AxisType.Auto))


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(batch_size: int) -> NamedSharding:
    """A batch spread over as many devices as divide it, for programs without a state to split."""
    devices = jax.devices()
    count = math.gcd(batch_size, len(devices))
    mesh = Mesh(np.asarray(devices[:count]), ("data",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec("data"))


def state_shardings(mesh: Mesh, shapes: Any) -> Any:
    """For each leaf of a state: its longest axis that `fsdp` divides is split, small ones not."""
    fsdp = mesh.shape["fsdp"]

    def of(leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        axes = [i for i, n in enumerate(leaf.shape) if n % fsdp == 0]
        if fsdp == 1 or not axes or leaf.size < MIN_SHARDED_SIZE:
            return replicated(mesh)
        longest = max(axes, key=lambda i: leaf.shape[i])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, "fsdp"))

    return jax.tree.map(of, shapes)
