"""Operators cut in two, so that two devices can share one: by experts, by sequences, by heads.

Each part is an operator of its own; FLOPs and bytes of weights and cache add up to those of the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

from workloads.moe import ExpertLoad
from workloads.operators import Attention, GroupedGemm, Role, Tensor

__all__ = ["expert_counts", "share_attention", "split_experts", "split_heads", "split_sequences"]

_STORED = (Role.WEIGHT, Role.SCALES)


@lru_cache(maxsize=1024)
def expert_counts(load: ExpertLoad) -> tuple[float, ...]:
    """Return the tokens of each active expert, fewest first, as expected of a load.

    A load tells the busiest expert and the mean. Between them counts fall as x^p from the busiest to the idlest, which
    lies as far below the mean as the busiest above it, but has one token at least; p keeps the sum. For uniform
    routing the running sum is within 6 % of all tokens of what draws give (tests/unit/test_splitting.py).

    Examples
    --------
    >>> [round(count, 1) for count in expert_counts(ExpertLoad(4.0, 4.0, 14.0, 40.0, 0.0))]
    [7.0, 9.0, 11.0, 13.0]
    """
    number = max(1, round(load.active))
    mean = load.rows / number
    most = max(mean, min(load.max_tokens, load.rows))
    least = min(mean, max(1.0, 2.0 * mean - most))
    power = (most - least) / (mean - least) - 1.0 if mean > least else 1.0
    # The mean of x^p over each of the equal slices keeps the sum exact.
    edges = [(i / number) ** (power + 1.0) for i in range(number + 1)]
    slices = [(high - low) * number / (power + 1.0) for low, high in pairwise(edges)]
    return tuple(least + (most - least) * share for share in slices)


def split_experts(operator: GroupedGemm, number: int) -> tuple[GroupedGemm, GroupedGemm]:
    """Return the busiest experts' products, and those of the ``number`` experts with the fewest tokens."""
    counts = expert_counts(operator.load)
    few, many = counts[:number], counts[number:]
    most = operator.load.max_tokens
    return _experts(operator, many, len(counts), most), _experts(operator, few, len(counts), min(few[-1], most))


def _experts(operator: GroupedGemm, counts: Sequence[float], of: int, most: float) -> GroupedGemm:
    load = operator.load
    stored, rows = len(counts) / of, sum(counts) / load.rows
    part = ExpertLoad(
        experts=load.experts * stored,
        active=load.active * stored,
        max_tokens=most,
        rows=load.rows * rows,
        dropped=load.dropped,
    )
    operands = _scaled(operator.operands, stored, rows)
    return replace(operator, load=part, operands=operands, fused_ops=operator.fused_ops * rows)


def split_sequences(operator: Attention, groups: int) -> tuple[Attention, Attention]:
    """Return attention of the first ``groups`` groups of sequences, and of the others."""
    first, rest = operator.groups[:groups], operator.groups[groups:]
    return _groups(operator, replace(operator, groups=first)), _groups(operator, replace(operator, groups=rest))


def _groups(whole: Attention, part: Attention) -> Attention:
    queries, cache = part.queries / whole.queries, part.kv_elements / whole.kv_elements
    return replace(part, operands=_scaled(whole.operands, cache, queries), fused_ops=whole.fused_ops * queries)


def split_heads(operator: Attention, kv_heads: int) -> tuple[Attention, Attention]:
    """Return attention of all but ``kv_heads`` KV heads with their queries, and of these."""
    return _heads(operator, operator.kv_heads - kv_heads), _heads(operator, kv_heads)


def _heads(operator: Attention, kv_heads: int) -> Attention:
    share = kv_heads / operator.kv_heads
    return replace(
        operator,
        heads=operator.heads // operator.kv_heads * kv_heads,
        kv_heads=kv_heads,
        operands=_scaled(operator.operands, share, share),
        fused_ops=operator.fused_ops * share,
    )


def share_attention(operator: Attention, devices: int) -> Attention:
    """Return what the busiest of ``devices`` alike devices does: whole KV heads where they divide, else sequences."""
    if devices == 1:
        return operator
    if operator.kv_heads % devices == 0:
        return _heads(operator, operator.kv_heads // devices)
    # Sequences are dealt out like cards: the first device gets the remainder of every group.
    groups = tuple(replace(group, count=-(-group.count // devices)) for group in operator.groups)
    return _groups(operator, replace(operator, groups=groups))


def _scaled(operands: tuple[Tensor, ...] | None, stored: float, passing: float) -> tuple[Tensor, ...] | None:
    """Scale what lies in memory (weights, cache) and what passes by; None stays what the operator says itself."""
    if operands is None:
        return None
    shares = {role: stored if role in (*_STORED, Role.KV_READ) else passing for role in Role}
    return tuple(replace(tensor, size_B=tensor.size_B * shares[tensor.role]) for tensor in operands)
