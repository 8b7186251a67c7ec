"""What operators and collectives of a table cost, compiled: the formulas that one simulation runs."""

from __future__ import annotations

from dse.batch.compiled import Family, batch_jit, power_of, to_fixed_tuple
from dse.batch.products import Plans, product_time
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
from hwmodels.gpu.gemm import GemmCoefficients, gemm_format
from hwmodels.gpu.grouped_gemm import grouped_gemm_kernel
from hwmodels.gpu.params import GpuParams, KernelTime
from hwmodels.gpu.power import KernelWork, kernel_energy, tensor_clock
from hwmodels.gpu.vector import VectorCoefficients, vector_kernel

__all__ = ["COST", "RESOURCE", "cost_link", "cost_operator"]


#: Numbers of the cost of an operator, and where times of resources begin in it: those that a GPU has, the first six.
COST, RESOURCE = 11, 5
_HBM, _LINK, _LAUNCH = 2, 4, 5


_GEMM, _ATTENTION, _VECTOR, _LIBRARY = (
    len(record._fields)
    for record in (
        GemmCoefficients,
        AttentionCoefficients,
        VectorCoefficients,
        CollectiveCoefficients,
    )
)


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


@batch_jit
def _grouped(o: int, code: int, n: Floats, rate: float, gpu: GpuParams, coefficients: Floats) -> KernelTime:
    c = GemmCoefficients(*to_fixed_tuple(coefficients, _GEMM))
    return grouped_gemm_kernel(
        n[o, 0], n[o, 1], n[o, 2], n[o, 3], n[o, 4], n[o, 5], n[o, 6], n[o, 7], rate, gemm_format(code, c), n[o, 8],
        n[o, 9], gpu, c,
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
        time = product_time(o, code, n, rate, now, gemm, stamp, plans)
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
