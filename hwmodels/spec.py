"""What a specification file says of a system, as a checked record; and every record a system is made of.

Records hold what datasheets say; what they do not say (efficiencies, latencies of software) lies in the coefficients of
the device's family. Fields are SI floats with the unit in their name; files write quantities under the bare name.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

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
    "PlacementSpec",
    "PowerSpec",
    "StorageSpec",
    "SystemSpec",
    "TensorSpec",
    "UnitSpec",
    "VectorSpec",
    "as_gpu",
]


#: Kinds of operator that a unit may be kept to, or that a placement names; prompts of attention may go elsewhere.
OperatorKind = Literal["gemm", "grouped_gemm", "attention", "vector", "gather", "kv_write"]
PlacedKind = Literal["gemm", "grouped_gemm", "attention", "attention/prompt", "vector", "gather", "kv_write"]


class UnitSpec(SpecRecord):
    """Some devices of one kind in each node.

    The first unit of a system is the one that models are spread over. A further one stands beside it: on the same
    memory (``memory: gpu``), or with a memory of its own that holds part of the model and is reached over links.
    """

    name: Name | None = None  # in placements and reports; the type of the device when not said
    device: Annotated[DeviceSpec, OneOf({name: kind.record for name, kind in DEVICE_KINDS.items()})]
    count: Count = 1
    memory: Name | None = None  # the unit whose memory it computes in; its own when not said
    holds: Annotated[tuple[Literal["weights", "kv"], ...], Field(strict=False)] = ("weights", "kv")  # own memory
    joined: Literal["link", "network"] = "link"  # how the first unit reaches its memory
    runs: Annotated[tuple[OperatorKind, ...], Field(strict=False)] | None = (
        None  # kinds of operator; all it can when not said
    )


class PlacementSpec(SpecRecord):
    """Which unit runs which operator; see ``simulator/engine/placement.py``."""

    policy: Name  # fixed, fastest, intensity, co-processing
    kinds: dict[PlacedKind, str] = Field(default_factory=dict)  # fixed: unit by kind of operator; the rest on the first
    intensity: Annotated[float, Field(gt=0)] | None = None  # intensity: FLOP per byte below which one leaves the first
    sections: Count = 1  # of a shared memory, each used by one unit at a time (bundles of banks)
    kv_sections: Count | None = None  # of them, those with the cache of running sequences; all when not said
    head_groups: Count = 1  # that follow each other through attention: one is projected while another attends
    interleave: Count = 1  # parts of a batch that take turns, so that one waits for links while another computes

    @model_validator(mode="after")
    def _within(self) -> Self:
        if self.kv_sections is not None and self.kv_sections > self.sections:
            raise ValueError(f"kv_sections {self.kv_sections} is more than the {self.sections} sections there are")
        return self


class SystemSpec(SpecRecord):
    """Nodes of devices and what joins them. A lone device is a system of one."""

    name: Name
    units: Annotated[tuple[UnitSpec, ...], Field(min_length=1, strict=False)]  # in each node
    nodes: Count = 1
    network: LinkSpec | None = None  # between nodes, per device
    host: HostSpec | None = None  # per node
    storage: StorageSpec | None = None  # per node
    placement: PlacementSpec | None = None  # where there are several units

    @model_validator(mode="after")
    def _named(self) -> Self:
        names = self.unit_names
        if len(set(names)) < len(names):
            raise ValueError(f"units need names of their own, got {', '.join(names)}")
        for name, unit in zip(names, self.units, strict=True):
            if unit.memory is not None and unit.memory not in names[: names.index(name)]:
                raise ValueError(f"unit {name} computes in the memory of {unit.memory!r}, which is no unit before it")
        for kind, name in self.placement.kinds.items() if self.placement is not None else ():
            if name not in names:
                raise ValueError(f"placement of {kind} on {name!r}, but the units are {', '.join(names)}")
        return self

    @property
    def unit_names(self) -> tuple[str, ...]:
        """What the units are called: as they say, or by their type, numbered where several have the same."""
        names: list[str] = []
        for unit in self.units:
            own = unit.name or unit.device.type
            taken = unit.name is None and own in names
            names.append(f"{own}{len(names) + 1}" if taken else own)
        return tuple(names)

    @property
    def device(self) -> DeviceSpec:
        """The device that models are spread over: the only one, or the first where a placement says what others do.

        Raises
        ------
        UnsupportedError
            If there are several units and no placement.
        """
        if len(self.units) > 1 and self.placement is None:
            raise UnsupportedError(
                f"{self.name} mixes {len(self.units)} kinds of device: name the unit, or say which runs what "
                "(placement: {policy: fastest})"
            )
        return self.units[0].device

    @property
    def ranks_per_node(self) -> int:
        """Parts that a model can be cut into within a node: devices of the first unit."""
        return self.units[0].count if self.placement is not None else self.devices_per_node

    @property
    def ranks(self) -> int:
        """Parts that a model can be cut into."""
        return self.ranks_per_node * self.nodes

    @property
    def devices_per_node(self) -> int:
        """Devices in one node."""
        return sum(unit.count for unit in self.units)

    @property
    def devices(self) -> int:
        """Devices in all nodes."""
        return self.devices_per_node * self.nodes

    @property
    def price_USD(self) -> float | None:
        """Price of all devices and hosts together; None where a device's is not known."""
        prices = [unit.device.price_USD for unit in self.units]
        host = 0.0 if self.host is None else self.host.price_USD or 0.0
        node = host
        for unit, price in zip(self.units, prices, strict=True):
            if price is None:
                return None
            node += unit.count * price
        return self.nodes * node

    @property
    def limit_W(self) -> float | None:
        """Power limits of all devices together, hosts left out; None where a device has none."""
        total = 0.0
        for unit in self.units:
            power = getattr(unit.device, "power", None)
            if power is None:
                return None
            total += unit.count * power.limit_W
        return self.nodes * total

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
