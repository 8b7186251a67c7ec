"""Metrics of a block of points, made of what the compiled loops work out; named as the JSON report names them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["BOUND_ROW", "METRICS", "PARTS", "PART_ROW", "ROWS", "Block"]

Column = NDArray[np.float64]

#: Energy by part, as the compiled loops order it.
PARTS = ("idle", "clock", "compute", "vector", "l2", "hbm", "link")
_PREFILL_S, _DECODE_S, _PREFILL_J, _DECODE_J, _PREFILL_HZ, _DECODE_HZ, PART_ROW = range(7)
#: Rows of what the loops write.
BOUND_ROW = PART_ROW + len(PARTS)
ROWS = BOUND_ROW + 2


@dataclass(frozen=True, slots=True)
class Block:
    """Some points: times and energies as the compiled loops write them, and what they are set against."""

    core: NDArray[np.float64]  # (ROWS, points)
    tokens: float  # that time and energy are divided by
    decode_steps: float
    has_prefill: bool
    devices: float
    memory_B: float  # asked for
    usable_B: Column
    area_mm2: Column  # of one device
    price_USD: Column

    @property
    def latency_s(self) -> Column:
        """Time of both phases."""
        total: Column = self.core[_PREFILL_S] + self.core[_DECODE_S]
        return total

    @property
    def energy_J(self) -> Column:
        """Energy of both phases."""
        total: Column = self.core[_PREFILL_J] + self.core[_DECODE_J]
        return total

    def of_phase(self, row: int) -> Column:
        """Return a row of the core; NaN where the request has no such phase."""
        prefill = row in (_PREFILL_S, _PREFILL_J, _PREFILL_HZ)
        there = self.has_prefill if prefill else self.decode_steps > 0
        found: Column = self.core[row] if there else self.nothing
        return found

    @property
    def nothing(self) -> Column:
        """A column without values."""
        return np.full(self.core.shape[1], np.nan)


def _row(row: int) -> Callable[[Block], Column]:
    def read(block: Block) -> Column:
        found: Column = block.core[row]
        return found

    return read


#: Every metric: a column of a block. What bounds a phase is the position of the resource in hwmodels.device.RESOURCES.
METRICS: Mapping[str, Callable[[Block], Column]] = {
    "ttft_s": lambda b: b.of_phase(_PREFILL_S),
    "tpot_s": lambda b: b.of_phase(_DECODE_S) / max(b.decode_steps, 1.0),
    "latency_s": lambda b: b.latency_s,
    "tokens_per_s": lambda b: b.tokens / b.latency_s,
    "tokens_per_s_per_device": lambda b: b.tokens / (b.latency_s * b.devices),
    "energy_J": lambda b: b.energy_J,
    "energy_per_token_J": lambda b: b.energy_J / b.tokens,
    "power_W": lambda b: b.energy_J / b.latency_s,
    "power_per_device_W": lambda b: b.energy_J / (b.latency_s * b.devices),
    "memory_B": lambda b: np.full(b.core.shape[1], b.memory_B),
    "memory_fill": lambda b: b.memory_B / b.usable_B,
    "memory.margin_B": lambda b: b.usable_B - b.memory_B,
    "devices": lambda b: np.full(b.core.shape[1], b.devices),
    "area_mm2": lambda b: b.area_mm2 * b.devices,
    "price_USD": lambda b: b.price_USD * b.devices,
    "phases.prefill.time_s": lambda b: b.of_phase(_PREFILL_S),
    "phases.prefill.energy_J": lambda b: b.of_phase(_PREFILL_J),
    "phases.prefill.clock_Hz": lambda b: b.of_phase(_PREFILL_HZ),
    "phases.prefill.bound": lambda b: b.core[BOUND_ROW] if b.has_prefill else b.nothing,
    "phases.decode.time_s": lambda b: b.of_phase(_DECODE_S),
    "phases.decode.energy_J": lambda b: b.of_phase(_DECODE_J),
    "phases.decode.clock_Hz": lambda b: b.of_phase(_DECODE_HZ),
    "phases.decode.bound": lambda b: b.core[BOUND_ROW + 1] if b.decode_steps else b.nothing,
    **{f"energy_parts_J.{part}": _row(PART_ROW + i) for i, part in enumerate(PARTS)},
}
