"""Options `mesh` and `index.mesh`."""

import dataclasses
from typing import Literal

from realm_jax.errors import UserError
from realm_jax.settings import Part, Size

ROW_AXES = ("data", "fsdp")
"""Axes of the mesh that the rows of a batch are divided over."""


@dataclasses.dataclass(frozen=True)
class Mesh(Part):
    """How the devices of all processes of a job are arranged. A run may go on with another mesh at any time."""

    data: Size = -1
    """Parts of a batch that are computed with parameters of their own. -1, here or in one of the next two, takes all
    that the other sizes leave."""
    fsdp: Size = 1
    """Parts of a batch that share parameters: each device keeps one part of each, and of Adam's moments."""
    tensor: Size = 1
    """Devices that compute the same rows, each with a part of every layer's matrices."""
    platform: Literal["auto", "cpu", "gpu", "tpu"] = "auto"
    """The device that the job must run on; anything else is an error. `auto`: the one JAX finds, but never the CPU
    where JAX was installed for an accelerator, unless JAX_PLATFORMS says so."""

    def check(self, name: str) -> None:
        sizes = (self.data, self.fsdp, self.tensor)
        if 0 in sizes or sizes.count(-1) > 1:
            raise UserError(
                f"{name.rstrip('.')}: data {self.data}, fsdp {self.fsdp}, tensor {self.tensor}; each must be at least "
                "1, or one of them -1"
            )
