"""What single components cost: tables of energies, each from one source, and how they scale from node to node.

A device names one table (``energy: accelergy-45nm``) and never mixes two: a multiply-add of 16 bits is 17 pJ in one and
2 pJ in another at the same node, so that ratios mean something within a table only. ``node_nm`` of the device scales
what is on the chip.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Annotated

from pydantic import Field

from hwmodels.parts import Bytes
from simulator.core.errors import InputError, UnsupportedError
from simulator.core.quantity import Quantity
from simulator.core.specfile import SpecRecord, load_spec

__all__ = ["ENERGY_TABLES", "EnergyTable", "NodeScaling", "area_factor", "energy_factor", "load_energy_table"]

#: Where the tables lie.
ENERGY_TABLES = Path(__file__).parent / "specs" / "energy"

_Joule = Annotated[float, Quantity("J", zero=True)]
_JoulePerByte = Annotated[float, Quantity("J/B", zero=True)]

#: Which multiply-add stands for a format that a table does not name.
_STAND_INS: Mapping[str, tuple[str, ...]] = {
    "fp4": ("int4", "fp8", "int8", "bf16"),
    "int4": ("int8", "bf16"),
    "fp8": ("int8", "bf16"),
    "int8": ("bf16",),
    "fp16": ("bf16",),
    "bf16": ("fp16",),
    "tf32": ("fp32", "bf16"),
    "fp32": ("bf16",),
}


class EnergyTable(SpecRecord):
    """Energy per action of components at one node, from one source."""

    name: str
    node_nm: Annotated[int, Field(ge=2, le=250)]
    mac: Mapping[str, _Joule]  # multiply-add, by operand format
    add: _Joule
    max: _Joule
    div: _Joule
    exp: _Joule | None = None  # of a unit of its own
    register_read: _JoulePerByte
    register_write: _JoulePerByte
    buffer_capacity_B: Bytes  # that the next two are for
    buffer_read: _JoulePerByte
    buffer_write: _JoulePerByte
    memory: _JoulePerByte  # outside the chip, either way

    def mac_J(self, operands: str) -> float:
        """Return the energy of one multiply-add.

        Raises
        ------
        UnsupportedError
            If the table has neither the format nor one that stands for it.
        """
        for name in (operands, *_STAND_INS.get(operands, ())):
            if name in self.mac:
                return self.mac[name]
        raise UnsupportedError(
            f"{self.name} has no energy of a multiply-add of {operands}; it has {', '.join(self.mac)}"
        )

    def operation_J(self, operation: str, operands: str, exponential_macs: float) -> float:
        """Return the energy of an operation of a cascade.

        Parameters
        ----------
        operation
            ``mac``, ``mul``, ``add``, ``sub``, ``max``, ``div`` or ``exp``.
        operands
            Their format.
        exponential_macs
            Multiply-adds that an exponential takes; 0: it has a unit of its own.
        """
        if operation in ("mac", "mul"):
            return self.mac_J(operands)
        if operation == "exp":
            if exponential_macs or self.exp is None:
                return (exponential_macs or _EXPONENTIAL_MACS) * self.mac_J(operands)
            return self.exp
        return {"add": self.add, "sub": self.add, "max": self.max, "div": self.div}[operation]

    def for_buffer(self, capacity_B: float) -> EnergyTable:
        """Return the table with a buffer of another capacity: energy per byte grows with its square root.

        Source: reads of arrays of 64 KB, 256 KB, 1 MB and 4 MB by CACTI 7 at 45 nm: 0.36, 0.57, 1.14, 2.35 pJ/bit.
        """
        factor = math.sqrt(capacity_B / self.buffer_capacity_B)
        return self.model_copy(
            update={
                "buffer_capacity_B": capacity_B,
                "buffer_read": factor * self.buffer_read,
                "buffer_write": factor * self.buffer_write,
            }
        )

    def at_node(self, node_nm: int | None) -> EnergyTable:
        """Return the table at another node: what is on the chip scales, memory outside does not.

        Raises
        ------
        InputError
            If nothing is known of one of the nodes.
        """
        if node_nm is None or node_nm == self.node_nm:
            return self
        factor = energy_factor(self.node_nm, node_nm)
        scaled = ("add", "max", "div", "register_read", "register_write", "buffer_read", "buffer_write")
        return self.model_copy(
            update={
                "name": f"{self.name}, scaled to {node_nm} nm by Stillmaker and Baas 2017",
                "node_nm": node_nm,
                "mac": {name: factor * joules for name, joules in self.mac.items()},
                "exp": None if self.exp is None else factor * self.exp,
                **{name: factor * getattr(self, name) for name in scaled},
            }
        )


#: Multiply-adds of an exponential without a unit of its own. Source: FuseMax (arXiv 2406.10491), section 5.
_EXPONENTIAL_MACS = 6.0


class NodeScaling(SpecRecord):
    """Energy and area by node, over those at 45 nm."""

    energy: Mapping[str, float]
    area: Mapping[str, float]


@cache
def _scaling() -> NodeScaling:
    return load_spec(Path(__file__).with_name("node_scaling.yaml"), NodeScaling, "hwmodels/node_scaling.yaml")


def _factor(table: Mapping[str, float], source_nm: int, target_nm: int) -> float:
    for node in (source_nm, target_nm):
        if str(node) not in table:
            raise InputError(f"no scaling to {node} nm is known: nodes are {', '.join(table)}")
    return table[str(target_nm)] / table[str(source_nm)]


def energy_factor(source_nm: int, target_nm: int) -> float:
    """Return the energy of logic and SRAM at a node over that at another.

    Raises
    ------
    InputError
        If nothing is known of one of the nodes.

    Examples
    --------
    >>> round(energy_factor(45, 7), 4)
    0.0943
    """
    return _factor(_scaling().energy, source_nm, target_nm)


def area_factor(source_nm: int, target_nm: int) -> float:
    """Return the area of logic and SRAM at a node over that at another; raises as :func:`energy_factor` does."""
    return _factor(_scaling().area, source_nm, target_nm)


@cache
def load_energy_table(name: str) -> EnergyTable:
    """Load a bundled table by name.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    path = ENERGY_TABLES / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in ENERGY_TABLES.glob("*.yaml")))
        raise InputError(f"no energy table {name!r}: known are {known}")
    return load_spec(path, EnergyTable, f"hwmodels/specs/energy/{name}.yaml")
