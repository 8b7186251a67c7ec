"""What a specification file says of a spatial array: a 2D array for products, a 1D array for the rest, a buffer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from hwmodels.components import EnergyTable
from hwmodels.gpu.spec import FORMAT_FALLBACK
from hwmodels.parts import Area, Bytes, Count, DeviceSpec, Hertz, Name
from simulator.core.errors import UnsupportedError
from simulator.core.quantity import Quantity
from simulator.core.specfile import SpecRecord

__all__ = ["AreaSpec", "ArraySpec", "SpatialSpec", "VectorArraySpec"]

Number = Annotated[float, Quantity("1")]


class ArraySpec(SpecRecord):
    """2D arrays of multiply-add units; equal ones share every product."""

    rows: Count
    columns: Count
    count: Count = 1
    dataflow: Literal["os", "ws", "is"]  # which operand stays: output, weight, input
    overlapped: bool = True  # folds follow each other without draining the array
    rates: Annotated[Mapping[str, Number], Field(min_length=1)]  # multiply-adds of a unit in each clock, by format

    registers: Count = 3  # words beside a unit: an operand of each kind and a sum

    @property
    def units(self) -> int:
        """Multiply-add units of all arrays."""
        return self.rows * self.columns * self.count


class VectorArraySpec(SpecRecord):
    """The 1D array: everything that is no product."""

    lanes: Count  # operations in each clock, whole device
    special_ops: Number = 1.0  # of them that an exponential, division or square root takes


class AreaSpec(SpecRecord):
    """Area of one component each, at the node of the device."""

    unit_mm2: Area  # one multiply-add unit with its registers
    lane_mm2: Area
    buffer_per_B_mm2: Area
    other_mm2: Area | None = None  # memory interface, control


class SpatialSpec(DeviceSpec):
    """One device with spatial arrays."""

    type: Literal["spatial"]
    clock_Hz: Hertz
    array: ArraySpec
    vector: VectorArraySpec
    buffer_B: Bytes
    products: Literal["blocked", "searched"] = "blocked"  # how they are mapped; searched: if that is quicker
    attention: Name  # how attention is bound to the arrays: a name of ``hwmodels/spatial/bindings``
    energy: EnergyTable
    node_nm: Annotated[int, Field(ge=2, le=250)] | None = None  # where the energy table is for another node
    area: AreaSpec | None = None

    @property
    def energies(self) -> EnergyTable:
        """The table of components at the device's node and for its buffer."""
        return self.energy.at_node(self.node_nm).for_buffer(self.buffer_B)

    @property
    def energy_basis(self) -> str:
        """The table of components, at the node of the device."""
        return self.energies.name

    def compute_format(self, operands: str) -> str:
        """Return the format that the units compute in for operands of a format.

        Raises
        ------
        UnsupportedError
            If neither the format nor any that it can be unpacked to has a rate.
        """
        for name in (operands, *FORMAT_FALLBACK.get(operands, ())):
            if name in self.array.rates:
                return name
        raise UnsupportedError(f"{self.name} has no units for {operands}; it has {', '.join(self.array.rates)}")

    def peak_flops(self, operands: str) -> float:
        """Two for each unit, clock and multiply-add at the rate of the format."""
        return 2.0 * self.array.units * self.clock_Hz * self.array.rates[self.compute_format(operands)]

    def area_mm2_by_component(self) -> dict[str, float]:
        """Area of arrays, buffer and the rest; empty where the specification does not say."""
        if self.area is None:
            return {}
        parts = {
            "2D array": self.area.unit_mm2 * self.array.units,
            "1D array": self.area.lane_mm2 * self.vector.lanes,
            "buffer": self.area.buffer_per_B_mm2 * self.buffer_B,
        }
        return parts | ({} if self.area.other_mm2 is None else {"other": self.area.other_mm2})
