"""Vector kernels: elementwise maps, norms, softmax, gathers and copies, limited by memory, instructions or row latency.

A map streams its operands through the ordinary cores. A row reduction (norm, softmax) also waits: its threads load a
row in a few dependent round trips to memory, and only a few rows fit on an SM at a time, so rows that are few or long
are latency-bound long before they are bandwidth-bound.
"""

from __future__ import annotations

from typing import NamedTuple

from hwmodels.gpu.params import GpuParams, KernelTime, norm
from simulator.core.formula import formula

__all__ = [
    "ADD",
    "ADD_RMSNORM",
    "ADD_RMSNORM_STATIC",
    "COMBINE",
    "COPY",
    "GELU",
    "INDEX",
    "LAYERNORM",
    "RMSNORM",
    "ROPE",
    "SILU_MUL",
    "SOFTMAX",
    "STRIDED_COPY",
    "VectorCoefficients",
    "VectorShape",
    "framework_shape",
    "left_in_l2_B",
    "vector_kernel",
]


class VectorCoefficients(NamedTuple):
    """What a datasheet does not say about vector kernels of one GPU family."""

    fixed_s: float  # a kernel of no work inside a graph
    stream: float  # share of the datasheet bandwidth that a long copy reaches
    l2_stream: float  # the same of the L2 bandwidth, for operands that are still there
    fill_s: float  # time to get the memory pipeline going, where operands do not come from L2
    fill_size_B: float  # bytes at which kernels in a row stop finding their operands in L2
    trip_s: float  # one dependent round trip of a row's threads to L2: load, reduce, synchronise
    far_s: float  # what it takes longer when the row comes from device memory
    blend: float  # exponent of the norm that joins memory, instructions and row latency (large: perfect overlap)
    dirty_l2: float  # share of L2 that keeps written lines after a kernel has ended


@formula
def left_in_l2_B(written_B: float, gpu: GpuParams, c: VectorCoefficients) -> float:
    """Return the bytes of a kernel's output not yet in device memory when it ends; they leave during the next."""
    return min(written_B, c.dirty_l2 * gpu.l2_B)


@formula
def vector_kernel(
    rows: float,
    read_B: float,
    write_B: float,
    flop: float,
    special_op: float,
    trips: float,
    rows_per_sm: float,
    resident: float,
    gpu: GpuParams,
    c: VectorCoefficients,
) -> KernelTime:
    """Return the time of a vector kernel.

    Parameters
    ----------
    rows
        Independent rows; only their number against the SMs matters, and only if ``trips`` > 0.
    read_B, write_B
        Bytes moved, each operand once.
    flop, special_op
        Operations on the ordinary cores (an instruction slot of one lane counts 2) and on the special-function units.
    trips
        Dependent memory round trips per row of a reduction; 0 for an elementwise kernel.
    rows_per_sm
        Rows an SM works on at a time.
    resident
        Share of ``read_B`` still in L2 because the kernel before wrote it.
    gpu, c
        Hardware and coefficients.
    """
    speed = gpu.clock_Hz / gpu.max_clock_Hz
    compute_s = flop / (gpu.sms * gpu.clock_Hz * gpu.vector_flop_per_clock)
    special_s = special_op / (gpu.sms * gpu.clock_Hz * gpu.sfu_op_per_clock)
    hbm_B = read_B * (1.0 - resident) + write_B
    hbm_s = hbm_B / (gpu.hbm_Bps * c.stream)
    l2_s = (read_B + write_B) / (gpu.l2_Bps * c.l2_stream * speed)
    wait_s = 0.0
    far = 1.0 / (1.0 + (c.fill_size_B / max(hbm_B, 1.0)) ** 4)  # 0: small enough to be found in L2
    if trips > 0.0:
        wait_s = trips * (c.trip_s / speed + far * c.far_s) * max(1.0, rows / (gpu.sms * rows_per_sm))
    body = max(norm(c.blend, max(compute_s, special_s), hbm_s, wait_s, 0.0), l2_s)
    fixed = c.fixed_s + c.fill_s * far
    return KernelTime(
        time_s=fixed + body,
        compute_s=compute_s,
        special_s=special_s,
        hbm_s=hbm_s,
        l2_s=l2_s,
        fixed_s=fixed,
        hbm_read_B=read_B * (1.0 - resident),
        hbm_write_B=write_B,
        l2_B=read_B + write_B,
    )


# --- what today's framework kernels do with the common operations; software habits, so callers choose to ask for them

COPY = 0
ADD = 1
GELU = 2
SILU_MUL = 3  # SiLU of one half of a fused gate-up output times the other half, generated code
RMSNORM = 4
ADD_RMSNORM = 5  # residual sum and norm in one generated kernel
LAYERNORM = 6
SOFTMAX = 7
ROPE = 8  # rotary embedding over a strided slice of the fused projection, generated code
STRIDED_COPY = 9  # a transpose, or keys and values written into the cache: one element at a time
INDEX = 10  # rows put back in order through an index tensor, one element at a time
COMBINE = 11  # weighted sum of the chosen experts' outputs, generated code
ADD_RMSNORM_STATIC = 12  # ADD_RMSNORM compiled for the one shape at hand, as inside a compiled layer


class VectorShape(NamedTuple):
    """How one kernel walks over its data: what :func:`vector_kernel` needs beside the bytes."""

    flop: float  # operations per element of the result; an instruction slot of one lane counts 2
    trips: float  # dependent round trips to memory per row
    rows_per_sm: float  # rows in flight on an SM


MANY_ROWS = 1e9  # elementwise kernels have no row that must end before another starts
LEAST_ROWS = 8.0  # norm kernels keep at least so many rows in flight on an SM, however long
WARP_SOFTMAX_COLUMNS = 2048.0  # PyTorch's softmax: one warp per row up to here,
# then one block with the row in registers (below ten values for each of 1024 threads), then one in shared memory
REGISTER_SOFTMAX_COLUMNS = 9216.0


@formula
def _norm_shape(op: int, rows: float, cols: float) -> VectorShape:
    """Norms: one thread block per row; long rows occupy an SM by their bytes, so fewer are in flight."""
    row_B = 2.0 * cols
    if op == LAYERNORM:
        return VectorShape(0.0, 1.81 + cols / 593.0, min(12.2, max(LEAST_ROWS, 272e3 / row_B)))
    if op == RMSNORM:
        return VectorShape(0.0, 0.70 + cols / 835.0, min(21.8, max(LEAST_ROWS, 163e3 / row_B)))
    if op == ADD_RMSNORM_STATIC:
        return VectorShape(112.0, 0.50 + cols / 1280.0, min(20.0, max(LEAST_ROWS, 225e3 / row_B)))
    lanes = 530.0 if rows > 1.0 else 960.0  # a single row gets wider thread blocks
    return VectorShape(80.5, 0.83 + cols / lanes, min(20.0, max(LEAST_ROWS, 225e3 / row_B)))


@formula
def _softmax_shape(cols: float) -> VectorShape:
    row_B = 2.0 * cols
    if cols <= WARP_SOFTMAX_COLUMNS:
        return VectorShape(17.7, 1.05 + cols / 216.0, max(1.0, 78.6e3 / row_B))
    if cols <= REGISTER_SOFTMAX_COLUMNS:
        return VectorShape(9.0, 1.42 + cols / 2560.0, max(1.0, 14.9e3 / row_B))
    return VectorShape(13.0, 2.25 + cols / 3350.0, max(1.0, 69.8e3 / row_B))


@formula
def framework_shape(op: int, rows: float, cols: float) -> VectorShape:
    """Return how PyTorch's (or its compiler's) kernel for ``op`` runs ``rows`` x ``cols`` elements of its result.

    Kernel choice: PyTorch 2.11 ``SoftMax.cu``, ``layer_norm_kernel.cu``. Numbers: least squares on h200_vector.csv of
    hwmodels/measured/h200 and h200_layouts (4 to 6 % MAPE per operation); ``ROPE``, ``STRIDED_COPY``, ``INDEX``,
    ``COMBINE`` and ``ADD_RMSNORM_STATIC`` on h200_e2e_kernels.csv.
    """
    if op == SOFTMAX:
        return _softmax_shape(cols)
    if op in (LAYERNORM, RMSNORM, ADD_RMSNORM, ADD_RMSNORM_STATIC):
        return _norm_shape(op, rows, cols)
    if op == ADD:
        return VectorShape(0.5, 0.18, MANY_ROWS)
    if op == GELU:
        return VectorShape(30.0, 0.52, MANY_ROWS)
    if op == SILU_MUL:  # 64-bit index divisions cost more than the activation; the same holds for those below
        return VectorShape(177.0, 1.13, MANY_ROWS)
    if op == ROPE:
        return VectorShape(540.0, 0.50, MANY_ROWS)
    if op == STRIDED_COPY:
        return VectorShape(100.0, 1.30, MANY_ROWS)
    if op == INDEX:
        return VectorShape(215.0, 3.80, MANY_ROWS)
    if op == COMBINE:
        return VectorShape(500.0, 0.30, MANY_ROWS)
    return VectorShape(0.5, 0.0, MANY_ROWS)
