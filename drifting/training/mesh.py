"""The device mesh, and how the leaves of a state are sharded over it.

Its axes: `data` splits the batch; `fsdp` splits both the batch and the parameters (fully sharded
data parallelism). The program is one global computation, so its results do not depend on the mesh
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

MIN_SHARDED_SIZE = 2**14  # values; gathering smaller leaves costs more than sharding saves


class MeshError(UserError):
    """The mesh does not fit the devices or the batch; the message gives the numbers."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The keys of config.mesh."""

    data: int = 0  # devices that split the batch; 0: all that fsdp leaves
    fsdp: int = 1  # devices that split the parameters as well


def make_mesh(data: int, fsdp: int, parts: tuple[int, ...]) -> Mesh:
    """A [data, fsdp] mesh; with data = 0, of all devices.

    Args:
      parts: rows of each part of a batch; all devices share each part evenly.

    Raises:
      MeshError: the mesh does not fit the devices, or does not divide a part of the batch.
    """
    devices = jax.devices()
    if fsdp < 1 or data < 0 or (data == 0 and len(devices) % fsdp):
        raise MeshError(
            f"config.mesh.data = {data} and config.mesh.fsdp = {fsdp} do not fit {len(devices)} "
            "devices; set fsdp to one of their divisors, and data to 0 for all others"
        )
    data = data or len(devices) // fsdp
    if data * fsdp > len(devices):
        raise MeshError(
            f"config.mesh asks for {data} x {fsdp} = {data * fsdp} devices, there are "
            f"{len(devices)}; set config.mesh.data=0 for all of them"
        )
    for rows in parts:
        if rows % (data * fsdp):
            raise MeshError(
                f"{rows} images per step do not divide over {data} x {fsdp} = {data * fsdp} "
                "devices; change config.method's number of images (num_generated, batch_size, "
                "share_r_neq_t) or set config.mesh.data"
            )
    grid = np.asarray(devices[: data * fsdp]).reshape(data, fsdp)
    return Mesh(grid, ("data", "fsdp"), axis_types=(AxisType.Auto, AxisType.Auto))


def mesh_of(config: Any, method: Method) -> Mesh:
    """The mesh of config.mesh for a method; raises MeshError as `make_mesh` does."""
    return make_mesh(config.mesh.data, config.mesh.fsdp, method.parts)


def replicated(mesh: Mesh) -> NamedSharding:
    """A full copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(batch_size: int) -> NamedSharding:
    """A batch sharded over as many devices as divide it, for programs without a sharded state."""
    devices = jax.devices()
    count = math.gcd(batch_size, len(devices))
    mesh = Mesh(np.asarray(devices[:count]), ("data",), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, PartitionSpec("data"))


def batch_over(mesh: Mesh, batch_size: int) -> NamedSharding:
    """A streamed or scored batch sharded over all devices of a mesh.

    Raises:
      MeshError: the devices do not divide the batch.
    """
    if batch_size % mesh.size:
        raise MeshError(
            f"{batch_size} images do not divide over {mesh.size} devices; change their number "
            "(config.method.batch_size or queue_push of streamed batches, config.eval.batch_size "
            "of scores during training) or set config.mesh.data"
        )
    return NamedSharding(mesh, PartitionSpec(mesh.axis_names))


def state_shardings(mesh: Mesh, shapes: Any) -> Any:
    """The sharding of each leaf: the longest axis that `fsdp` divides is split, except if small."""
    fsdp = mesh.shape["fsdp"]

    def of(leaf: jax.ShapeDtypeStruct) -> NamedSharding:
        axes = [i for i, n in enumerate(leaf.shape) if n % fsdp == 0]
        if fsdp == 1 or not axes or leaf.size < MIN_SHARDED_SIZE:
            return replicated(mesh)
        longest = max(axes, key=lambda i: leaf.shape[i])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, "fsdp"))

    return jax.tree.map(of, shapes)
