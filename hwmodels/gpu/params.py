"""The numbers a GPU formula sees: flat records of SI floats, the same for one point and for a column of a sweep."""

from __future__ import annotations

import math
from typing import NamedTuple

from simulator.core.formula import formula

__all__ = ["GpuParams", "KernelTime", "norm"]


class GpuParams(NamedTuple):
    """What a datasheet says of one GPU, at the clock it runs at; efficiencies are those of each kernel family."""

    sms: float  # streaming multiprocessors (compute units on AMD)
    clock_Hz: float  # the SM clock now; the power model lowers it
    max_clock_Hz: float  # the highest SM clock without a power limit
    mma_f16_flop_per_clock: float  # dense tensor FLOP per SM and clock for bf16/fp16 (2 per multiply-add)
    vector_flop_per_clock: float  # fp32 FLOP per SM and clock on the ordinary cores (an FMA is 2)
    sfu_op_per_clock: float  # exponentials, reciprocals... per SM and clock on the special-function units
    smem_B: float  # shared memory a thread block can hold, per SM
    l2_B: float  # last-level cache
    l2_Bps: float  # its bandwidth at max_clock_Hz
    hbm_Bps: float  # datasheet bandwidth of the device memory
    hbm_B: float  # its capacity


class KernelTime(NamedTuple):
    """What one kernel costs: the time, what each resource alone would need, and the bytes moved."""

    time_s: float  # as observed: includes fixed_s; at least the largest of the others
    compute_s: float  # tensor (or vector) pipes busy, quantisation included
    special_s: float  # special-function or dequantisation work on the ordinary cores
    hbm_s: float  # device-memory traffic at the bandwidth this kernel can reach
    l2_s: float  # traffic between L2 and the SMs
    fixed_s: float  # launch, prologue, epilogue, barriers: what a kernel of no work would take
    hbm_read_B: float
    hbm_write_B: float
    l2_B: float


@formula
def norm(exponent: float, a: float, b: float, c: float, d: float) -> float:
    """Join times that run beside each other: the p-norm of up to four, 0 where there are fewer.

    ``(a^p + b^p + c^p + d^p)^(1/p)`` with ``p`` the exponent: their sum at 1, the longest where it is large.
    """
    longest = max(a, b, c, d)
    if longest == 0.0:
        return 0.0
    total = _share(exponent, a, longest) + _share(exponent, b, longest)
    total += _share(exponent, c, longest) + _share(exponent, d, longest)
    return longest if total == 1.0 else longest * math.pow(total, 1.0 / exponent)


@formula
def _share(exponent: float, part: float, longest: float) -> float:
    """Return a power of a share; powers are slow, and most shares of a norm are all or nothing."""
    if part == longest:
        return 1.0
    return 0.0 if part == 0.0 else math.pow(part / longest, exponent)
