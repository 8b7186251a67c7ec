"""Products by their commands: one channel's passes run on the compiled controller, repeats passed over exactly.

A pass that starts from the same state takes the same time and ends in the same state, so passes are run once for every
state they start from, and once a state comes back the rest is a multiple of what lies between.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from hwmodels.pim.channel import PimController, PimTable, channel_state, run_on
from hwmodels.pim.closed_form import ProductTime, product_time
from hwmodels.pim.layout import Layout, Product
from hwmodels.pim.params import PimParams
from hwmodels.pim.program import MOST_COMMANDS, device_controller, pass_entries, row_units
from hwmodels.pim.spec import PimSpec
from hwmodels.pim.table import pim_dram, spacing
from simulator.core.errors import UnsupportedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

__all__ = ["PassesRun", "cycle_product_time", "run_passes"]


#: Refresh intervals that passes are averaged over.
_INTERVALS = 40


class PassesRun(NamedTuple):
    """What passes one after the other took: ticks of all, and how many were really run."""

    ticks: int
    simulated: int


def cycle_product_time(job: Product, p: PimParams, spec: PimSpec) -> ProductTime:
    """Time of products by the commands of the layout that the closed form finds fastest.

    Compute commands stretched by their multipliers are a whole number of ticks apart: time lies between that of both.

    Raises
    ------
    UnsupportedError
        If a pass has more commands than memory for them.
    """
    best = product_time(job, p)
    layout = best.layout
    gap = spacing(pim_dram(spec), spec.commands.compute, spec.commands.compute, spec.commands.compute_within)
    wanted = gap * layout.stretch
    low = math.floor(wanted + 1e-9)
    share = wanted - low
    time_s = _layout_time_s(spec, layout, low, p) * (1.0 - share)
    if share > 1e-9:
        time_s += _layout_time_s(spec, layout, low + 1, p) * share
    return best._replace(time_s=time_s + best.sum_s)


def _layout_time_s(spec: PimSpec, layout: Layout, gap: int, p: PimParams) -> float:
    """Seconds of all passes, scaled with the device's clock where a what-if has changed it."""
    own = pim_dram(spec)
    base_s = spacing(own, spec.commands.compute, spec.commands.compute, spec.commands.compute_within) * own.tick_s
    program = layout._replace(passes=1.0, rounds=1.0, used=1.0, partial=1.0, stretch=1.0)
    # Short products run one after the other: what they take includes their share of the refreshes of all of them.
    one = _passes(spec, program, gap, 1).ticks
    count = max(math.ceil(layout.passes), math.ceil(_INTERVALS * own.timings["nREFI"] / one))
    ticks = _passes(spec, program, gap, count).ticks / count * layout.passes
    return ticks * own.tick_s * p.gap_s / base_s


@lru_cache(maxsize=4096)
def _passes(spec: PimSpec, layout: Layout, gap: int, count: int) -> PassesRun:
    """Run so many passes of a layout with compute commands ``gap`` ticks apart."""
    table = _table(spec, gap)
    if layout.bursts + layout.loads + layout.moves * len(spec.commands.move) > MOST_COMMANDS:
        raise UnsupportedError(
            f"{spec.name}: a pass of {layout.bursts:.0f} commands on each channel; the cycle level takes "
            f"{MOST_COMMANDS}: use --level analytic"
        )
    return run_passes(table, pass_entries(spec, table, layout), device_controller(spec), row_units(spec), count)


@lru_cache(maxsize=64)
def _table(spec: PimSpec, gap: int) -> PimTable:
    """Return the table of a device with its compute commands at least so many ticks apart."""
    dram, compute = pim_dram(spec), spec.commands.compute

    def spread(latency: int) -> int:
        return max(latency, gap)

    rows = tuple(
        replace(row, latency=spread(row.latency))
        if compute in row.prev and compute in row.next and row.scope == "Channel"
        else row
        for row in dram.constraints
    )
    return PimTable(replace(dram, constraints=rows))


def run_passes(
    table: PimTable, entries: Integers, controller: PimController, units: int, count: int, forward: bool = True
) -> PassesRun:
    """Run a stream so many times on one channel, each after the one before has ended.

    Parameters
    ----------
    forward
        Whether states that come back are used; without, every pass is run.
    """
    state = channel_state(table, controller, units)
    seen: dict[bytes, int] = {}
    ends = [0]
    for number in range(count):
        key = state.key()
        if forward and key in seen:
            first = seen[key]
            period, remaining = number - first, count - number
            cycle = ends[number] - ends[first]
            whole, rest = divmod(remaining, period)
            return PassesRun(ends[number] + whole * cycle + ends[first + rest] - ends[first], number)
        seen[key] = number
        ends.append(ends[-1] + run_on(table, entries, controller, state))
    return PassesRun(ends[-1], count)
