"""The work of a kernel as energy sees it: tensor operations as issued, ordinary-core operations, bytes by level."""

from __future__ import annotations

from typing import NamedTuple

from hwmodels.gpu.grouped_gemm import row_tiles
from hwmodels.gpu.params import GpuParams, KernelTime
from hwmodels.gpu.power import KernelWork, padded_rows
from simulator.core.formula import formula
from workloads.formats import compute_format
from workloads.operators import Attention, Gemm, GroupedGemm, Operator, Role, Vector

__all__ = ["OperatorWork", "compute_name", "kernel_work", "operator_work"]

_BITS = {"fp32": 32.0, "tf32": 32.0, "bf16": 16.0, "fp16": 16.0, "fp8": 8.0, "int8": 8.0, "fp4": 4.0, "int4": 4.0}

#: The narrow side of a tensor-core instruction.
_DENSE_ROWS = 8.0
#: PyTorch's GroupMM.cu on Hopper: tiles of 64 x 128 up to 128 rows per expert and of 128 x 256 above, in clusters of
#: two along the rows, which fetch the weights together. Small pairs fill up to 128 rows together, large tiles each.
_EXPERT_ROWS, _EXPERT_WIDTH = 128.0, 256.0
#: Query rows of a decode tile. Fitted with everything else on whole decode steps: 16 and 64 do worse.
_QUERY_ROWS = 32.0
#: Operations on the ordinary cores per attention score beside its exponential, an instruction slot counting 2: maximum,
#: scaled difference, sum, rescaling, mask, conversion (Dao, FlashAttention-2, algorithm 1).
_SCORE_OPS = 14.0
#: The same per element of a row reduction, whose passes over registers and barriers take instructions of their own:
#: from what rmsnorm and softmax drew beyond their bytes (hwmodels/measured/h200_probes/h200_power_grouped.csv).
_REDUCTION_OPS = {"none": 0.0, "row": 60.0, "softmax": 210.0}


class OperatorWork(NamedTuple):
    """What an operator asks of any GPU; what its kernels really do follows with their time."""

    mma_flop: float  # on the matrix units, rows that only fill tiles included
    mma_bits: float
    warp_mma: float  # 1: issued warp by warp
    vector_flop: float  # on the ordinary cores
    issue_bound: float  # 1: what keeps those busy counts, if it is more
    special_op: float
    l2_B: float  # out of L2; less than zero: as its kernels move it


def operator_work(operator: Operator, mma: str) -> OperatorWork:
    """Return the work of one launch on one device.

    Parameters
    ----------
    operator
        What is computed.
    mma
        The format the tensor cores compute in.
    """
    special = 0.0
    mma_flop, vector_flop = operator.flops + _padded_flop(operator), operator.vector_ops
    issue_bound = 0.0
    if isinstance(operator, Gemm) and operator.on_cores:
        mma_flop, vector_flop = 0.0, vector_flop + operator.flops
    elif isinstance(operator, Attention):
        special = operator.heads * operator.pairs
        vector_flop += special * (_SCORE_OPS - 1.0)
    elif not isinstance(operator, (Gemm, GroupedGemm)):
        # Framework kernels spend most instructions on addresses.
        issue_bound = 1.0
        if isinstance(operator, Vector):
            special = operator.special_ops
            vector_flop += _REDUCTION_OPS[operator.reduction] * operator.elements - special
    return OperatorWork(
        mma_flop=mma_flop,
        mma_bits=_BITS[mma],
        warp_mma=float(isinstance(operator, Attention) and operator.backend.startswith("flash2")),
        vector_flop=vector_flop,
        issue_bound=issue_bound,
        special_op=special,
        l2_B=_expert_l2_B(operator) if isinstance(operator, GroupedGemm) else -1.0,
    )


@formula
def kernel_work(work: OperatorWork, time: KernelTime, gpu: GpuParams) -> KernelWork:
    """Return the work of one launch as energy sees it.

    Parameters
    ----------
    work
        What the operator asks for.
    time
        What it costs on `gpu`, at the clock of `gpu`.
    gpu
        The device.
    """
    vector_flop = work.vector_flop
    if work.issue_bound > 0.0:
        vector_flop = max(vector_flop, time.compute_s * gpu.sms * gpu.clock_Hz * gpu.vector_flop_per_clock)
    l2_B = work.l2_B
    if l2_B < 0.0:  # all traffic of device memory passes the L2
        l2_B = max(time.l2_B, time.hbm_read_B + time.hbm_write_B)
    return KernelWork(
        work.mma_flop,
        work.mma_bits,
        work.warp_mma,
        vector_flop,
        work.special_op,
        l2_B,
        time.hbm_read_B,
        time.hbm_write_B,
        0.0,
    )


def _expert_tiles(operator: GroupedGemm, tile_rows: float) -> float:
    load = operator.load
    return row_tiles(load.rows, max(load.active, 1e-9), load.max_tokens, tile_rows)


def _expert_l2_B(operator: GroupedGemm) -> float:
    """Bytes out of L2: thread blocks of one expert share its weights and fetch only rows that exist, whatever tile."""
    moved_B = dict.fromkeys(Role, 0.0)
    for tensor in operator.tensors:
        moved_B[tensor.role] += tensor.size_B
    weights_B = moved_B[Role.WEIGHT] + moved_B[Role.SCALES]
    pair_rows = _EXPERT_ROWS if operator.load.rows <= _EXPERT_ROWS * operator.load.experts else 2.0 * _EXPERT_ROWS
    weights_B *= _expert_tiles(operator, pair_rows)
    return weights_B + moved_B[Role.INPUT] * max(1.0, operator.n / _EXPERT_WIDTH) + moved_B[Role.OUTPUT]


def _padded_flop(operator: Operator) -> float:
    """Operations on rows that only fill a tile."""
    if isinstance(operator, Gemm):
        narrow, wide = sorted((operator.m, operator.n))
        return 2.0 * operator.batch * padded_rows(narrow, _DENSE_ROWS) * wide * operator.k
    if isinstance(operator, GroupedGemm):
        issued_rows = operator.load.active * _expert_tiles(operator, _EXPERT_ROWS) * _EXPERT_ROWS
        return 2.0 * max(0.0, issued_rows - operator.load.rows) * operator.n * operator.k
    if isinstance(operator, Attention):
        packed = operator.heads // operator.kv_heads
        width = operator.qk_dim + operator.v_dim
        return sum(
            2.0
            * group.count
            * operator.kv_heads
            * padded_rows(group.q_len * packed, _QUERY_ROWS)
            * operator.keys_read(group)
            * width
            for group in operator.groups
            if group.q_len * packed < _QUERY_ROWS
        )
    return 0.0


def compute_name(operator: Operator) -> str:
    """Return the tensor-core format an operator asks for."""
    if isinstance(operator, (Gemm, GroupedGemm)):
        return compute_format(operator.activations, operator.weights).mma
    if isinstance(operator, Attention):
        return operator.activations.mma
    return "bf16"
