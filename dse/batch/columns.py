"""Columns of a batch: which fields of a system may differ from point to point, and where compiled code finds them.

A point of a batch is a row of raw numbers, as a specification states them; everything derived from them (rates per
core and clock, the lowest clock) is worked out by the formulas that a specification itself uses.
"""

from __future__ import annotations

import math
import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwmodels.gpu.spec import GpuSpec, TensorSpec
from hwmodels.spec import SystemSpec, as_gpu
from simulator.core.quantity import Rate

__all__ = ["COLUMNS", "SLOTS", "Place", "column_name", "raw_numbers"]

#: What a changed column makes work to be done again: kernels; only those of dense products; only collectives; only the
#: clock; only what is compared at the end. Points are quickest where columns of low rank change rarely.
KERNELS, PRODUCTS, LINKS, BOARD, FREE = range(5)

SMS, MAX_HZ, QUOTED_HZ, MIN_HZ, SMEM_B, L2_B, HBM_BPS = range(7)
LIMIT_W, IDLE_W, LINK_BPS, LINK_S, NETWORK_BPS, NETWORK_S = range(7, 13)
HBM_B, AREA_MM2, PRICE_USD = range(13, 16)
#: Rates take two slots: the number, and 1 where it is per core and clock, 0 where of the device per second.
L2_RATE, VECTOR_RATE, SFU_RATE, TENSOR_RATES = 16, 18, 20, 22
_TENSOR = tuple(TensorSpec.model_fields)
SLOTS = TENSOR_RATES + 2 * len(_TENSOR)


class Place(NamedTuple):
    """Where the values of a field go, and the rank of what depends on them."""

    slot: int
    rank: int


#: Columns by name: the path of the field, and ``/clk`` behind that of a rate given per core and clock.
COLUMNS: dict[str, Place] = {
    "sms": Place(SMS, KERNELS),
    "clock.max": Place(MAX_HZ, KERNELS),
    "clock.peak_quoted_at": Place(QUOTED_HZ, KERNELS),
    "clock.min": Place(MIN_HZ, KERNELS),
    "shared_memory": Place(SMEM_B, KERNELS),
    "l2.capacity": Place(L2_B, PRODUCTS),
    "hbm.bandwidth": Place(HBM_BPS, KERNELS),
    "power.limit": Place(LIMIT_W, BOARD),
    "power.idle": Place(IDLE_W, BOARD),
    "link.bandwidth": Place(LINK_BPS, LINKS),
    "link.latency": Place(LINK_S, LINKS),
    "network.bandwidth": Place(NETWORK_BPS, LINKS),
    "network.latency": Place(NETWORK_S, LINKS),
    "hbm.capacity": Place(HBM_B, FREE),
    "die_area": Place(AREA_MM2, FREE),
    "price": Place(PRICE_USD, FREE),
}
_RATES = {
    "l2.bandwidth": L2_RATE,
    "vector.fp32": VECTOR_RATE,
    "vector.sfu": SFU_RATE,
    **{f"tensor.{name}": tensor_slot for name, tensor_slot in zip(_TENSOR, range(TENSOR_RATES, SLOTS, 2), strict=True)},
}
COLUMNS |= {name + per: Place(slot, KERNELS) for name, slot in _RATES.items() for per in ("", "/clk")}

_UNIT = re.compile(r"^(units\.)?(\*|0)?\.?(device\.)?(?=[a-z])")


def column_name(path: str, dimension: str) -> str | None:
    """Return the column of a field, or None where each value needs a table of its own.

    Parameters
    ----------
    path : str
        As after ``--set``: ``hbm.bandwidth``.
    dimension : str
        Of the values: ``B/s``, ``FLOP/clk``...

    Examples
    --------
    >>> column_name("units.0.device.tensor.bf16", "FLOP/clk")
    'tensor.bf16/clk'
    >>> column_name("model.layers", "1") is None
    True
    """
    name = _UNIT.sub("", path)
    if dimension.endswith("/clk"):
        name += "/clk"
    return name if name in COLUMNS else None


def raw_numbers(spec: SystemSpec) -> NDArray[np.float64]:
    """Return the numbers of a system of GPUs by slot; NaN where it does not say.

    Raises
    ------
    UnsupportedError
        If its devices are no GPUs.
    """
    gpu = as_gpu(spec.device)
    network = spec.network or gpu.link
    raw = np.full(SLOTS, math.nan)
    stated: dict[int, float | None] = {
        SMS: gpu.sms,
        MAX_HZ: gpu.clock.max_Hz,
        QUOTED_HZ: gpu.clock.peak_quoted_at_Hz,
        MIN_HZ: gpu.clock.min_Hz,
        SMEM_B: gpu.shared_memory_B,
        L2_B: gpu.l2.capacity_B,
        HBM_BPS: gpu.hbm.bandwidth_Bps,
        LIMIT_W: gpu.power.limit_W,
        IDLE_W: gpu.power.idle_W,
        LINK_BPS: gpu.link.bandwidth_Bps,
        LINK_S: gpu.link.latency_s,
        NETWORK_BPS: network.bandwidth_Bps,
        NETWORK_S: network.latency_s,
        HBM_B: gpu.hbm.capacity_B,
        AREA_MM2: gpu.die_area_mm2,
        PRICE_USD: gpu.price_USD,
    }
    for slot, value in stated.items():
        if value is not None:
            raw[slot] = value
    for name, slot in _RATES.items():
        rate = _rate(gpu, name)
        if rate is not None:
            raw[slot : slot + 2] = rate.value, float(rate.per_clock)
    return raw


def rate_slot(used: str) -> int:
    """Return the slot of the rate of products computed in a format; ``fp32`` means the ordinary cores."""
    return VECTOR_RATE if used == "fp32" else _RATES[f"tensor.{used}"]


def _rate(gpu: GpuSpec, name: str) -> Rate | None:
    part, _, field = name.partition(".")
    found: Rate | None = getattr(getattr(gpu, part), field)
    return found
