"""Fields that hold quantities: how pydantic records read ``"3.35 TB/s"`` and describe it to editors."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from simulator.core.errors import InputError
from simulator.core.formula import formula
from simulator.core.specfile import KINDS, shown
from simulator.core.units import DIMENSIONS, check_range, parse_quantity

__all__ = ["Quantity", "Rate", "RateOf", "per_core_clock", "per_second", "quantity_schema"]


@dataclass(frozen=True, slots=True)
class Quantity:
    """Marks a field as a quantity: ``Annotated[float, Quantity("B/s")]`` reads ``"3.35 TB/s"``.

    Parameters
    ----------
    dimension
        A key of :data:`simulator.core.units.DIMENSIONS`.
    zero
        Whether zero makes sense (a latency) or is an error (a bandwidth).
    largest
        A limit tighter than the dimension's own, in SI (an efficiency is at most 1).
    """

    dimension: str
    zero: bool = False
    largest: float | None = None

    def read(self, value: object) -> float:
        """Return the SI value of a quantity as written, or of a number where the dimension is 1.

        Raises
        ------
        ValueError
            If it is not one; the message says what to write.
        """
        try:
            number = self._number(value)
        except InputError as error:
            raise ValueError(str(error)) from None
        if number == 0.0 and not self.zero:
            raise ValueError(f"must be more than zero, got {value!r}")
        if self.largest is not None and number > self.largest:
            raise ValueError(f"must be at most {self.largest:g}, got {value!r}")
        return number

    def _number(self, value: object) -> float:
        if isinstance(value, str):
            return parse_quantity(value, self.dimension)
        if isinstance(value, bool) or not isinstance(value, int | float):
            example = DIMENSIONS[self.dimension].example
            raise ValueError(f"expected a quantity in {self.dimension}, e.g. {example!r}, got {shown(value)}")
        if self.dimension == "1":
            return check_range(float(value), "1", repr(value))
        return parse_quantity(repr(value), self.dimension)  # raises, naming the unit to write

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return quantity_schema(self.dimension)


@formula
def per_core_clock(value: float, per_clock: bool, cores: float, clock_Hz: float) -> float:
    """Return the work of one core in one cycle; a device rate was quoted for ``cores`` at ``clock_Hz``."""
    return value if per_clock else value / (cores * clock_Hz)


@formula
def per_second(value: float, per_clock: bool, cores: float, clock_Hz: float) -> float:
    """Return the work of the whole device in one second with ``cores`` at ``clock_Hz``."""
    return value * cores * clock_Hz if per_clock else value


class Rate(NamedTuple):
    """Work per time: of the whole device per second, or of one core per clock cycle.

    The second is a fact of the architecture and follows a changed number of cores or clock; the first is what
    datasheets print.
    """

    value: float
    per_clock: bool

    def per_core_clock(self, cores: float, clock_Hz: float) -> float:
        """Return the work of one core in one cycle; a device rate was quoted for ``cores`` at ``clock_Hz``."""
        return per_core_clock(self.value, self.per_clock, cores, clock_Hz)

    def per_second(self, cores: float, clock_Hz: float) -> float:
        """Return the work of the whole device in one second with ``cores`` at ``clock_Hz``."""
        return per_second(self.value, self.per_clock, cores, clock_Hz)


@dataclass(frozen=True, slots=True)
class RateOf:
    """Marks a field as a rate: ``Annotated[Rate, RateOf("FLOP")]`` reads ``"989.4 TFLOP/s"`` or ``"4096 FLOP/clk"``.

    Parameters
    ----------
    work
        ``"FLOP"``, ``"OP"`` or ``"B"``.
    """

    work: str

    def read(self, value: object) -> Rate:
        """Return the rate written.

        Raises
        ------
        ValueError
            If it is not one; the message says what to write.
        """
        per_clock = isinstance(value, str) and re.search(r"/ ?cl(oc)?k$", value.strip()) is not None
        return Rate(Quantity(f"{self.work}/{'clk' if per_clock else 's'}").read(value), per_clock)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return quantity_schema(f"{self.work}/s", f"{self.work}/clk")


def quantity_schema(*dimensions: str) -> dict[str, Any]:
    """Return the JSON Schema of a quantity in any of the given dimensions, bare or with its source."""
    units = [re.escape(u) for d in dimensions for u in DIMENSIONS[d].units]
    prefixes = [re.escape(p) for p in dict.fromkeys(p for d in dimensions for p in DIMENSIONS[d].prefixes)]
    number = r"^\s*\+?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?"
    text = {"type": "string", "pattern": rf"{number}\s*({'|'.join(prefixes)})({'|'.join(units)})\s*$"}
    bare: dict[str, Any] = {"anyOf": [{"type": "number", "minimum": 0}, text]} if dimensions == ("1",) else dict(text)
    bare["examples"] = [DIMENSIONS[d].example for d in dimensions]
    about = {"source": {"type": "string"}, "kind": {"enum": list(KINDS)}, "note": {"type": "string"}}
    sourced = {
        "type": "object",
        "properties": {"value": bare, **about},
        "required": ["value"],
        "additionalProperties": False,
    }
    return {"anyOf": [bare, sourced], "description": f"a quantity in {' or '.join(dimensions)}"}
