"""The analytic level: each kind of operator as the kernels that run it, with the coefficients of the GPU's family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hwmodels.gpu.attention import (
    CUDNN,
    FLASH2,
    FLASH2_PAGED,
    FLASH3,
    IDEAL,
    AttentionShape,
    AttentionWork,
    attention_add,
    attention_finish,
    attention_work,
    query_tiles,
)
from hwmodels.gpu.gemm import F16, FP8, INT8, TF32, gemm_format, gemm_kernel
from hwmodels.gpu.grouped_gemm import grouped_gemm_kernel
from hwmodels.gpu.model import GpuModel
from hwmodels.gpu.params import KernelTime
from hwmodels.gpu.vector import (
    ADD,
    ADD_RMSNORM,
    ADD_RMSNORM_STATIC,
    COMBINE,
    COPY,
    GELU,
    INDEX,
    LAYERNORM,
    RMSNORM,
    ROPE,
    SILU_MUL,
    SOFTMAX,
    STRIDED_COPY,
    framework_shape,
    vector_kernel,
)
from workloads.formats import compute_format
from workloads.operators import Attention, Gather, Gemm, GroupedGemm, KvWrite, Operator, Role, Tensor, Vector

__all__ = [
    "GemmWork",
    "GroupedWork",
    "StreamWork",
    "analytic_time",
    "attention_backend",
    "attention_shapes",
    "format_code",
    "gemm_work",
    "grouped_work",
    "stream_work",
]

BACKENDS = {
    "ideal": IDEAL,
    "flash2": FLASH2,
    "cudnn": CUDNN,
    "flash3": FLASH3,
    "flash2_paged": FLASH2_PAGED,
}
FRAMEWORK = {
    "add": ADD,
    "add_rmsnorm": ADD_RMSNORM,
    "add_rmsnorm_static": ADD_RMSNORM_STATIC,
    "combine": COMBINE,
    "copy": COPY,
    "gelu": GELU,
    "index": INDEX,
    "layernorm": LAYERNORM,
    "rmsnorm": RMSNORM,
    "rope": ROPE,
    "silu_mul": SILU_MUL,
    "softmax": SOFTMAX,
    "strided_copy": STRIDED_COPY,
}
_GEMM_FORMATS = {"fp8": FP8, "fp4": FP8, "int8": INT8, "int4": INT8, "tf32": TF32, "fp32": TF32}
SLOT_FLOP = 2.0  # an operation takes the instruction slot of a lane, which a peak counts as a multiply-add
CORE_PRODUCT_OP = 2.0  # a fused multiply-add per weight and row, where a product runs on the ordinary cores

#: An ideal row reduction loads its row in one round trip and keeps 2048 threads of an SM busy, 128 to a row.
IDEAL_TRIPS = 1.0
IDEAL_ROWS_PER_SM = 16.0


class GemmWork(NamedTuple):
    """A dense product as :func:`hwmodels.gpu.gemm.gemm_kernel` sees it, whatever the GPU."""

    m: float
    n: float
    k: float
    batch: float
    a_B: float
    b_B: float
    c_B: float
    unpack_op: float
    row_op: float


class GroupedWork(NamedTuple):
    """Products of experts as :func:`hwmodels.gpu.grouped_gemm.grouped_gemm_kernel` sees them."""

    rows: float
    active_experts: float
    most_rows: float
    n: float
    k: float
    a_B: float
    b_B: float
    c_B: float
    unpack_op: float
    fused: float  # 1: kernels of a serving stack, 0: grouped products of a framework


class StreamWork(NamedTuple):
    """Anything else as :func:`hwmodels.gpu.vector.vector_kernel` sees it."""

    rows: float
    read_B: float
    write_B: float
    flop: float
    special_op: float
    trips: float
    rows_per_sm: float


def analytic_time(operator: Operator, model: GpuModel) -> KernelTime:
    """Cost one operator; a kind without kernels of its own is streamed like a vector kernel of its bytes and work."""
    return _KERNELS.get(operator.kind, _stream)(operator, model)


def _read_write_B(operator: Operator) -> tuple[float, float]:
    tensors = operator.tensors
    read_B = sum(t.size_B for t in tensors if not t.role.is_write)
    write_B = sum(t.size_B for t in tensors if t.role.is_write)
    return read_B, write_B


def _unpack_op(operator: Gemm | GroupedGemm, model: GpuModel) -> float:
    """Operations that unpack a weight; none where the matrix units take 4-bit beside 8-bit floats.

    Source: PTX ISA, tcgen05.mma and mma.sync, ``.kind::f8f6f4`` (Blackwell): each operand is e4m3, e5m2, e3m2, e2m3 or
    e2m1, at the rate of 8-bit floats.
    """
    found = compute_format(operator.activations, operator.weights)
    native = found.mma == "fp8" and operator.weights.mma == "fp4" and model.tensor_format.get("fp4") == "fp4"
    return 0.0 if native else found.weight_unpack_op


def gemm_work(operator: Gemm, model: GpuModel) -> GemmWork:
    """Reduce a product to numbers; bytes follow from what the kernel touches, so that fused neighbours change them."""
    tensors = operator.tensors
    weights_B = _role_B(tensors, Role.WEIGHT, Role.SCALES)
    input_B = _role_B(tensors, Role.INPUT, Role.METADATA)
    output_B = _role_B(tensors, Role.OUTPUT, Role.KV_WRITE)
    outputs = operator.batch * operator.m * operator.n
    on_cores = CORE_PRODUCT_OP if operator.on_cores else 0.0
    return GemmWork(
        m=operator.m,
        n=operator.n,
        k=operator.k,
        batch=operator.batch,
        a_B=input_B / (operator.batch * operator.m * operator.k),
        b_B=weights_B / (operator.batch * operator.n * operator.k),
        c_B=output_B / outputs,
        unpack_op=_unpack_op(operator, model),
        row_op=on_cores + SLOT_FLOP * operator.fused_ops / (outputs * operator.k),
    )


def _gemm(operator: Gemm, model: GpuModel) -> KernelTime:
    mma = compute_format(operator.activations, operator.weights).mma
    w = gemm_work(operator, model)
    coefficients = gemm_format(format_code(mma, model), model.gemm)
    return gemm_kernel(*w[:7], model.mma_rate(mma), coefficients, w.unpack_op, w.row_op, model.params, model.gemm)


def format_code(mma: str, model: GpuModel) -> int:
    """Return the code of the kernels that compute products in ``mma``, see :func:`hwmodels.gpu.gemm.gemm_format`."""
    return _GEMM_FORMATS.get(model.compute_format(mma), F16)


def _role_B(tensors: Sequence[Tensor], *roles: Role) -> float:
    return sum(t.size_B for t in tensors if t.role in roles)


def grouped_work(operator: GroupedGemm, model: GpuModel) -> GroupedWork:
    """Reduce the products of a layer's experts to numbers."""
    tensors = operator.tensors
    rows, active = operator.load.rows, max(operator.load.active, 1e-9)
    slots = model.gemm.fused_unpack if operator.fused else model.gemm.unpack_cost
    return GroupedWork(
        rows=rows,
        active_experts=active,
        most_rows=operator.load.max_tokens,
        n=operator.n,
        k=operator.k,
        a_B=_role_B(tensors, Role.INPUT, Role.METADATA) / max(rows * operator.k, 1e-9),
        b_B=_role_B(tensors, Role.WEIGHT, Role.SCALES) / (active * operator.n * operator.k),
        c_B=_role_B(tensors, Role.OUTPUT) / max(rows * operator.n, 1e-9),
        unpack_op=_unpack_op(operator, model)
        + SLOT_FLOP * operator.fused_ops / (active * operator.n * operator.k * slots),
        fused=float(operator.fused),
    )


def _grouped(operator: GroupedGemm, model: GpuModel) -> KernelTime:
    mma = compute_format(operator.activations, operator.weights).mma
    w = grouped_work(operator, model)
    coefficients = gemm_format(format_code(mma, model), model.gemm)
    return grouped_gemm_kernel(
        *w[:8], model.mma_rate(mma), coefficients, w.unpack_op, w.fused, model.params, model.gemm
    )


def attention_shapes(operator: Attention, model: GpuModel, backend: int) -> list[AttentionShape]:
    """Return the groups of an operator as the kernels of a family see them."""
    longest = max(group.q_len for group in operator.groups)
    return [
        AttentionShape(
            batch=group.count,
            heads=operator.heads,
            kv_heads=operator.kv_heads,
            qk_dim=operator.qk_dim,
            v_dim=operator.v_dim,
            q_len=group.q_len,
            kv_len=group.kv_len,
            causal=int(operator.causal),
            window=float(operator.window or 0),
            q_B=operator.activations.bits / 8.0,
            kv_B=operator.kv.total_B(operator.kv_elements) / max(operator.kv_elements, 1.0),
            out_B=_role_B(operator.tensors, Role.OUTPUT) / max(operator.queries * operator.heads * operator.v_dim, 1),
            unpack_op=operator.unpack_op,
            kv_shared=int(operator.shared_kv),
            mma_flop_per_clock=model.mma_rate(operator.activations.mma),
            backend=backend,
            most_q=longest,
        )
        for group in operator.groups
    ]


def attention_backend(operator: Attention, model: GpuModel) -> int:
    """Return the code of the kernels that run an attention on this GPU."""
    backend = BACKENDS[operator.backend]
    return FLASH2_PAGED if backend == FLASH3 and not model.has_flash3 else backend


def _attention(operator: Attention, model: GpuModel) -> KernelTime:
    """All groups of the step share one launch."""
    backend = attention_backend(operator, model)
    shapes = attention_shapes(operator, model, backend)
    # Kernels split keys only when the tiles of the whole launch are few; a group alone counts its own.
    tiles = 0.0
    if len(shapes) > 1:
        tiles = sum(query_tiles(shape, model.params, model.attention) for shape in shapes)
    work = _launch_work(shapes, tiles, model)
    split = attention_finish(work, model.params, model.attention)
    if backend in (FLASH2, FLASH2_PAGED) or work.join_s == 0.0:  # by a rule of its own, not by time; or not at all
        return split
    unsplit = _launch_work([shape._replace(may_split=0) for shape in shapes], tiles, model)
    whole = attention_finish(unsplit, model.params, model.attention)
    return min(split, whole, key=lambda time: time.time_s)


def _launch_work(shapes: Sequence[AttentionShape], tiles: float, model: GpuModel) -> AttentionWork:
    work = attention_work(shapes[0], tiles, model.params, model.attention)
    for shape in shapes[1:]:
        work = attention_add(work, attention_work(shape, tiles, model.params, model.attention))
    return work


def stream_work(operator: Operator) -> StreamWork:
    """Reduce an operator that streams through the ordinary cores to numbers."""
    read_B, write_B = _read_write_B(operator)
    if isinstance(operator, (Gather, KvWrite)):  # rows moved by index are copies
        name = "copy" if operator.implementation == "ideal" else operator.implementation
        shape = framework_shape(FRAMEWORK[name], 1.0, 1.0)
        elements = write_B / max(operator.element_B, 1e-9)
        ops = max(SLOT_FLOP * operator.vector_ops, shape.flop * elements)
        return StreamWork(1.0, read_B, write_B, ops, 0.0, shape.trips, shape.rows_per_sm)
    if not isinstance(operator, Vector):
        return StreamWork(1.0, read_B, write_B, SLOT_FLOP * operator.vector_ops, 0.0, 0.0, IDEAL_ROWS_PER_SM)
    if operator.implementation == "ideal":
        trips = 0.0 if operator.reduction == "none" else IDEAL_TRIPS
        ops, rows_per_sm = SLOT_FLOP * (operator.vector_ops - operator.special_ops), IDEAL_ROWS_PER_SM
    else:
        shape = framework_shape(FRAMEWORK[operator.implementation], operator.rows, operator.columns)
        ops, trips, rows_per_sm = shape.flop * operator.elements, shape.trips, shape.rows_per_sm
    return StreamWork(operator.rows, read_B, write_B, ops, operator.special_ops, trips, rows_per_sm)


def _stream(operator: Operator, model: GpuModel) -> KernelTime:
    return vector_kernel(*stream_work(operator), 0.0, model.params, model.vector)


_KERNELS: dict[str, Callable[[Any, GpuModel], KernelTime]] = {
    "gemm": _gemm,
    "grouped_gemm": _grouped,
    "attention": _attention,
}
