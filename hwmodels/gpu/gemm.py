"""Time and traffic of one dense matrix product ``y[m, n] = x[m, k] w[n, k]^T`` on a GPU.

The output is cut into tiles (:mod:`hwmodels.gpu.gemm_tiles`), one thread block each, which run in waves over the
multiprocessors. A wave costs its tensor-core work plus filling the pipeline and writing the tiles; all waves together
cost what they move through the L2 and from device memory; the slowest of these bounds the kernel. What libraries
measure when they choose a kernel is taken as done well: the candidate of least time is the answer.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from hwmodels.gpu.gemm_tiles import TILE_CANDIDATES, Tile, gemm_tile, tile_repeats
from hwmodels.gpu.params import GpuParams, KernelTime, norm
from simulator.core.formula import formula

__all__ = [
    "F16",
    "FP8",
    "INT8",
    "TF32",
    "GemmCoefficients",
    "MmaCoefficients",
    "gemm_format",
    "gemm_kernel",
    "gemm_read_B",
    "stream_Bps",
]

LINE_B = 128.0  # bytes of an L2 line: rows of operands that start elsewhere touch one line more per fetch
REUSE_SHARPNESS = 4  # how suddenly panels stop surviving in the L2 as the distance of their reuse grows


class GemmCoefficients(NamedTuple):
    """What a datasheet does not say of a GPU family's matrix products."""

    fixed_s: float  # a kernel of no work: launch to first instruction, drain
    efficiency: float  # share of the tensor-core rate left by instruction issue and fast current limits
    feed_Bpclk: float  # operand bytes that an SM feeds its tensor cores per clock while those wait
    most_area: float  # outputs that one thread block accumulates
    wave_s: float  # filling the pipeline of a wave of tiles
    output_s: float  # writing tiles of 32768 outputs at the end of a wave, not hidden behind the next
    split_s: float  # starting the second kernel that adds the partial sums of a split k loop
    hbm_efficiency: float  # share of the datasheet's memory bandwidth that any number of requests reaches
    sm_hbm_Bps: float  # what the requests that one SM keeps in flight draw from memory (Little's law)
    hbm_ramp_s: float  # until memory streams at that rate, and its uneven end
    occupancy_exponent: float  # that bandwidth falls as (busy SMs / SMs) to this power
    l2_efficiency: float  # share of the L2 bandwidth that tile loads reach
    sm_stream_Bps: float  # most that one SM draws from the L2, at the highest clock
    multicast: float  # thread blocks that share one fetched panel (thread-block clusters; 1: none)
    misaligned: float  # L2 traffic where rows of operands do not start on a line, over that of aligned rows
    l2_reuse_share: float  # share of the L2 that keeps panels from one wave to the next
    raster_loss: float  # re-read bytes over those of square waves whose thread blocks keep in step
    overlap_norm: float  # exponent of the norm that joins tensor, L2 and memory time (large: the largest alone)
    vector_efficiency: float  # share of the ordinary cores' peak that unpacking and products on them reach
    unpack_cost: float  # instruction slots per counted operation of unpacking a weight
    fp8_area: float  # most_area of 8-bit floats: kernels that add up in steps hold two sets of sums
    fp8_start_s: float  # start of such a kernel beyond one of 16-bit floats
    int8_efficiency: float  # of 8-bit integers, over 16-bit floats
    int8_granule: float  # steps in which 8-bit integer tiles grow, see gemm_tile; also the side of the largest one
    int8_start_s: float
    tf32_efficiency: float  # of tf32, over 16-bit floats
    tf32_start_s: float
    grouped_fixed_s: float  # grouped products: fixed_s with the kernel that prepares the groups
    grouped_efficiency: float  # their tensor-core efficiency, over that of dense products
    grouped_stream: float  # their share of the bandwidth that dense products reach
    grouped_reread: float  # share of an expert's weights that its second tile of rows reads from memory again
    fused_fixed_s: float  # the same four of a serving stack's fused experts; fixed with half of what sorts and sums
    fused_efficiency: float
    fused_stream: float
    fused_reread: float
    fused_unpack: float  # unpack_cost of their weights
    fused_fp8: (
        float  # their efficiency in 8-bit floats, over 16 bits: scales of blocks are applied on the ordinary cores
    )


class MmaCoefficients(NamedTuple):
    """How a family's kernels of one number format use the tensor cores, see :func:`gemm_format`."""

    efficiency: float  # share of the tensor-core rate
    most_area: float  # outputs that one thread block accumulates
    granule: float  # steps in which tiles grow along the short side
    start_s: float  # a kernel of no work
    fused: float  # share of that efficiency which fused experts keep in this format


F16 = 0  #: bf16, fp16
FP8 = 1  #: 8-bit floats and narrower
INT8 = 2  #: 8-bit integers and narrower
TF32 = 3  #: tf32, fp32

FULL_GRANULE = 8.0  # rows of the narrowest tensor-core instruction


@formula
def gemm_format(code: int, c: GemmCoefficients) -> MmaCoefficients:
    """Return the coefficients of the compute format ``code`` (``F16``, ``FP8``, ``INT8``, ``TF32``)."""
    if code == FP8:
        return MmaCoefficients(c.efficiency, c.fp8_area, FULL_GRANULE, c.fixed_s + c.fp8_start_s, c.fused_fp8)
    if code == INT8:
        area = c.most_area
        if c.int8_granule > FULL_GRANULE:
            area = c.int8_granule * c.int8_granule
        start_s = c.fixed_s + c.int8_start_s
        return MmaCoefficients(c.efficiency * c.int8_efficiency, area, c.int8_granule, start_s, 1.0)
    if code == TF32:
        efficiency = c.efficiency * c.tf32_efficiency
        return MmaCoefficients(efficiency, c.most_area, FULL_GRANULE, c.fixed_s + c.tf32_start_s, 1.0)
    return MmaCoefficients(c.efficiency, c.most_area, FULL_GRANULE, c.fixed_s, 1.0)


@formula
def stream_Bps(busy_sms: float, gpu: GpuParams, c: GemmCoefficients) -> float:
    """Device-memory bandwidth that ``busy_sms`` reach: bounded by the memory and by the bytes they keep in flight."""
    memory_Bps = gpu.hbm_Bps * c.hbm_efficiency
    requests_Bps = gpu.sms * c.sm_hbm_Bps
    full_Bps = memory_Bps * requests_Bps / math.hypot(memory_Bps, requests_Bps)
    return full_Bps * math.pow(busy_sms / gpu.sms, c.occupancy_exponent)


@formula
def gemm_read_B(
    short: float,
    long: float,
    k: float,
    copies: float,
    short_B: float,
    long_B: float,
    c_B: float,
    tile: Tile,
    sms: float,
    l2_B: float,
    c: GemmCoefficients,
) -> float:
    """Bytes read from device memory.

    Thread blocks that run at the same time share panels of the operands through the L2. A wave covers a block of the
    output; the next wave finds the short operand's panel still in the L2 if a wave's panels and outputs fit the share
    of it that survives, and the long operand's if a whole sweep along the long side fits.

    Parameters
    ----------
    short, long, k, copies : float
        Sides of the output, inner length, products per kernel.
    short_B, long_B, c_B : float
        Bytes per element of the operand along the short side, along the long side, and of the output.
    tile : Tile
        The cut.
    sms, l2_B : float
        Multiprocessors and L2 capacity of the device.
    c : GemmCoefficients
        Of the family.

    Returns
    -------
    float
        Bytes; at least each operand once.
    """
    short_panel_B = short * k * short_B
    long_panel_B = long * k * long_B
    if copies * tile.short_tiles * tile.long_tiles * tile.split <= sms:
        return copies * (short_panel_B + long_panel_B)
    area = sms * tile.rows * tile.width
    block_short = min(short, max(tile.rows, math.sqrt(area)))
    block_long = min(long, area / block_short)
    kept_B = c.l2_reuse_share * l2_B
    near_B = k * (block_short * short_B + block_long * long_B) + block_short * block_long * c_B
    far_short_B = max(near_B, short_panel_B + block_long * short * c_B)
    far_long_B = max(near_B, long_panel_B + block_short * long * c_B)
    sweeps_short = short / block_short - 1.0
    sweeps_long = long / block_long - 1.0
    lost_near = 1.0 / (1.0 + (kept_B / near_B) ** REUSE_SHARPNESS)
    lost_short = 1.0 / (1.0 + (kept_B / far_short_B) ** REUSE_SHARPNESS)
    lost_long = 1.0 / (1.0 + (kept_B / far_long_B) ** REUSE_SHARPNESS)
    along_long_B = short_panel_B * sweeps_long * lost_near + long_panel_B * sweeps_short * lost_long
    along_short_B = long_panel_B * sweeps_short * lost_near + short_panel_B * sweeps_long * lost_short
    again_B = min(along_long_B, along_short_B)
    return copies * (short_panel_B + long_panel_B + c.raster_loss * again_B)


class GemmSides(NamedTuple):
    """A product as each of its cuts sees it, the shorter side of the output first."""

    short: float
    long: float
    k: float
    copies: float
    short_B: float
    long_B: float
    c_B: float
    block_k: float  # elements of the inner loop that a line of the L2 holds
    crossing: float  # L2 traffic over that of operands whose rows start on a line
    full_Bps: float  # device-memory bandwidth that all SMs together reach


class GemmCut(NamedTuple):
    """Thread blocks of one cut, and their work on the tensor cores, at any clock."""

    blocks: float
    waves: float
    k_part: float  # elements of the inner loop that a thread block walks over
    clocks: float  # of the tensor cores
    wave_s: float  # filling pipelines and writing tiles
    split_B: float  # between L2 and the SMs to add up the parts of a split k loop; 0: not split


class GemmTraffic(NamedTuple):
    """What one cut moves, at any clock."""

    hbm_s: float
    read_B: float
    l2_B: float
    l2_s: float  # at the highest clock: of the L2, or of what one SM draws from it


@formula
def gemm_sides(
    m: float, n: float, k: float, batch: float, a_B: float, b_B: float, c_B: float, gpu: GpuParams, c: GemmCoefficients
) -> GemmSides:
    """Return a product as its cuts see it; parameters as of :func:`gemm_kernel`."""
    short, long, short_B, long_B = m, n, a_B, b_B
    if m > n:
        short, long, short_B, long_B = n, m, b_B, a_B
    crossing = 1.0
    if (k * short_B) % LINE_B != 0.0 or (k * long_B) % LINE_B != 0.0:
        crossing = c.misaligned
    block_k = LINE_B / max(short_B, long_B)
    return GemmSides(short, long, k, batch, short_B, long_B, c_B, block_k, crossing, stream_Bps(gpu.sms, gpu, c))


@formula
def gemm_cut(
    s: GemmSides, tile: Tile, mma_flop_per_clock: float, mma: MmaCoefficients, gpu: GpuParams, c: GemmCoefficients
) -> GemmCut:
    """Return the thread blocks of a cut and their work."""
    rows, width, short_tiles, long_tiles, split = tile
    blocks = s.copies * short_tiles * long_tiles * split
    waves = math.ceil(blocks / gpu.sms) * 1.0
    k_part = s.block_k * math.ceil(s.k / (split * s.block_k))
    area = rows * width
    feed_clocks = (rows * s.short_B + width * s.long_B) / c.feed_Bpclk
    step_clocks = (2.0 * area / mma_flop_per_clock + feed_clocks) / mma.efficiency
    wave_s = waves * (c.wave_s + c.output_s * area / 32768.0)
    split_B = s.copies * s.short * s.long * (8.0 * split + s.c_B) if split > 1.0 else 0.0
    return GemmCut(blocks, waves, k_part, waves * step_clocks * k_part, wave_s, split_B)


@formula
def gemm_traffic(s: GemmSides, tile: Tile, cut: GemmCut, gpu: GpuParams, c: GemmCoefficients) -> GemmTraffic:
    """Return what a cut moves."""
    output_B = s.copies * s.short * s.long * s.c_B
    read_B = gemm_read_B(
        s.short, s.long, s.k, s.copies, s.short_B, s.long_B, s.c_B, tile, gpu.sms, gpu.l2_B, c
    )  # fmt: skip
    busy = math.pow(min(cut.blocks, gpu.sms) / gpu.sms, c.occupancy_exponent)
    rows_B = tile.rows * s.short_B
    width_B = tile.width * s.long_B
    shared_B = min(rows_B, width_B) + max(rows_B, width_B) / c.multicast
    l2_B = cut.blocks * shared_B * cut.k_part * s.crossing + output_B
    stream_s = cut.waves * (rows_B + width_B) * cut.k_part * s.crossing / c.sm_stream_Bps
    return GemmTraffic(
        (read_B + output_B) / (s.full_Bps * busy) + c.hbm_ramp_s,
        read_B,
        l2_B,
        max(l2_B / (gpu.l2_Bps * c.l2_efficiency), stream_s),
    )


@formula
def gemm_start_s(cut: GemmCut, mma: MmaCoefficients, gpu: GpuParams, c: GemmCoefficients) -> float:
    """Return what comes before and after the tiles: the start, and adding up the parts of a split k loop."""
    if cut.split_B == 0.0:
        return mma.start_s
    return mma.start_s + (c.split_s + cut.split_B * gpu.max_clock_Hz / (gpu.l2_Bps * gpu.clock_Hz * c.l2_efficiency))


@formula
def gemm_time(
    s: GemmSides,
    cut: GemmCut,
    traffic: GemmTraffic,
    special_s: float,
    fixed_s: float,
    within_s: float,
    gpu: GpuParams,
    c: GemmCoefficients,
) -> KernelTime:
    """Return the cost of one cut at the clock of ``gpu``.

    ``special_s``: work on the ordinary cores beside it; ``fixed_s``: see :func:`gemm_start_s`. A cut that takes more
    than ``within_s`` is not worked out: its time is infinite.
    """
    clock_share = gpu.clock_Hz / gpu.max_clock_Hz
    compute_s = cut.clocks / gpu.clock_Hz + cut.wave_s
    l2_s = traffic.l2_s / clock_share + c.wave_s
    hbm_s = traffic.hbm_s
    longest_s = max(compute_s, special_s, hbm_s, l2_s)
    if fixed_s + longest_s > within_s:
        return KernelTime(math.inf, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    time_s = fixed_s + norm(c.overlap_norm, compute_s, special_s, hbm_s, l2_s)
    output_B = s.copies * s.short * s.long * s.c_B
    return KernelTime(time_s, compute_s, special_s, hbm_s, l2_s, fixed_s, traffic.read_B, output_B, traffic.l2_B)


@formula
def gemm_special_s(
    m: float, n: float, k: float, batch: float, unpack_op: float, row_op: float, gpu: GpuParams, c: GemmCoefficients
) -> float:
    """Return the time of what the ordinary cores do; parameters as of :func:`gemm_kernel`."""
    vector_flops = gpu.sms * gpu.vector_flop_per_clock * gpu.clock_Hz * c.vector_efficiency
    return batch * n * k * (unpack_op * c.unpack_cost + m * row_op) / vector_flops


@formula
def gemm_kernel(
    m: float,
    n: float,
    k: float,
    batch: float,
    a_B: float,
    b_B: float,
    c_B: float,
    mma_flop_per_clock: float,
    mma: MmaCoefficients,
    unpack_op: float,
    row_op: float,
    gpu: GpuParams,
    c: GemmCoefficients,
) -> KernelTime:
    """Time and traffic of ``batch`` products ``y[m, n] = x[m, k] w[n, k]^T`` run by one kernel.

    Parameters
    ----------
    m, n, k : float
        Rows of the activations, outputs per row, inner length.
    batch : float
        Products of this shape in the kernel, each with operands of its own.
    a_B, b_B, c_B : float
        Bytes per element of activations, weights (scales and zero points included) and output.
    mma_flop_per_clock : float
        Peak of the compute format per SM and clock, 2 per multiply-add.
    mma : MmaCoefficients
        Of that format, see :func:`gemm_format`.
    unpack_op : float
        Operations on the ordinary cores per weight element, once per pass over the weights (dequantisation); 0: none.
    row_op : float
        Operations on the ordinary cores per weight element and row of x: kernels that multiply there; 0: tensor cores.
    gpu : GpuParams
        The device, at its clock now: tensor cores, ordinary cores and L2 follow it, device memory does not.
    c : GemmCoefficients
        Of the family.

    Returns
    -------
    KernelTime
        Of the candidate of least time.
    """
    special_s = gemm_special_s(m, n, k, batch, unpack_op, row_op, gpu, c)
    sides = gemm_sides(m, n, k, batch, a_B, b_B, c_B, gpu, c)
    best = KernelTime(math.inf, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    for index in range(TILE_CANDIDATES):
        if tile_repeats(index, sides.short):
            continue
        tile = gemm_tile(index, sides.short, sides.long, k, batch, gpu.sms, mma.most_area, mma.granule)
        cut = gemm_cut(sides, tile, mma_flop_per_clock, mma, gpu, c)
        fixed_s = gemm_start_s(cut, mma, gpu, c)
        if fixed_s + cut.clocks / gpu.clock_Hz + cut.wave_s > best.time_s:
            continue
        traffic = gemm_traffic(sides, tile, cut, gpu, c)
        time = gemm_time(sides, cut, traffic, special_s, fixed_s, best.time_s, gpu, c)
        if time.time_s < best.time_s:
            best = time
    return best
