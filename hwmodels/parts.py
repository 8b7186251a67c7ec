"""What specifications of every kind of hardware are made of: quantities, memory, power, links, storage, hosts, devices.

A kind of device derives its record from :class:`DeviceSpec` in ``hwmodels/<kind>/spec.py``; see ``kinds.py``.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from hwmodels.collectives import LinkParams
from hwmodels.storage import StorageParams
from simulator.core.quantity import Quantity, Rate, RateOf
from simulator.core.specfile import SpecRecord

__all__ = [
    "Area",
    "ByteRate",
    "Bytes",
    "BytesPerSecond",
    "Count",
    "DeviceSpec",
    "FlopRate",
    "Hertz",
    "HostSpec",
    "LinkSpec",
    "MemorySpec",
    "Name",
    "OpRate",
    "PowerSpec",
    "Price",
    "Seconds",
    "StorageSpec",
    "Watts",
]

Bytes = Annotated[float, Quantity("B")]
BytesPerSecond = Annotated[float, Quantity("B/s")]
Hertz = Annotated[float, Quantity("Hz")]
Watts = Annotated[float, Quantity("W")]
Seconds = Annotated[float, Quantity("s", zero=True)]
Price = Annotated[float, Quantity("USD", zero=True)]
Area = Annotated[float, Quantity("mm2")]
FlopRate = Annotated[Rate, RateOf("FLOP")]
OpRate = Annotated[Rate, RateOf("OP")]
ByteRate = Annotated[Rate, RateOf("B")]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
Name = Annotated[str, Field(min_length=1, max_length=80)]


class MemorySpec(SpecRecord):
    """The device's own memory."""

    type: Name
    capacity_B: Bytes
    bandwidth_Bps: BytesPerSecond


class PowerSpec(SpecRecord):
    """Board power."""

    limit_W: Watts
    idle_W: Watts

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.idle_W >= self.limit_W:
            raise ValueError(f"idle {self.idle_W:g} W is not below the limit {self.limit_W:g} W")
        return self


class LinkSpec(SpecRecord):
    """What joins devices, or a device and its host: one direction, all lanes of one device together."""

    name: Name
    family: Name  # whose collective coefficients apply: nvlink4, pcie5, infiniband ...
    bandwidth_Bps: BytesPerSecond
    latency_s: Seconds  # one hop over wire and switch, without software
    topology: Literal["switch", "mesh", "ring", "host"]
    peers: Count = 1  # devices wired directly to one, where there is no switch
    multicast: bool = False  # the switch reduces and replicates (NVLink SHARP)

    def params(self) -> LinkParams:
        """Return the numbers that formulas of collectives see."""
        switched = 1.0 if self.topology in ("switch", "host") else 0.0
        return LinkParams(self.bandwidth_Bps, self.latency_s, switched, float(self.peers), float(self.multicast))


class StorageSpec(SpecRecord):
    """A solid-state drive or the like."""

    name: Name
    capacity_B: Bytes
    bandwidth_Bps: BytesPerSecond  # sequential reads
    write_Bps: Annotated[float, Quantity("B/s")] = Field(alias="write_bandwidth")
    latency_s: Seconds  # one page with nothing before it
    iops: Annotated[float, Quantity("1")]  # random reads of one page per second, full queue
    page_B: Bytes
    price_USD: Price | None = None

    def params(self) -> StorageParams:
        """Return the numbers that formulas of storage see."""
        return StorageParams(self.bandwidth_Bps, self.latency_s, self.iops, self.page_B)


class HostSpec(SpecRecord):
    """The processor side of a node: its memory, where weights and caches may be offloaded to."""

    name: Name
    capacity_B: Bytes
    bandwidth_Bps: BytesPerSecond
    price_USD: Price | None = None


class DeviceSpec(SpecRecord):
    """What every device tells of itself, whatever kind it is; the rest of its record is its kind's own."""

    type: str  # the kind of device, a key of ``hwmodels.kinds.DEVICE_KINDS``; subclasses allow their own only
    name: Name
    vendor: Name
    family: Name  # whose coefficients apply: a GPU's architecture, a PIM device's generation
    year: Annotated[int, Field(ge=1990, le=2100)]
    process: Name | None = None
    hbm: MemorySpec  # where models are stored; the bandwidth is what leaves the device's memory
    power: PowerSpec
    link: LinkSpec  # to the other devices of a node
    host_link: LinkSpec
    die_area_mm2: Area | None = Field(default=None, alias="die_area")
    price_USD: Price | None = None

    @property
    def energy_basis(self) -> str:
        """What the joules of a prediction rest on."""
        return f"coefficients of family {self.family}"

    def area_mm2_by_component(self) -> dict[str, float]:
        """Area of what is modelled, by component; empty where the specification does not say."""
        return {}

    @property
    def operand_Bps(self) -> float:
        """Bytes per second that what computes can be given out of the memory; more than leave it where it computes."""
        return self.hbm.bandwidth_Bps

    @abstractmethod
    def peak_flops(self, operands: str) -> float:
        """Return the dense FLOP/s (OP/s) of the whole device for operands of a format, as its datasheet quotes it.

        Raises
        ------
        UnsupportedError
            If the device does not compute in the format.
        """
