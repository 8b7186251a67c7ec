"""What an operator asks of memory that computes: products for the banks, the rest for the processor beside them."""

from __future__ import annotations

from dataclasses import dataclass

from hwmodels.pim.layout import Product
from workloads.formats import NumberFormat, compute_format
from workloads.operators import Attention, Gemm, GroupedGemm, KvWrite, Operator, Role, Vector, total_bytes
from workloads.operators.attention import visible_pairs

__all__ = ["PimWork", "pim_work"]

#: Operations per attention score beside its exponential: maximum, difference, sum, reciprocal of the sum.
_SCORE_OPS = 4.0
_WIDTH_B = {"fp32": 4.0, "tf32": 4.0, "bf16": 2.0, "fp16": 2.0, "fp8": 1.0, "int8": 1.0, "fp4": 0.5, "int4": 0.5}


@dataclass(frozen=True, slots=True, kw_only=True)
class PimWork:
    """Work by who does it.

    Attributes
    ----------
    products
        What the banks multiply, with how often; all one after the other.
    vector_ops, special_ops
        Additions or multiplications of the processor, and its exponentials, divisions and roots.
    score_B
        Scores that go to the processor and come back, where softmax is not done in the memory.
    operand_B
        What the processor reads and writes of other operands: in its buffer where they fit.
    stored_B, scattered
        What is read from or written to where models are stored, and how many elements of it go to a row each (values
        are stored by column).
    """

    products: tuple[tuple[float, Product], ...] = ()
    vector_ops: float = 0.0
    special_ops: float = 0.0
    score_B: float = 0.0
    operand_B: float = 0.0
    stored_B: float = 0.0
    scattered: float = 0.0


def pim_work(operator: Operator) -> PimWork:
    """Return the work of one operator; of a kind without products, everything is the processor's."""
    if isinstance(operator, Gemm):
        job = _product(operator.activations, operator.weights, operator.batch, operator.m, operator.n, operator.k)
        return PimWork(products=((1.0, job),), vector_ops=operator.fused_ops)
    if isinstance(operator, GroupedGemm):
        return PimWork(products=_experts(operator), vector_ops=operator.fused_ops)
    if isinstance(operator, Attention):
        return _attention(operator)
    if isinstance(operator, KvWrite):
        half = operator.elements / 2.0  # values; the other half, keys, fill rows as they come
        written_B = operator.kv.total_B(operator.elements)
        return PimWork(vector_ops=operator.vector_ops, stored_B=written_B, scattered=half)
    special = operator.special_ops if isinstance(operator, Vector) else 0.0
    passing_B = sum(t.size_B for t in operator.tensors if t.role in (Role.INPUT, Role.OUTPUT))
    return PimWork(
        vector_ops=operator.vector_ops - special,
        special_ops=special,
        operand_B=passing_B,
        stored_B=total_bytes(operator) - passing_B,
    )


def _product(
    a: NumberFormat, w: NumberFormat, copies: float, m: float, n: float, k: float, share: float = 1.0
) -> Product:
    return Product(
        copies=float(copies),
        m=float(m),
        n=float(n),
        k=float(k),
        weight_B=w.bits_per_element / 8.0,
        input_B=a.bits_per_element / 8.0,
        compute_B=_WIDTH_B[compute_format(a, w).mma],
        share=share,
    )


def _experts(operator: GroupedGemm) -> tuple[tuple[float, Product], ...]:
    """Return the experts one after the other, on all channels: with whole numbers of rows that give the mean."""
    active, a, w = operator.load.active, operator.activations, operator.weights
    if active <= 0.0 or operator.load.rows <= 0.0:
        return ()
    mean = max(operator.load.rows / active, 1.0)
    few = float(int(mean))
    parts = []
    for m, share in ((few, few + 1.0 - mean), (few + 1.0, mean - few)):
        if share > 0.0:
            parts.append((active * share, _product(a, w, 1, m, operator.n, operator.k)))
    return tuple(parts)


def _attention(operator: Attention) -> PimWork:
    """Return scores and context of every group: keys, then values are the weights of a product.

    Query heads that share keys and values are inputs of the same product. Of a causal square, only the visible part
    is computed.
    """
    products = []
    packed = operator.heads // operator.kv_heads
    for group in operator.groups:
        copies, m, keys = group.count * operator.kv_heads, group.q_len * packed, operator.keys_read(group)
        share = visible_pairs(group.q_len, group.kv_len, operator.causal, operator.window) / (group.q_len * keys)
        for n, k in ((keys, operator.qk_dim), (operator.v_dim, keys)):
            products.append((1.0, _product(operator.activations, operator.kv, copies, m, n, k, share)))
    scores = operator.heads * operator.pairs
    return PimWork(
        products=tuple(products),
        vector_ops=operator.fused_ops + scores * _SCORE_OPS,
        special_ops=scores,
        score_B=2.0 * scores * operator.activations.bits_per_element / 8.0,
    )
