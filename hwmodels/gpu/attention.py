"""Fused attention: tiles of query rows walk over blocks of keys; tensor cores, exponentials and memory compete.

One thread block owns a tile of query rows of one head and walks over the key blocks its rows may see. It costs matrix
work for both products, one exponential per score, a prologue and an epilogue. The blocks of one launch share the
SMs; their time is the balanced load plus what an uneven end leaves idle, or the stream of keys and values from memory,
whichever is longer. A launch over several groups of sequences is the sum of their work: :func:`attention_work` per
group, :func:`attention_add`, then one :func:`attention_finish`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from hwmodels.gpu.attention_decode import even_splits, flash2_key_block, flash2_splits
from hwmodels.gpu.params import GpuParams, KernelTime, norm
from simulator.core.formula import formula

__all__ = [
    "CUDNN",
    "FLASH2",
    "FLASH2_PAGED",
    "FLASH3",
    "IDEAL",
    "AttentionCoefficients",
    "AttentionShape",
    "AttentionWork",
    "attention_add",
    "attention_finish",
    "attention_kernel",
    "attention_work",
    "query_tiles",
    "visible_blocks",
]

IDEAL = 0  #: the best kernel known (FlashAttention-3 class): packs query heads, splits keys evenly
FLASH2 = 1  #: FlashAttention-2 as frameworks ship it: own split rule, pads to 128 rows when it does not split
FLASH3 = 3  #: FlashAttention-3 on a paged cache, as serving stacks run it on Hopper: longest tiles first
FLASH2_PAGED = 4  #: FlashAttention-2 on a paged cache, as serving stacks run it elsewhere: always its 64-row kernel
CUDNN = 2  #: cuDNN: streams well for one query, but neither packs nor splits for two or more

TILE_ROWS = (
    128  # query rows of a thread block of every kernel family when there are that many (FA2, FA3, cuDNN sources)
)
LEAST_BLOCKS = 2.0  # an even split leaves each part at least two key blocks to pipeline
CUDNN_RAGGED = 1.12  # cuDNN without a causal mask masks every block when the keys are no whole blocks (measured, H200)
CUDNN_WIDE_STREAM = 0.72  # and streams heads wider than 128 with fewer bytes in flight (measured, H200)
BLOCK_KEYS = 128  # keys per step; FA2's 64 for wide heads costs the same per key


class AttentionCoefficients(NamedTuple):
    """What a datasheet does not say about attention kernels of one GPU family."""

    fixed_s: float  # a kernel of no work: launch, descriptors, drain
    split_s: float  # the second pass that joins the parts of a split key axis
    part_s: float  # what each part adds to it where one pass walks over them in turn (FlashAttention-2)
    even_part_s: float  # and where the second pass is parallel (the others)
    cta_s: float  # SM time lost at the start and end of each thread block
    flash2_mma: float  # share of the tensor peak that FlashAttention-2's instructions reach
    flash2_overlap: float  # exponent of the norm that joins its matrix and softmax work (1: one after the other)
    flash2_tile_s: float  # loading queries and storing results of a tile of 128 rows x 128 wide heads, in SM time
    flash2_mask: float  # extra softmax work on the blocks of the causal diagonal
    flash2_lone: float  # how much slower a thread block runs alone on an SM, where nothing hides its latencies
    fused_mma: float  # share of the tensor peak that kernels written for the family reach (cuDNN, FlashAttention-3)
    fused_overlap: float  # as flash2_overlap
    fused_tile_s: float  # as flash2_tile_s
    softmax_rate: float  # scores per second through softmax, relative to the special-function units' exponentials
    paged_fixed_s: float  # fixed_s of a kernel on a paged cache, its scheduling kernels included
    paged_cta_s: float  # cta_s of one, which also looks its pages up
    paged_stream: float  # stream of one
    tail: float  # share of a longest tile by which a causal launch ends unevenly
    stream: float  # share of the datasheet bandwidth that streaming keys and values reaches
    sm_stream_B: float  # bytes per clock that one SM draws from memory at most
    exposed: float  # share of the first round's loads and last round's stores that nothing hides
    blend: float  # exponent of the norm that joins streaming and computing (large: perfect overlap)


class AttentionShape(NamedTuple):
    """A group of equal sequences in one launch: ``q_len`` queries each over ``kv_len`` keys."""

    batch: float  # sequences
    heads: float  # query heads
    kv_heads: float  # key and value heads
    qk_dim: float  # width of a query or key
    v_dim: float  # width of a value
    q_len: float  # queries per sequence: its last positions
    kv_len: float  # keys per sequence, the queries' own included
    causal: int  # 1: a query sees no key after itself
    window: float  # a query sees at most so many keys; 0: all
    q_B: float  # bytes per number of queries,
    kv_B: float  # of keys and values in memory (scales included),
    out_B: float  # and of the output
    unpack_op: float  # operations on the ordinary cores to turn one stored key or value number into a matrix operand
    kv_shared: int  # 1: the values are the first v_dim numbers of the keys (latent attention), read once
    mma_flop_per_clock: float  # tensor FLOP per SM and clock in the format of the products
    backend: int  # IDEAL, FLASH2, CUDNN, FLASH3 or FLASH2_PAGED
    most_q: float = 0.0  # most queries of any sequence in the launch, this group's or another's
    may_split: int = 1  # 0: kernels that split evenly do not


class _Tiling(NamedTuple):
    tile: float  # query rows of a thread block
    block: float  # keys per step
    parts: float  # cuts of the key axis
    row_heads: float  # heads that own tiles
    rows: float  # query rows per such head, packed heads included
    positions: float  # positions that a tile's rows span
    seen: float  # keys that any query sees


class AttentionWork(NamedTuple):
    """What the thread blocks of one or more groups of sequences need, before they share a GPU."""

    ctas: float  # thread blocks
    sm_s: float  # SM time of all of them together, each SM fully shared
    longest_s: float  # SM time of the longest one
    lone: float  # how much slower one is when it has an SM for itself
    mma_s: float  # tensor-core part of sm_s at the reached rate
    special_s: float  # exponential and unpacking part of sm_s
    join_s: float  # the second pass that joins the parts of a split key axis
    read_B: float  # from device memory
    write_B: float  # to device memory
    l2_B: float  # between L2 and the SMs
    first_B: float  # what one thread block moves while it cannot compute: its queries, first keys, and results
    fixed_s: float  # a launch of no work
    tail: float  # share of the longest thread block by which unequal ones end unevenly
    stream: float  # share of the datasheet bandwidth reached


class _Pace(NamedTuple):
    mma_s: float  # matrix work of one key block at the reached rate
    special_s: float  # its softmax and unpacking
    block_s: float  # SM time of one key block
    cta_s: float  # SM time of a thread block's start and end
    load_B: float  # bytes of one key block


@formula
def visible_blocks(tiles: float, rows: float, block: float, q_len: float, kv_len: float, window: float) -> float:
    """Return the key blocks that all query tiles of one head walk over under a causal mask.

    The queries are the last ``q_len`` positions of ``kv_len``; a tile of ``rows`` positions sees every key up to its
    last row, and with a ``window`` none older than that before its first row. Arithmetic series: exact to the last
    tile when ``rows`` is a multiple of ``block``, else with blocks cut at a random place.
    """
    before = kv_len - q_len
    step = rows / block
    spare = 0.5 * max(0.0, 1.0 - step)  # of a block, walked past the end (and before the start) of a narrow tile
    # tile i ends at key before + (i + 1) rows, the last one at kv_len
    base = math.ceil(before / block) * 1.0 if step >= 1.0 else before / block + spare
    inner = tiles - 1.0
    walked = inner * base + step * inner * tiles / 2.0 + math.ceil(kv_len / block)
    if window > 0.0:
        # tile i starts at key before + i rows - window + 1, the first ones at key 0
        first = max(0.0, math.ceil((window - 1.0 - before) / rows) * 1.0)
        count = max(0.0, tiles - first)
        start = (before + first * rows - window + 1.0) / block
        start = math.floor(start) * 1.0 if step >= 1.0 else max(0.0, start - spare)
        walked -= count * start + step * count * (count - 1.0) / 2.0
    return max(walked, tiles)


@formula
def _tiling(s: AttentionShape, tiles_in_launch: float, gpu: GpuParams, c: AttentionCoefficients) -> _Tiling:
    """Return how the kernel family of ``s.backend`` cuts these sequences."""
    seen = s.kv_len if s.window <= 0.0 else min(s.kv_len, s.window + s.q_len - 1.0)
    one = max(s.q_len, s.most_q) == 1.0  # kernels choose by the longest query of a launch
    best = s.backend == IDEAL or s.backend == FLASH3
    packed = one or (best and s.q_len < TILE_ROWS)
    row_heads = s.kv_heads if packed else s.heads
    group = s.heads / row_heads
    rows = s.q_len * group
    tile = float(TILE_ROWS)
    block = float(BLOCK_KEYS)
    parts = 1.0
    if s.backend == FLASH2 or s.backend == FLASH2_PAGED:
        if s.backend == FLASH2 or one:
            wide = flash2_key_block(s.qk_dim)
            count = s.batch * row_heads * math.ceil(rows / 64.0)
            parts = flash2_splits(max(count, tiles_in_launch), gpu.sms, math.ceil(s.kv_len / wide))
            block = wide if parts > 1.0 else min(wide, block)
        # heads wider than 128: 64 rows, unless shared memory holds 128 but not two thread blocks of 64 (A100)
        wide_tile = 512.0 * s.qk_dim <= gpu.smem_B < 768.0 * s.qk_dim
        if parts > 1.0 or s.backend == FLASH2_PAGED or (s.qk_dim > 128.0 and not wide_tile):
            tile = 64.0
        return _Tiling(tile, block, parts, row_heads, rows, tile / group, seen)
    if rows <= 16.0 and (best or one):
        tile = 16.0
    elif rows <= 64.0 and (best or one):
        tile = 64.0
    if s.may_split != 0 and (best or one):
        count = s.batch * row_heads * math.ceil(rows / tile)
        parts = even_splits(max(count, tiles_in_launch), gpu.sms, math.ceil(seen / block), LEAST_BLOCKS)
    return _Tiling(tile, block, parts, row_heads, rows, tile / group, seen)


@formula
def query_tiles(s: AttentionShape, gpu: GpuParams, c: AttentionCoefficients) -> float:
    """Return the query tiles of a group, as the kernel that decides on splitting counts them."""
    t = _tiling(s, 0.0, gpu, c)
    rows = 64.0 if s.backend == FLASH2 else t.tile  # FlashAttention-2's rule counts its smaller tiles
    return s.batch * t.row_heads * math.ceil(t.rows / rows)


@formula
def _pace(
    s: AttentionShape, t: _Tiling, masked: bool, flash2: bool, paged: bool, gpu: GpuParams, c: AttentionCoefficients
) -> _Pace:
    """Return how long a thread block takes for one key block, and for its start and end."""
    scores = t.tile * t.block
    pad = 32.0 if flash2 else 64.0
    width = pad * (math.ceil(s.qk_dim / pad) + math.ceil(s.v_dim / pad))
    mma_s = 2.0 * scores * width / (s.mma_flop_per_clock * gpu.clock_Hz * (c.flash2_mma if flash2 else c.fused_mma))
    exp_s = scores / (gpu.sfu_op_per_clock * gpu.clock_Hz * c.softmax_rate)
    overlap = c.flash2_overlap if flash2 else c.fused_overlap
    both_s = norm(overlap, mma_s, exp_s, 0.0, 0.0)
    kv_width = s.qk_dim if s.kv_shared else s.qk_dim + s.v_dim
    unpack_s = t.block * kv_width * s.unpack_op / (gpu.vector_flop_per_clock * gpu.clock_Hz)
    load_B = t.block * kv_width * s.kv_B
    cta_s = c.paged_cta_s if paged else c.cta_s
    cta_s += (c.flash2_tile_s if flash2 else c.fused_tile_s) * t.tile * width / (TILE_ROWS * 256.0)
    if masked and flash2:
        cta_s += c.flash2_mask * exp_s * t.tile / t.block
    if s.backend == CUDNN and not masked and t.tile > 16.0 and s.kv_len % t.block != 0.0:
        both_s *= CUDNN_RAGGED
    block_s = max(both_s + unpack_s, load_B / (c.sm_stream_B * gpu.clock_Hz))
    return _Pace(mma_s, exp_s + unpack_s, block_s, cta_s, load_B)


@formula
def attention_work(
    s: AttentionShape, tiles_in_launch: float, gpu: GpuParams, c: AttentionCoefficients
) -> AttentionWork:
    """Return the work of one group of equal sequences.

    ``tiles_in_launch`` is the number of query tiles of the whole launch when this group shares it with others (kernels
    split keys only when tiles are few), 0 when it is alone.
    """
    t = _tiling(s, tiles_in_launch, gpu, c)
    masked = s.causal != 0 and s.q_len > 1.0
    tiles = math.ceil(t.rows / t.tile)
    # key blocks that the tiles of one head walk over, and the tile that walks over most
    longest = math.ceil(t.seen / t.block) * 1.0
    blocks = tiles * longest
    if masked:
        blocks = visible_blocks(tiles, t.positions, t.block, s.q_len, s.kv_len, s.window)
        if s.window > 0.0:
            longest = min(longest, math.ceil((s.window + t.positions) / t.block) + 1.0)
    walked = s.batch * t.row_heads * blocks
    ctas = s.batch * t.row_heads * tiles * t.parts
    flash2 = s.backend == FLASH2 or s.backend == FLASH2_PAGED
    paged = s.backend >= FLASH3
    stream = c.paged_stream if paged else c.stream
    if s.backend == CUDNN and s.qk_dim > 128.0 and t.tile == 16.0:
        stream *= CUDNN_WIDE_STREAM
    kv_width = s.qk_dim if s.kv_shared else s.qk_dim + s.v_dim
    pace = _pace(s, t, masked, flash2, paged, gpu, c)
    # bytes: keys and values once per key head, queries and outputs once; parts hand fp32 partial results on
    q_B = s.batch * s.heads * s.q_len * s.qk_dim * s.q_B
    out_B = s.batch * s.heads * s.q_len * s.v_dim * s.out_B
    kv_B = s.batch * s.kv_heads * t.seen * kv_width * s.kv_B
    join_s = 0.0
    if t.parts > 1.0:
        partial_B = 2.0 * 4.0 * t.parts * s.batch * s.heads * s.q_len * (s.v_dim + 1.0)
        join_s = c.split_s + partial_B / (gpu.hbm_Bps * stream) + t.parts * (c.part_s if flash2 else c.even_part_s)
    return AttentionWork(
        ctas=ctas,
        sm_s=ctas * pace.cta_s + walked * pace.block_s,
        longest_s=pace.cta_s + (math.ceil(longest / t.parts) if flash2 else longest / t.parts) * pace.block_s,
        lone=c.flash2_lone if flash2 else 1.0,
        mma_s=walked * pace.mma_s,
        special_s=walked * pace.special_s,
        join_s=join_s,
        read_B=q_B + kv_B,
        write_B=out_B,
        l2_B=q_B + out_B + walked * pace.load_B,
        first_B=pace.load_B + t.tile * (s.qk_dim * s.q_B + s.v_dim * s.out_B),
        fixed_s=c.paged_fixed_s if paged else c.fixed_s,
        tail=0.0 if s.backend == FLASH3 else c.tail,
        stream=stream,
    )


@formula
def attention_add(a: AttentionWork, b: AttentionWork) -> AttentionWork:
    """Return the work of two groups that share one launch."""
    return AttentionWork(
        ctas=a.ctas + b.ctas,
        sm_s=a.sm_s + b.sm_s,
        longest_s=max(a.longest_s, b.longest_s),
        lone=max(a.lone, b.lone),
        mma_s=a.mma_s + b.mma_s,
        special_s=a.special_s + b.special_s,
        join_s=max(a.join_s, b.join_s),
        read_B=a.read_B + b.read_B,
        write_B=a.write_B + b.write_B,
        l2_B=a.l2_B + b.l2_B,
        first_B=max(a.first_B, b.first_B),
        fixed_s=max(a.fixed_s, b.fixed_s),
        tail=max(a.tail, b.tail),
        stream=min(a.stream, b.stream),
    )


@formula
def attention_finish(work: AttentionWork, gpu: GpuParams, c: AttentionCoefficients) -> KernelTime:
    """Return the time of one launch over all of ``work``.

    Equal thread blocks run in whole rounds over the SMs; unequal ones (causal tiles, mixed groups) balance, and leave
    a share of the longest at the end. Few enough to have an SM each, the longest one decides.
    """
    even = work.sm_s / gpu.sms
    mean_s = work.sm_s / work.ctas
    rounds = work.ctas / gpu.sms
    if rounds <= 1.0:
        busy = work.longest_s * work.lone
    else:
        likeness = max(0.0, min(1.0, 2.0 * mean_s / work.longest_s - 1.0))
        end = likeness * (math.ceil(rounds) - rounds) + (1.0 - likeness) * work.tail
        busy = max(even + end * work.longest_s, work.longest_s * work.lone)
    moved_B = work.read_B + work.write_B
    hbm_s = moved_B / (gpu.hbm_Bps * work.stream)
    first_s = c.exposed * min(moved_B, min(work.ctas, gpu.sms) * work.first_B) / (gpu.hbm_Bps * work.stream)
    l2_s = work.l2_B / gpu.l2_Bps * gpu.max_clock_Hz / gpu.clock_Hz
    body = max(norm(c.blend, busy, hbm_s, 0.0, 0.0), l2_s)
    fixed = work.fixed_s + work.join_s
    return KernelTime(
        time_s=fixed + first_s + body,
        compute_s=work.mma_s / gpu.sms,
        special_s=work.special_s / gpu.sms,
        hbm_s=hbm_s,
        l2_s=l2_s,
        fixed_s=fixed,
        hbm_read_B=work.read_B,
        hbm_write_B=work.write_B,
        l2_B=work.l2_B,
    )


@formula
def attention_kernel(
    batch: float,
    heads: float,
    kv_heads: float,
    qk_dim: float,
    v_dim: float,
    q_len: float,
    kv_len: float,
    causal: int,
    window: float,
    q_B: float,
    kv_B: float,
    out_B: float,
    unpack_op: float,
    kv_shared: int,
    mma_flop_per_clock: float,
    backend: int,
    gpu: GpuParams,
    c: AttentionCoefficients,
) -> KernelTime:
    """Return the time of one launch over one group of equal sequences; the arguments are :class:`AttentionShape`."""
    # Written out twice: compiled code knows neither defaults nor _replace of records.
    shape = AttentionShape(
        batch, heads, kv_heads, qk_dim, v_dim, q_len, kv_len, causal, window, q_B, kv_B, out_B, unpack_op, kv_shared,
        mma_flop_per_clock, backend, q_len, 1,
    )  # fmt: skip
    work = attention_work(shape, 0.0, gpu, c)
    split = attention_finish(work, gpu, c)
    if backend in (FLASH2, FLASH2_PAGED) or work.join_s == 0.0:  # by a rule of its own, not by time; or not at all
        return split
    unsplit = AttentionShape(
        batch, heads, kv_heads, qk_dim, v_dim, q_len, kv_len, causal, window, q_B, kv_B, out_B, unpack_op, kv_shared,
        mma_flop_per_clock, backend, q_len, 0,
    )  # fmt: skip
    whole = attention_finish(attention_work(unsplit, 0.0, gpu, c), gpu, c)
    return split if split.time_s < whole.time_s else whole
