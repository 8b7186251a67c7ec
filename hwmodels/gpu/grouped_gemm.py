"""Time and traffic of one grouped matrix product: the experts of a layer, each with rows of its own, in one kernel.

Every expert's rows are cut into tiles of their own, so uneven or few rows cost whole tiles, and its weights are read
once per kernel or, where a second tile of rows comes long after the first, again.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from hwmodels.gpu.gemm import GemmCoefficients, MmaCoefficients, stream_Bps
from hwmodels.gpu.params import GpuParams, KernelTime
from simulator.core.formula import formula

__all__ = ["grouped_gemm_kernel", "row_tiles"]

#: Tiles that grouped kernels are compiled in: three of CUTLASS, as frameworks build it, and one of 16 rows that only
#: serving stacks have (Triton's and Marlin's for few tokens).
GROUPED_CANDIDATES = 4


class GroupedKind(NamedTuple):
    """How one kind of kernels does grouped products."""

    fixed_s: float  # a kernel of no work, with what prepares the groups
    efficiency: float  # of the tensor cores, over that of dense products
    stream: float  # share of the bandwidth that dense products reach
    reread: float  # share of an expert's weights that its second tile of rows reads from memory again
    unpack: float  # instruction slots per counted operation of unpacking a weight


@formula
def grouped_kind(fused: float, mma: MmaCoefficients, c: GemmCoefficients) -> GroupedKind:
    """Return the kernels of a serving stack (``fused`` 1), or of a framework."""
    start_s = mma.start_s - c.fixed_s
    if fused > 0.0:
        return GroupedKind(
            c.fused_fixed_s + start_s, c.fused_efficiency * mma.fused, c.fused_stream, c.fused_reread, c.fused_unpack
        )
    return GroupedKind(
        c.grouped_fixed_s + start_s, c.grouped_efficiency, c.grouped_stream, c.grouped_reread, c.unpack_cost
    )


@formula
def row_tiles(rows: float, active_experts: float, most_rows: float, tile_rows: float) -> float:
    """Tiles along the rows of one active expert, on average.

    A spread of rows per expert rounds up by half a tile: ``mean / tile_rows + 1/2``, at least one, and no more than the
    most loaded expert needs.
    """
    spread = max(1.0, rows / (active_experts * tile_rows) + 0.5)
    return min(float(math.ceil(most_rows / tile_rows)), spread)


@formula
def grouped_candidate(
    rows: float,
    active_experts: float,
    most_rows: float,
    n: float,
    k: float,
    a_B: float,
    b_B: float,
    c_B: float,
    once_s: float,
    flop_per_clock: float,
    tile_rows: float,
    width: float,
    kind: GroupedKind,
    gpu: GpuParams,
    c: GemmCoefficients,
) -> KernelTime:
    """Cost with tiles of ``tile_rows`` by ``width``.

    ``once_s``: work on the ordinary cores for each weight once; ``flop_per_clock``: what one SM really issues.
    """
    tiles = row_tiles(rows, active_experts, most_rows, tile_rows)
    blocks = active_experts * tiles * math.ceil(n / width)
    waves = math.ceil(blocks / gpu.sms)
    area = tile_rows * width
    fill_s = c.wave_s + c.output_s * area / 32768.0
    compute_s = waves * (2.0 * area * k / (flop_per_clock * gpu.clock_Hz) + fill_s)
    weights_B = active_experts * n * k * b_B * (1.0 + kind.reread * min(1.0, tiles - 1.0))
    read_B = weights_B + rows * k * a_B
    write_B = rows * n * c_B
    hbm_s = (read_B + write_B) / (kind.stream * stream_Bps(blocks / waves, gpu, c))
    stream_B = (tile_rows * a_B + width * b_B) * k
    l2_s = waves * stream_B * gpu.max_clock_Hz / (c.sm_stream_Bps * gpu.clock_Hz)
    special_s = once_s * tiles  # every tile of rows unpacks the weights for itself, in the warps that multiply
    time_s = kind.fixed_s + max(compute_s + special_s, hbm_s, l2_s)
    l2_B = blocks * stream_B + write_B
    return KernelTime(time_s, compute_s, special_s, hbm_s, l2_s, kind.fixed_s, read_B, write_B, l2_B)


@formula
def grouped_gemm_kernel(
    rows: float,
    active_experts: float,
    most_rows: float,
    n: float,
    k: float,
    a_B: float,
    b_B: float,
    c_B: float,
    mma_flop_per_clock: float,
    mma: MmaCoefficients,
    unpack_op: float,
    fused: float,
    gpu: GpuParams,
    c: GemmCoefficients,
) -> KernelTime:
    """Time and traffic of ``y_e[rows_e, n] = x_e[rows_e, k] w_e[n, k]^T`` for every expert ``e`` that has rows.

    Parameters
    ----------
    rows : float
        Rows of all experts together (tokens times experts per token).
    active_experts, most_rows : float
        Experts with at least one row; rows of the most loaded one.
    n, k : float
        Outputs per row, inner length.
    a_B, b_B, c_B : float
        Bytes per element of activations, weights (scales included) and output.
    mma_flop_per_clock : float
        Peak of the compute format per SM and clock, 2 per multiply-add.
    mma : MmaCoefficients
        Of that format, see :func:`hwmodels.gpu.gemm.gemm_format`.
    unpack_op : float
        Operations on the ordinary cores per weight element of an active expert; 0: none.
    fused : float
        1: kernels of a serving stack, 0: grouped products of a framework.
    gpu : GpuParams
        The device, at its clock now.
    c : GemmCoefficients
        Of the family.

    Returns
    -------
    KernelTime
        Of the tile of least time.
    """
    kind = grouped_kind(fused, mma, c)
    rate = mma_flop_per_clock * mma.efficiency * kind.efficiency
    vector_flops = gpu.sms * gpu.vector_flop_per_clock * gpu.clock_Hz * c.vector_efficiency
    once_s = active_experts * n * k * unpack_op * kind.unpack / vector_flops
    best = KernelTime(math.inf, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for index in range(GROUPED_CANDIDATES if fused > 0.0 else GROUPED_CANDIDATES - 1):
        tile_rows = 64.0 if index == 0 else 16.0 if index == 3 else 128.0
        width = 256.0 if index == 2 else 128.0
        cost = grouped_candidate(
            rows, active_experts, most_rows, n, k, a_B, b_B, c_B, once_s, rate, tile_rows, width, kind, gpu, c
        )
        if cost.time_s < best.time_s:
            best = cost
    return best
