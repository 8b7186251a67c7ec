"""Area of the logic that a unit adds to its memory, by component, scaled from a published design."""

from __future__ import annotations

from typing import NamedTuple

from hwmodels.pim.params import pim_params
from hwmodels.pim.spec import PimSpec
from simulator.core.errors import InputError
from simulator.core.formula import formula

__all__ = ["PimArea", "pim_area", "scaled_area"]


class PimArea(NamedTuple):
    """What is added to one stack or chip, mm2."""

    macs_mm2: float
    buffers_mm2: float
    vias_mm2: float
    functions_mm2: float

    @property
    def total_mm2(self) -> float:
        """All components."""
        return sum(self)


@formula
def scaled_area(macs: float, multiplier: float, macs_then: float, multiplier_then: float, then: PimArea) -> PimArea:
    """Area of a design from another: multipliers and buffers by their number, vias by the bandwidth they add.

    Buffers and function units hold and pass what the multipliers take and give, so they grow with them; a multiplier of
    1 needs no vias more than the memory has.

    Parameters
    ----------
    macs, multiplier
        Multiply-adds in each clock and bandwidth over that which leaves the memory, of one stack.
    macs_then, multiplier_then, then
        The same of the design whose area is known.
    """
    more = macs / macs_then
    vias = (multiplier - 1.0) / (multiplier_then - 1.0)
    return PimArea(then.macs_mm2 * more, then.buffers_mm2 * more, then.vias_mm2 * vias, then.functions_mm2 * more)


def pim_area(spec: PimSpec) -> PimArea:
    """Return the area of the logic in one stack.

    Raises
    ------
    InputError
        If the specification does not give the area by component, with what it was for.
    """
    area = spec.area
    parts = (area.macs_mm2, area.buffers_mm2, area.vias_mm2, area.functions_mm2) if area is not None else (None,) * 4
    if area is None or None in (*parts, area.reference_macs, area.reference_multiplier):
        raise InputError(f"{spec.name}: no area by component is known")
    params = pim_params(spec)
    macs = params.flop_per_s * spec.channels / 2.0 / spec.compute.clock_Hz
    assert area.reference_macs is not None
    assert area.reference_multiplier is not None
    known = PimArea(*(part or 0.0 for part in parts))
    multiplier = params.stream_Bps / params.external_Bps
    return scaled_area(macs, multiplier, float(area.reference_macs), area.reference_multiplier, known)
