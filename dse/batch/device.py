"""From the raw numbers of a point to the records that formulas take, compiled."""

from __future__ import annotations

import math

from dse.batch.columns import HBM_BPS, L2_B, L2_RATE, MAX_HZ, QUOTED_HZ, SFU_RATE, SMEM_B, SMS, VECTOR_RATE
from dse.batch.compiled import batch_jit
from dse.batch.table import Floats, Ints
from hwmodels.collectives import LinkParams
from hwmodels.gpu.params import GpuParams
from simulator.core.quantity import per_core_clock, per_second

__all__ = ["device_of", "link_of", "rates_of"]


@batch_jit
def rates_of(raw: Floats, slots: Ints, at_max: Ints, rates: Floats) -> None:
    """Work out what products in each format take per SM and clock."""
    quoted_Hz = raw[MAX_HZ] if math.isnan(raw[QUOTED_HZ]) else raw[QUOTED_HZ]
    for i in range(len(rates)):
        clock_Hz = raw[MAX_HZ] if at_max[i] else quoted_Hz
        rates[i] = per_core_clock(raw[slots[i]], raw[slots[i] + 1] > 0.0, raw[SMS], clock_Hz)


@batch_jit
def device_of(raw: Floats) -> GpuParams:
    """Return a device at its highest clock, as hwmodels.gpu.spec makes it; fields no formula here reads are 0."""
    sms, top = raw[SMS], raw[MAX_HZ]
    return GpuParams(
        sms,
        top,
        top,
        0.0,
        per_core_clock(raw[VECTOR_RATE], raw[VECTOR_RATE + 1] > 0.0, sms, top),
        per_core_clock(raw[SFU_RATE], raw[SFU_RATE + 1] > 0.0, sms, top),
        raw[SMEM_B],
        raw[L2_B],
        per_second(raw[L2_RATE], raw[L2_RATE + 1] > 0.0, 1.0, top),
        raw[HBM_BPS],
        0.0,
    )


@batch_jit
def link_of(base: LinkParams, bandwidth_Bps: float, latency_s: float) -> LinkParams:
    """Return links like ``base`` of another bandwidth and latency."""
    return LinkParams(bandwidth_Bps, latency_s, base.switched, base.peers, base.multicast)
