"""What operators and collectives of a table cost, compiled: the formulas that one simulation runs.

Compiled functions get the few arrays they read and nothing more, and formulas are made part of them where they are
called: a record of a hundred numbers takes longer to hand on than a kernel to cost.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple as _numba_fixed_tuple

import hwmodels.collectives
import hwmodels.gpu
import simulator.core.formula
import simulator.core.jit
import simulator.core.quantity
from dse.batch.table import ATTENTION, BITS, GEMM, GROUPED, WORK, Floats, Ints
from hwmodels.collectives import CollectiveCoefficients, LinkParams, hierarchical_time
from hwmodels.gpu.attention import (
    FLASH2,
    FLASH2_PAGED,
    AttentionCoefficients,
    AttentionShape,
    AttentionWork,
    attention_add,
    attention_finish,
    attention_work,
    query_tiles,
)
from hwmodels.gpu.energy import OperatorWork, kernel_work
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
from hwmodels.gpu.grouped_gemm import grouped_gemm_kernel
from hwmodels.gpu.model import GpuModel
from hwmodels.gpu.params import GpuParams, KernelTime
from hwmodels.gpu.power import KernelWork, PowerCoefficients, kernel_energy, tensor_clock
from hwmodels.gpu.vector import VectorCoefficients, vector_kernel
from hwmodels.network import Network
from simulator.core.formula import register_formulas
from simulator.core.jit import kernel_cache, kernel_jit

__all__ = [
    "COST",
    "RESOURCE",
    "Family",
    "Plans",
    "batch_jit",
    "cost_link",
    "cost_operator",
    "is_compiled",
    "no_plans",
    "power_of",
]


#: Array and length to a tuple, in compiled code; numba declares it with an argument that callers never see.
to_fixed_tuple: Any = _numba_fixed_tuple


#: Numbers of the cost of an operator, and where times of resources begin in it: those that a GPU has, the first six.
COST, RESOURCE = 11, 5
_HBM, _LINK, _LAUNCH = 2, 4, 5


class Family(NamedTuple):
    """Coefficients of the families of a device and its links, the same for all points.

    Plain arrays, read where they are used: a record of a hundred numbers takes longer to hand on than a kernel to cost.
    """

    gemm: Floats
    attention: Floats
    vector: Floats
    power: Floats
    intra: Floats
    direct: Floats  # `intra` with kernels that write to peers
    inter: Floats

    @classmethod
    def of(cls, model: GpuModel, network: Network) -> Family:
        """Return the coefficients of a device and its links."""
        direct = network.intra_library._replace(direct=1.0)
        records = (model.gemm, model.attention, model.vector, model.power)
        libraries = (network.intra_library, direct, network.inter_library)
        return cls(*(np.array(record, np.float64) for record in (*records, *libraries)))


def _sources() -> list[Path]:
    own = (Path(__file__).parent / f"{name}.py" for name in ("costs", "loops", "columns", "metrics", "table"))
    formulas = Path(hwmodels.gpu.__file__ or "").parent.glob("*.py")
    others = (hwmodels.collectives, simulator.core.formula, simulator.core.jit, simulator.core.quantity)
    return [*own, *formulas, *(Path(module.__file__ or "") for module in others)]


def is_compiled() -> bool:
    """Whether this machine keeps the machine code of this version."""
    folder = kernel_cache(_sources())
    return folder is not None and any(folder.rglob("loops.evaluate-*.nbi"))


register_formulas()
batch_jit = kernel_jit(_sources(), allocates=False, inline=True)


_GEMM, _ATTENTION, _VECTOR, _POWER, _LIBRARY = (
    len(record._fields)
    for record in (
        GemmCoefficients,
        AttentionCoefficients,
        VectorCoefficients,
        PowerCoefficients,
        CollectiveCoefficients,
    )
)


_SIDES, _TRAFFIC = len(GemmSides._fields), len(GemmCut._fields)
_ALIVE = _TRAFFIC + len(GemmTraffic._fields)


@batch_jit
def power_of(numbers: Floats) -> PowerCoefficients:
    """Return the record of an array."""
    return PowerCoefficients(*to_fixed_tuple(numbers, _POWER))


@batch_jit
def _library(numbers: Floats) -> CollectiveCoefficients:
    return CollectiveCoefficients(*to_fixed_tuple(numbers, _LIBRARY))


@batch_jit
def _shape(groups: Floats, i: int, rate: float, may_split: int) -> AttentionShape:
    g = groups
    return AttentionShape(
        g[i, 0], g[i, 1], g[i, 2], g[i, 3], g[i, 4], g[i, 5], g[i, 6], int(g[i, 7]), g[i, 8], g[i, 9], g[i, 10],
        g[i, 11], g[i, 12], int(g[i, 13]), rate, int(g[i, 15]), g[i, 16], may_split,
    )  # fmt: skip


@batch_jit
def _launch(
    groups: Floats, first: int, last: int, rate: float, may_split: int, tiles: float, gpu: GpuParams,
    c: AttentionCoefficients,
) -> AttentionWork:  # fmt: skip
    work = attention_work(_shape(groups, first, rate, may_split), tiles, gpu, c)
    for group in range(first + 1, last):
        work = attention_add(work, attention_work(_shape(groups, group, rate, may_split), tiles, gpu, c))
    return work


@batch_jit
def _attention(groups: Floats, first: int, last: int, rate: float, gpu: GpuParams, coefficients: Floats) -> KernelTime:
    """As hwmodels.gpu.analytic does it: all groups of a step share one launch, split by a rule or by time."""
    c = AttentionCoefficients(*to_fixed_tuple(coefficients, _ATTENTION))
    tiles = 0.0
    if last - first > 1:
        for group in range(first, last):
            tiles += query_tiles(_shape(groups, group, rate, 1), gpu, c)
    by_rule = int(groups[first, 15]) in (FLASH2, FLASH2_PAGED)
    work = _launch(groups, first, last, rate, 1, tiles, gpu, c)
    split = attention_finish(work, gpu, c)
    if by_rule or work.join_s == 0.0:
        return split
    whole = attention_finish(_launch(groups, first, last, rate, 0, tiles, gpu, c), gpu, c)
    return split if split.time_s <= whole.time_s else whole


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
def _gemm(
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


@batch_jit
def _grouped(o: int, code: int, n: Floats, rate: float, gpu: GpuParams, coefficients: Floats) -> KernelTime:
    c = GemmCoefficients(*to_fixed_tuple(coefficients, _GEMM))
    return grouped_gemm_kernel(
        n[o, 0], n[o, 1], n[o, 2], n[o, 3], n[o, 4], n[o, 5], n[o, 6], n[o, 7], rate, gemm_format(code, c), n[o, 8],
        gpu, c,
    )  # fmt: skip


@batch_jit
def _stream(o: int, n: Floats, gpu: GpuParams, coefficients: Floats) -> KernelTime:
    c = VectorCoefficients(*to_fixed_tuple(coefficients, _VECTOR))
    return vector_kernel(n[o, 0], n[o, 1], n[o, 2], n[o, 3], n[o, 4], n[o, 5], n[o, 6], 0.0, gpu, c)


@batch_jit
def cost_operator(
    o: int, codes: Ints, n: Floats, groups: Floats, rates: Floats, clock_Hz: float, gpu: GpuParams,
    gemm: Floats, attention: Floats, vector: Floats, power: Floats, stamp: Ints, plans: Plans, top: Floats,
    cost: Floats,
) -> None:  # fmt: skip
    """Put time, energy and what each resource alone would take of an operator into ``cost``.

    Parameters
    ----------
    o, codes, n, groups
        Which of the :class:`dse.batch.table.Operators`, and those.
    rates : (formats,) float
        FLOP per SM and clock of products.
    clock_Hz : float
        The clock that the device as a whole is at.
    gpu
        The device at its highest clock.
    gemm, attention, vector, power
        Of its :class:`Family`.
    stamp : (2,) int
        Which device this is, and with which cache;
    plans
        what is known of its products.
    top : (COST,) float
        The cost at the highest clock, which is worked out first.
    cost : (COST,) float
        Time; energy of matrix units, ordinary cores, L2 and memory at the highest clock; times of the resources from
        RESOURCE on, in the order of hwmodels.device.RESOURCES. Written.
    """
    c = power_of(power)
    if n[o, BITS] > 0.0:
        own_Hz = tensor_clock(clock_Hz, gpu.max_clock_Hz, n[o, BITS], c)
        if own_Hz == gpu.max_clock_Hz and clock_Hz < own_Hz:  # not yet slower than fast current limits make it
            for i in range(COST):
                cost[i] = top[i]
            return
        clock_Hz = own_Hz
    now = GpuParams(
        gpu.sms, clock_Hz, gpu.max_clock_Hz, gpu.mma_f16_flop_per_clock, gpu.vector_flop_per_clock,
        gpu.sfu_op_per_clock, gpu.smem_B, gpu.l2_B, gpu.l2_Bps, gpu.hbm_Bps, gpu.hbm_B,
    )  # fmt: skip
    kind, code, rate = codes[o, 0], codes[o, 1], rates[codes[o, 2]]
    if kind == GEMM:
        time = _gemm(o, code, n, rate, now, gemm, stamp, plans)
    elif kind == GROUPED:
        time = _grouped(o, code, n, rate, now, gemm)
    elif kind == ATTENTION:
        time = _attention(groups, codes[o, 3], codes[o, 4], rate, now, attention)
    else:
        time = _stream(o, n, now, vector)
    asked = OperatorWork(
        n[o, WORK], n[o, WORK + 1], n[o, WORK + 2], n[o, WORK + 3], n[o, WORK + 4], n[o, WORK + 5], n[o, WORK + 6]
    )
    energy = kernel_energy(kernel_work(asked, time, now), c)
    cost[0] = time.time_s
    cost[1] = energy.mma_J
    cost[2] = energy.vector_J + energy.special_J
    cost[3] = energy.l2_J
    cost[4] = energy.hbm_J
    cost[RESOURCE] = time.compute_s
    cost[RESOURCE + 1] = time.special_s
    cost[RESOURCE + 2] = time.hbm_s
    cost[RESOURCE + 3] = time.l2_s
    cost[RESOURCE + 4] = 0.0
    cost[RESOURCE + 5] = time.fixed_s


@batch_jit
def cost_link(
    route: Floats, intra: LinkParams, inter: LinkParams, hbm_Bps: float, family: Family, repeat: float, sums: Floats,
    bounds: Floats,
) -> None:  # fmt: skip
    """Add time, L2, memory and link energy of ``repeat`` collectives to ``sums``, and the time to what bounds them."""
    library = _library(family.direct if route[4] > 0.0 else family.intra)
    far = _library(family.inter)
    spent = hierarchical_time(int(route[0]), route[1], route[2], route[3], intra, library, inter, far)
    half_B = spent.hbm_B / 2.0
    work = KernelWork(0.0, 16.0, 0.0, 0.0, 0.0, spent.hbm_B, half_B, half_B, spent.wire_B)
    energy = kernel_energy(work, power_of(family.power))
    sums[0] += repeat * spent.time_s
    sums[1] += repeat * energy.l2_J
    sums[2] += repeat * energy.hbm_J
    sums[3] += repeat * energy.link_J
    hbm_s = half_B * 2.0 / hbm_Bps
    link_s = max(spent.time_s - spent.latency_s, 0.0)
    bound = _HBM
    if link_s > hbm_s:
        bound = _LINK
    if spent.latency_s > max(hbm_s, link_s):
        bound = _LAUNCH
    bounds[bound] += repeat * spent.time_s
