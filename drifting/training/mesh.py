"""The device mesh, and where the leaves of a state live on it.

Axes: `data` splits the batch; `fsdp` splits the batch and the parameters as well (fully sharded
data parallelism). The program is one global computation, so its numbers do not depend on the mesh
beyond rounding.
"""

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from drifting.core.errors import UserError
from drifting.core.method import Method

MIN_SHARDED_SIZE = 2**14  # smaller leaves cost more to gather than they save


class MeshError(UserError):
    """Devices, mesh and batch do not divide; the message prints the numbers."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The keys of config.mesh."""

    data: int = 0  # devices along the batch; 0: all that are left
    fsdp: int = 1  # devices over which parameters are split as well


def make_mesh(data: int, fsdp: int, parts: tuple[int, ...]) -> Mesh:
    """A [data, fsdp] mesh; data = 0 takes all devices that fsdp leaves.

    Args:
      parts: rows of each part of a batch, which are spread over all devices apart.

    Raises:
      MeshError: the mesh does not fit the devices, or does not divide a part of the batch.
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
    for rows in parts:
        if rows % (data * fsdp):
            raise MeshError(
                f"{rows} images a step do not divide over {data} x {fsdp} = {data * fsdp} devices; "
                "change config.method's number of images (num_generated, batch_size, "
                "share_r_neq_t) or set config.mesh.data"
            )
    grid = np.asarray(devices[: data * fsdp]).reshape(data, fsdp)
    return Mesh(grid, ("data", "fsdp"), axis_types=(AxisType.Auto, AxisType.Auto))


def mesh_of(config: Any, method: Method) -> Mesh:
    """The mesh of a config that a method is trained on; MeshError as `make_mesh`."""
    return make_mesh(config.mesh.data, config.mesh.fsdp, method.parts)


def replicated(mesh: Mesh) -> NamedSharding:
    """A whole copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(batch_size: int) -> NamedSharding:
    """A batch spread over as many devices as divide it, for programs without a state to split."""
    devices = jax.devices()
    count = math.gcd(batch_size, len(devices))
    mesh = Mesh(np.asarray(devices[:count]), ("data",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec("data"))


def batch_over(mesh: Mesh, batch_size: int) -> NamedSharding:
    """A streamed or a scored batch spread over all devices of a mesh.

    Raises:
      MeshError: they do not divide it.
    """
    if batch_size % mesh.size:
        raise MeshError(
            f"{batch_size} images do not divide over {mesh.size} devices; change what their number "
            "is from (config.method.batch_size or queue_push of a stream, config.eval.batch_size "
            "of scores in training) or set config.mesh.data"
        )
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names))


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
