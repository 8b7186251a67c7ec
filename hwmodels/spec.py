"""What a specification file says of a system, as a checked record; and every record a system is made of.

Records hold what datasheets say; what they do not say (efficiencies, latencies of software) lies in the coefficients of
the device's family. Fields are SI floats with the unit in their name; files write quantities under the bare name.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hwmodels.gpu.spec import (
    FORMAT_FALLBACK,
    CacheSpec,
    ClockSpec,
    CoefficientOverrides,
    GpuSpec,
    TensorSpec,
    VectorSpec,
)
from hwmodels.kinds import DEVICE_KINDS
from hwmodels.parts import Count, DeviceSpec, HostSpec, LinkSpec, MemorySpec, Name, PowerSpec, StorageSpec
from simulator.core.errors import UnsupportedError
from simulator.core.one_of import OneOf
from simulator.core.specfile import SpecRecord

__all__ = [
    "FORMAT_FALLBACK",
    "CacheSpec",
    "ClockSpec",
    "CoefficientOverrides",
    "DeviceSpec",
    "GpuSpec",
    "HostSpec",
    "LinkSpec",
    "MemorySpec",
    "PowerSpec",
    "StorageSpec",
    "SystemSpec",
    "TensorSpec",
    "UnitSpec",
    "VectorSpec",
    "as_gpu",
]


class UnitSpec(SpecRecord):
    """Some devices of one kind in each node."""

    device: Annotated[DeviceSpec, OneOf({name: kind.record for name, kind in DEVICE_KINDS.items()})]
    count: Count = 1


class SystemSpec(SpecRecord):
    """Nodes of devices and what joins them. A lone device is a system of one."""

    name: Name
    units: Annotated[tuple[UnitSpec, ...], Field(min_length=1, strict=False)]  # in each node
    nodes: Count = 1
    network: LinkSpec | None = None  # between nodes, per device
    host: HostSpec | None = None  # per node
    storage: StorageSpec | None = None  # per node

    @property
    def device(self) -> DeviceSpec:
        """The device of the system.

        Raises
        ------
        UnsupportedError
            If there are several kinds.
        """
        if len(self.units) > 1:
            raise UnsupportedError(f"{self.name} mixes {len(self.units)} kinds of device: name the unit")
        return self.units[0].device

    @property
    def devices_per_node(self) -> int:
        """Devices in one node."""
        return sum(unit.count for unit in self.units)

    @property
    def devices(self) -> int:
        """Devices in all nodes."""
        return self.devices_per_node * self.nodes

    @property
    def link(self) -> LinkSpec:
        """The link between the devices of a node."""
        return self.device.link


def as_gpu(device: DeviceSpec) -> GpuSpec:
    """Return a device's record where it must be a GPU's.

    Raises
    ------
    UnsupportedError
        If it is another kind of device.
    """
    if not isinstance(device, GpuSpec):
        raise UnsupportedError(f"{device.name} is no GPU but a device of type {device.type!r}")
    return device
