"""Dense products of a table, compiled: their cuts are worked out once per device, whatever clock they run at.

The same formulas in the same order as :func:`hwmodels.gpu.gemm.gemm_kernel`; what does not depend on the clock is kept.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dse.batch.compiled import batch_jit, to_fixed_tuple
from dse.batch.table import Floats, Ints
from hwmodels.gpu.gemm import (
    GemmCoefficients,
    GemmCut,
    GemmSides,
    GemmTraffic,
    MmaCoefficients,
    gemm_cut,
    gemm_format,
    gemm_sides,
    gemm_special_s,
    gemm_start_s,
    gemm_time,
    gemm_traffic,
)
from hwmodels.gpu.gemm_tiles import TILE_CANDIDATES, Tile, gemm_tile, tile_repeats
from hwmodels.gpu.params import GpuParams, KernelTime

__all__ = ["Plans", "no_plans", "product_time"]

_GEMM = len(GemmCoefficients._fields)
_SIDES, _TRAFFIC = len(GemmSides._fields), len(GemmCut._fields)
_ALIVE = _TRAFFIC + len(GemmTraffic._fields)


class Plans(NamedTuple):
    """What products are at any clock of a device, kept while only the clock changes."""

    stamp: Ints  # (operators, 2): of which device the cuts are, and for which cache their traffic
    sides: Floats  # (operators, 10): GemmSides
    cuts: Floats  # (operators, candidates, 11): GemmCut and GemmTraffic; last 1: to be looked at
    winner: Ints  # (operators,): the quickest candidate last time, tried first: it rules out most others
    sees_l2: Ints  # (operators,): 1 if the size of the cache matters


def no_plans(operators: int) -> Plans:
    """Return memory for the plans of so many operators."""
    return Plans(
        np.zeros((operators, 2), np.int64),
        np.zeros((operators, _SIDES)),
        np.zeros((operators, TILE_CANDIDATES, _ALIVE + 1)),
        np.zeros(operators, np.int64),
        np.zeros(operators, np.int64),
    )


@batch_jit
def _plan_gemm(
    o: int, n: Floats, rate: float, mma: MmaCoefficients, gpu: GpuParams, c: GemmCoefficients, p: Plans
) -> None:
    """Work out the candidates of a product, their traffic not yet."""
    s = gemm_sides(n[o, 0], n[o, 1], n[o, 2], n[o, 3], n[o, 4], n[o, 5], n[o, 6], gpu, c)
    for i in range(len(s)):
        p.sides[o, i] = s[i]
    p.winner[o] = 0
    p.sees_l2[o] = 0
    for index in range(TILE_CANDIDATES):
        p.cuts[o, index, 0] = 0.0
        if tile_repeats(index, s.short):
            continue
        cut = gemm_cut(s, _tile(index, s, gpu, mma), rate, mma, gpu, c)
        for i in range(len(cut)):
            p.cuts[o, index, i] = cut[i]
        if cut.blocks > gpu.sms:  # panels that survive from wave to wave, see gemm_read_B
            p.sees_l2[o] = 1


@batch_jit
def _forget_traffic(o: int, p: Plans) -> None:
    for index in range(TILE_CANDIDATES):
        p.cuts[o, index, _TRAFFIC] = math.nan
        p.cuts[o, index, _ALIVE] = 1.0 if p.cuts[o, index, 0] > 0.0 else 0.0


@batch_jit
def _tile(index: int, s: GemmSides, gpu: GpuParams, mma: MmaCoefficients) -> Tile:
    return gemm_tile(index, s.short, s.long, s.k, s.copies, gpu.sms, mma.most_area, mma.granule)


@batch_jit
def _is_never_quicker(row: Floats, other: Floats) -> bool:
    """Whether a cut asks as much of everything as another, so that it is the slower one at any clock."""
    # clocks, wave_s, split_B, hbm_s, l2_B, l2_s
    for i in (3, 4, 5, 6, 8, 9):  # noqa: SIM110 - generators are not compiled
        if row[i] < other[i]:
            return False
    return True


@batch_jit
def product_time(
    o: int, code: int, n: Floats, rate: float, gpu: GpuParams, coefficients: Floats, stamp: Ints, p: Plans
) -> KernelTime:
    """As :func:`hwmodels.gpu.gemm.gemm_kernel` does it, over candidates that are worked out once per device."""
    c = GemmCoefficients(*to_fixed_tuple(coefficients, _GEMM))
    mma = gemm_format(code, c)
    if p.stamp[o, 0] != stamp[0]:
        _plan_gemm(o, n, rate, mma, gpu, c, p)
    if p.stamp[o, 1] != stamp[1]:
        _forget_traffic(o, p)
    p.stamp[o, 0] = stamp[0]
    p.stamp[o, 1] = stamp[1]
    s = GemmSides(*to_fixed_tuple(p.sides[o], _SIDES))
    special_s = gemm_special_s(n[o, 0], n[o, 1], n[o, 2], n[o, 3], n[o, 7], n[o, 8], gpu, c)
    best = KernelTime(math.inf, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    winner = chosen = p.winner[o]
    for turn in range(-1, TILE_CANDIDATES):
        index = winner if turn < 0 else turn
        if turn == winner or p.cuts[o, index, _ALIVE] == 0.0:
            continue
        row = p.cuts[o, index]
        cut = GemmCut(row[0], row[1], row[2], row[3], row[4], row[5])
        fixed_s = gemm_start_s(cut, mma, gpu, c)
        if fixed_s + cut.clocks / gpu.clock_Hz + cut.wave_s > best.time_s:
            continue
        if math.isnan(row[_TRAFFIC]):
            moved = gemm_traffic(s, _tile(index, s, gpu, mma), cut, gpu, c)
            for i in range(len(moved)):
                row[_TRAFFIC + i] = moved[i]
        traffic = GemmTraffic(row[6], row[7], row[8], row[9])
        time = gemm_time(s, cut, traffic, special_s, fixed_s, best.time_s, gpu, c)
        if time.time_s < best.time_s or (time.time_s == best.time_s and index < chosen):
            best = time
            chosen = index
        elif chosen < index and _is_never_quicker(row, p.cuts[o, chosen]):
            row[_ALIVE] = 0.0
    p.winner[o] = chosen
    return best
