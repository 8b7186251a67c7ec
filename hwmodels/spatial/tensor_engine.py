"""Tensor engines as templates: systolic arrays, cube, adder trees, matrix of units; bit-weight transformation or not.

Source: the forms are those of the bit-weight paper (HPCA 2025); clock, area and power are of synthesised arrays, scaled
to other sizes by the number of units. The transformation changes these three and no cycle.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from hwmodels.spatial.systolic import ceil_div, gemm_layer, layer_run, systolic_array
from simulator.core.errors import InputError, UnsupportedError
from simulator.core.quantity import Quantity
from simulator.core.specfile import SpecRecord, load_spec

__all__ = ["EngineRun", "TensorEngine", "engine_file", "tensor_engine"]

_FILE = Path(__file__).with_name("tensor_engines.yaml")

_Size = Annotated[int, Field(ge=1, le=2**16)]
_Form = Literal["systolic-os", "systolic-ws", "cube", "tree", "matrix"]


class Synthesis(SpecRecord):
    """One synthesised array."""

    clock_Hz: Annotated[float, Quantity("Hz")]
    area_mm2: Annotated[float, Quantity("mm2")]
    power_W: Annotated[float, Quantity("W")]


class Engine(SpecRecord):
    """A form and its size as synthesised."""

    form: _Form
    rows: _Size = 1
    columns: _Size
    depth: _Size = 1
    plain: Synthesis | None = None
    bit_weight: Synthesis | None = None


class FormatCost(SpecRecord):
    """Area and energy of a multiply-add over one of int8: the range that is reported."""

    least: Annotated[float, Field(ge=1.0, le=100.0)]
    most: Annotated[float, Field(ge=1.0, le=100.0)]


class EngineFile(SpecRecord):
    """Engines from one library."""

    library: str
    engines: Mapping[str, Engine]
    formats: Mapping[str, FormatCost]


@dataclass(frozen=True, slots=True)
class EngineRun:
    """One product on an engine."""

    cycles: int
    utilisation: float  # multiply-adds over units x cycles
    time_s: float


@dataclass(frozen=True, slots=True)
class TensorEngine:
    """An engine of some size; numbers for a format are (least, most) where the source gives a range."""

    name: str
    form: _Form
    rows: int
    columns: int
    depth: int
    bit_weight: bool
    clock_Hz: float
    int8_area_mm2: float
    int8_mac_J: float
    costs: Mapping[str, tuple[float, float]]  # of a format over int8

    @property
    def units(self) -> int:
        """Multiply-add units."""
        return self.rows * self.columns * self.depth

    @property
    def peak_ops(self) -> float:
        """Operations per second, two per multiply-add."""
        return 2.0 * self.units * self.clock_Hz

    def area_mm2(self, fmt: str = "int8") -> tuple[float, float]:
        """Area of the array with units of a format."""
        least, most = self._over_int8(fmt)
        return self.int8_area_mm2 * least, self.int8_area_mm2 * most

    def mac_J(self, fmt: str = "int8") -> tuple[float, float]:
        """Energy of a multiply-add at full use."""
        least, most = self._over_int8(fmt)
        return self.int8_mac_J * least, self.int8_mac_J * most

    def ops_per_mm2(self, fmt: str = "int8") -> tuple[float, float]:
        """Operations per second and square millimetre."""
        least, most = self.area_mm2(fmt)
        return self.peak_ops / most, self.peak_ops / least

    def ops_per_J(self, fmt: str = "int8") -> tuple[float, float]:
        """Operations per joule at full use."""
        least, most = self.mac_J(fmt)
        return 2.0 / most, 2.0 / least

    def run(self, m: int, n: int, k: int) -> EngineRun:
        """Cycles of an m x n x k product, operands always at hand.

        A systolic array takes its folds, overlapped. The others take whole tiles, one step each: a cube rows x columns
        x depth multiply-adds, a tree ``columns`` sums of ``depth`` products, a matrix one product in each unit.

        Raises
        ------
        InputError
            If a dimension is out of range.
        """
        layer = gemm_layer(m, n, k)
        if self.form in ("systolic-os", "systolic-ws"):
            flow = self.form.removeprefix("systolic-")
            ample = (2**53,) * 3
            array = systolic_array(self.rows, self.columns, flow, overlapped=True, scratchpad_words=ample)
            cycles = layer_run(layer, array).compute_cycles
        else:
            cycles = ceil_div(m, self.rows) * ceil_div(n, self.columns) * ceil_div(k, self.depth)
        return EngineRun(cycles, m * n * k / (cycles * self.units), cycles / self.clock_Hz)

    def _over_int8(self, fmt: str) -> tuple[float, float]:
        if fmt not in self.costs:
            raise UnsupportedError(f"{self.name}: no cost of {fmt!r} units; known: {', '.join(self.costs)}")
        return self.costs[fmt]


@cache
def engine_file() -> EngineFile:
    """Return the synthesised engines."""
    return load_spec(_FILE, EngineFile)


def tensor_engine(
    name: str, bit_weight: bool = False, rows: int | None = None, columns: int | None = None, depth: int | None = None
) -> TensorEngine:
    """Return an engine, of the size that was synthesised where none is given.

    Raises
    ------
    InputError
        If there is no such engine or a size is out of range or not of this form.
    UnsupportedError
        If that variant was not synthesised.
    """
    file = engine_file()
    if name not in file.engines:
        raise InputError(f"engine {name!r}: known: {', '.join(file.engines)}")
    spec = file.engines[name]
    synthesis = spec.bit_weight if bit_weight else spec.plain
    if synthesis is None:
        raise UnsupportedError(
            f"{name}: {'not ' if bit_weight else ''}synthesised only with the bit-weight transformation"
        )
    sizes = {
        "rows": _size(name, "rows", rows, spec.rows),
        "columns": _size(name, "columns", columns, spec.columns),
        "depth": _size(name, "depth", depth, spec.depth),
    }
    made_units, units = spec.rows * spec.columns * spec.depth, math.prod(sizes.values())
    return TensorEngine(
        name=name,
        form=spec.form,
        **sizes,
        bit_weight=bit_weight,
        clock_Hz=synthesis.clock_Hz,
        int8_area_mm2=synthesis.area_mm2 * units / made_units,
        int8_mac_J=synthesis.power_W / (synthesis.clock_Hz * made_units),
        costs={fmt: (cost.least, cost.most) for fmt, cost in file.formats.items()},
    )


def _size(name: str, axis: str, given: int | None, made: int) -> int:
    if given is None:
        return made
    if not 1 <= given <= 2**16:
        raise InputError(f"{name}: {axis} {given} is not in 1 to 65536")
    if made == 1 and given != 1:
        raise InputError(f"{name}: has no {axis}")
    return given
