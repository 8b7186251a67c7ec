"""Area and cost of a GPU that need not exist: SMs, cache and memory interfaces on a die, dies on a wafer, memory.

For comparing designs of one family: the few numbers (``silicon.yaml``, each with its source) go through two known dies
and miss two others by 2 and 8 % (``tests/unit/test_silicon.py``). The cost is of die, memory and package, without board
or margin. Every function takes numbers or NumPy columns.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from pydantic import Field

from hwmodels.gpu.spec import GpuSpec
from simulator.core.quantity import Quantity
from simulator.core.specfile import SpecRecord, load_spec

__all__ = ["DieInputs", "NodeSpec", "Silicon", "die_area_mm2", "die_inputs", "manufacturing_cost_USD", "silicon_of"]

_FILE = Path(__file__).with_suffix(".yaml")
_WAFER_MM = 300.0
_MIB = 2.0**20

#: Processes by the name that stands in specifications, and the node whose figures hold for them.
_NODES = {"TSMC 4N": "TSMC 4N", "TSMC N5": "TSMC 4N", "TSMC 7N": "TSMC 7N", "TSMC N6": "TSMC 7N"}

_Area = Annotated[float, Quantity("mm2")]
_Price = Annotated[float, Quantity("USD", zero=True)]


class NodeSpec(SpecRecord):
    """What things take on a die and what a wafer costs at one node."""

    core_mm2: _Area  # of one SM, matrix units apart
    matrix_mm2: _Area  # of an SM for each bf16 FLOP per clock
    sram_mm2: _Area  # of one MiB of cache
    spare: Annotated[float, Field(ge=1)]  # SMs on the die for each that must work
    wafer_USD: _Price
    defects_per_cm2: Annotated[float, Field(ge=0)]


class InterfaceSpec(SpecRecord):
    """One stack (HBM) or channel (others) of memory: what it brings, and its interface on the die."""

    interface_mm2: _Area
    bandwidth_Bps: Annotated[float, Quantity("B/s")]
    capacity_B: Annotated[float, Quantity("B")]
    price: Annotated[float, Quantity("USD/B")]
    package_USD: _Price


class _File(SpecRecord):
    nodes: Mapping[str, NodeSpec]
    memories: Mapping[str, InterfaceSpec]


class Silicon(NamedTuple):
    """The figures for one GPU: its node and its kind of memory."""

    node: NodeSpec
    memory: InterfaceSpec


class DieInputs(NamedTuple):
    """What decides the area of a die; each a number or a column."""

    sms: Any
    flop_per_clock: Any  # bf16, of one SM
    l2_B: Any
    bandwidth_Bps: Any  # of device memory
    capacity_B: Any


@cache
def _figures() -> _File:
    return load_spec(_FILE, _File, named="hwmodels/gpu/silicon.yaml")


def silicon_of(gpu: GpuSpec) -> Silicon | None:
    """Return the figures that hold for a GPU; None where its process or memory has none."""
    node = _figures().nodes.get(_NODES.get(gpu.process or "", ""))
    memory = _figures().memories.get(gpu.hbm.type)
    if node is None or memory is None or gpu.vendor != "NVIDIA":
        return None
    return Silicon(node, memory)


def die_inputs(gpu: GpuSpec) -> DieInputs:
    """Return what decides the area of a GPU as specified."""
    return DieInputs(
        float(gpu.sms), gpu.mma_flop_per_clock("bf16"), gpu.l2.capacity_B, gpu.hbm.bandwidth_Bps, gpu.hbm.capacity_B
    )


def die_area_mm2(die: DieInputs, silicon: Silicon) -> Any:
    """Return the area of a die: SMs with spares, cache, and memory interfaces for bandwidth and capacity.

    ``sms * spare * (core + matrix * FLOP/clk) + MiB * sram + interfaces * interface``, with as many interfaces as the
    larger of bandwidth and capacity asks for.

    Examples
    --------
    >>> from hwmodels.catalog import load_gpu
    >>> h100 = load_gpu("h100")
    >>> round(float(die_area_mm2(die_inputs(h100), silicon_of(h100))), -1)
    800.0
    """
    node, memory = silicon
    by_bandwidth = np.ceil(die.bandwidth_Bps / memory.bandwidth_Bps - 0.05)  # bins differ by a few per cent
    by_capacity = np.ceil(die.capacity_B / memory.capacity_B - 0.05)
    interfaces = np.maximum(by_bandwidth, by_capacity)
    cores = die.sms * node.spare * (node.core_mm2 + node.matrix_mm2 * die.flop_per_clock)
    return cores + die.l2_B / _MIB * node.sram_mm2 + interfaces * memory.interface_mm2


def manufacturing_cost_USD(area_mm2: Any, capacity_B: Any, silicon: Silicon) -> Any:
    """Return what die, memory and package cost to make.

    Dies per wafer ``pi r^2 / A - pi d / sqrt(2 A)`` and Murphy's yield ``((1 - exp(-A D)) / (A D))^2``.
    """
    node, memory = silicon
    radius = _WAFER_MM / 2.0
    dies = np.maximum(np.pi * radius**2 / area_mm2 - np.pi * _WAFER_MM / np.sqrt(2.0 * area_mm2), 1e-9)
    defects = np.maximum(area_mm2 / 100.0 * node.defects_per_cm2, 1e-9)
    good = (-np.expm1(-defects) / defects) ** 2
    return node.wafer_USD / (dies * good) + capacity_B * memory.price + memory.package_USD
